"""Graphs of nearest neighbours over points, and what stands at the other ends of their edges.

All in plain tensor operations of fixed shapes, so that networks with graphs export with a free batch size.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchmg.errors import ShapeError, UsageError
from torchmg.nn.precision import without_autocast


def knn_graph(x: Tensor, k: int) -> Tensor:
    """The k nearest neighbours of every point, the point itself excluded; in no particular order.

    Wang et al., "Dynamic Graph CNN for Learning on Point Clouds", ACM Trans. Graph. 2019, where distances
    are Euclidean in feature space. Distances are taken in float32 even under autocast (float64 stays), from features
    centred in every cloud, because |a|^2 + |b|^2 - 2ab cancels. A point that coincides with another has that one as a
    neighbour. No gradient flows: a graph is a constant.

    Args:
        x: features, (batch, channels, points).
        k: neighbours of a point.

    Returns:
        int64 (batch, points, k), places along the points axis.

    Raises:
        UsageError: k below 1, or no k other points.
        ShapeError: not three axes.
    """
    if x.dim() != 3:
        raise ShapeError(f"Expected points (batch, channels, points); got {tuple(x.shape)}.")
    points = x.shape[2]
    if not 1 <= k < points:
        raise UsageError(
            f"A point cannot have {k} neighbours among {points} points, itself excluded. "
            f"Use neighbours from 1 to {points - 1}, or more points."
        )
    x = x.detach() if x.dtype == torch.float64 else x.detach().float()
    with without_autocast(x.device.type):
        x = x - x.mean(2, keepdim=True)
        squares = x.square().sum(1)
        distances = squares[:, :, None] + squares[:, None] - 2 * (x.transpose(1, 2) @ x)
    place = torch.arange(points, device=x.device)
    return distances.masked_fill(place[:, None] == place, torch.inf).topk(k, 2, largest=False, sorted=False).indices


class NeighbourGraph(nn.Module):
    """`knn_graph` as a module without parameters, so that counts show what graphs cost.

    Args:
        neighbours: k.
    """

    def __init__(self, neighbours: int) -> None:
        super().__init__()
        self.neighbours = neighbours

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, points) -> int64 (batch, points, neighbours)."""
        return knn_graph(x, self.neighbours)

    def extra_repr(self) -> str:
        """How many neighbours."""
        return f"neighbours={self.neighbours}"


def gather_neighbours(y: Tensor, graph: Tensor) -> Tensor:
    """What stands at every point's neighbours: (batch, channels, points) -> (batch, channels, points, k).

    Args:
        y: features, (batch, channels, points).
        graph: int64 (batch, points, k) of `knn_graph`.
    """
    ends = graph.flatten(1)[:, None].expand(-1, y.shape[1], -1)
    return y.gather(2, ends).unflatten(2, graph.shape[1:])


def edge_directions(positions: Tensor, graph: Tensor) -> Tensor:
    """Unit vectors from every point to its neighbours, (batch, axes, points, k); zero where two points coincide.

    Constants like the graph itself: no gradient flows.

    Args:
        positions: coordinates, (batch, axes, points).
        graph: int64 (batch, points, k) of `knn_graph`.
    """
    positions = positions.detach()
    return F.normalize(gather_neighbours(positions, graph) - positions[..., None], dim=1)


def check_cloud(x: Tensor, channels: int) -> None:
    """Raise `ShapeError` unless `x` is a (batch, channels, points) float tensor."""
    if x.dim() == 3 and x.shape[1] == channels and x.is_floating_point():
        return
    got = f"Expected point clouds (batch, {channels}, points) in floating point; got {tuple(x.shape)} {x.dtype}."
    if x.dim() == 3 and x.shape[2] == channels:
        got += " This looks like rows of coordinates; use x.transpose(1, 2)."
    elif x.dim() == 2 and channels in x.shape:
        got += " A single cloud needs a batch axis: x[None]."
    raise ShapeError(got)
