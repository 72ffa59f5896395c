"""Graph convolutions over points, and their multigrid-in-channels form."""

from collections.abc import Callable, Iterable
from functools import partial
from itertools import repeat
from typing import Any, ClassVar, Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchmg.hierarchy import RelaxationKind, check_groups
from torchmg.nn.cycle import fas_cycle
from torchmg.nn.knn import gather_neighbours
from torchmg.nn.mgic import MGICBlock, MGICOptions
from torchmg.nn.norm import all_uses
from torchmg.nn.relax import RelaxationFactory


class EdgeConv(nn.Module):
    """y_i = max over neighbours j of ReLU(N(W [x_i, x_j - x_i])), N batch normalisation over all edges.

    (batch, in_channels, points) -> (batch, out_channels, points). Wang et al., "Dynamic Graph CNN for Learning on
    Point Clouds", ACM Trans. Graph. 2019, where the norm comes before the maximum.

    The map is linear, so it is applied to points before their edges are formed: W1 x_i + W2 (x_j - x_i) =
    (W1 - W2) x_i + W2 x_j. That takes 2 maps a point instead of one an edge, k times fewer MACs than the formula.

    `weight` is (out_channels, 2 in_channels / groups) over inputs in the order x_i[0], (x_j - x_i)[0], x_i[1], ...: so
    a group sees both halves of its own channels, and of no others. In an MGIC block, coarser levels couple groups.

    Args:
        in_channels, out_channels: widths.
        groups: number of groups.

    Raises:
        GroupError: `groups` does not divide both widths.
    """

    kind: ClassVar[RelaxationKind | None] = None

    def __init__(self, in_channels: int, out_channels: int, groups: int = 1) -> None:
        super().__init__()
        _check(in_channels, out_channels, groups)
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.weight = nn.Parameter(torch.empty(out_channels, 2 * in_channels // groups))
        self.norm = nn.BatchNorm2d(out_channels)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew: Kaiming-normal with the fan-in of one group."""
        nn.init.kaiming_normal_(self.weight, mode="fan_in", nonlinearity="relu")

    def forward(self, x: Tensor, graph: Tensor) -> Tensor:
        """One convolution.

        Args:
            x: (batch, in_channels, points).
            graph: int64 (batch, points, k), see `torchmg.nn.knn.knn_graph`.
        """
        centre, difference = self.weight[:, ::2], self.weight[:, 1::2]
        own = F.conv1d(x, (centre - difference)[..., None], groups=self.groups)
        others = F.conv1d(x, difference[..., None], groups=self.groups)
        if self.norm.training and not isinstance(self.norm, nn.BatchNorm2d):  # statistics of several devices
            return F.relu(self.norm(own[..., None] + gather_neighbours(others, graph)).amax(3))
        # Norm and ReLU are monotonic in each channel, so they commute with the maximum: only points are normalised.
        rising = torch.where(self.norm.weight < 0, -1.0, 1.0).to(x.dtype)[:, None]
        strongest, average = strongest_and_average(others * rising, graph, average=self.norm.training)
        reached, average = own + rising * strongest, rising * average
        if not self.norm.training:
            return F.relu(self.norm(reached[..., None])[..., 0])
        mean, variance = edge_moments(own, others, average, graph)
        self._track(mean, variance, graph.numel())
        scale = self.norm.weight * torch.rsqrt(variance + self.norm.eps)
        return F.relu((reached - mean[:, None]) * scale[:, None] + self.norm.bias[:, None])

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Running statistics, as batch normalisation over `count` edges keeps them."""
        norm = self.norm
        if norm.running_mean is None or norm.running_var is None or norm.num_batches_tracked is None:
            return
        norm.num_batches_tracked += 1
        rate = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
        norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), rate)
        norm.running_var.lerp_((variance * count / max(count - 1, 1)).to(norm.running_var.dtype), rate)

    def extra_repr(self) -> str:
        """Widths and groups."""
        return f"{self.in_channels} -> {self.out_channels}, groups={self.groups}"


def strongest_and_average(y: Tensor, graph: Tensor, *, average: bool) -> tuple[Tensor, Tensor]:
    """Maximum and mean over every point's neighbours, (batch, channels, points) each.

    The maximum's gradient goes to the first neighbour that reaches it; only its place is kept for it.

    Args:
        y: (batch, channels, points).
        graph: int64 (batch, points, k).
        average: whether the mean is wanted; else it is zero.
    """
    edges = gather_neighbours(y, graph)
    mean = edges.mean(3) if average else torch.zeros_like(y)
    if not torch.is_grad_enabled() or not y.requires_grad:
        return edges.amax(3), mean
    place = edges.detach().argmax(3, keepdim=True)
    ends = graph[:, None].expand(-1, y.shape[1], -1, -1).gather(3, place)[..., 0]
    return y.gather(2, ends), mean


def edge_moments(own: Tensor, others: Tensor, average: Tensor, graph: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance (of the population) of own_i + others_j over all edges, (channels,) each.

    No edge is formed: with d_j the number of edges that end in j and bars for centred values, the variance is
    mean_i own^2 + 2 mean_i (own_i average_i) + sum_j d_j others_j^2 / edges. Centring first avoids cancellation.

    Args:
        own: (batch, channels, points), of the points themselves.
        others: (batch, channels, points), of what they may be neighbours to.
        average: (batch, channels, points), the mean of `others` over every point's neighbours.
        graph: int64 (batch, points, k).
    """
    ends = graph.flatten(1)
    share = torch.zeros_like(own[:, 0]).scatter_add(1, ends, torch.ones_like(ends, dtype=own.dtype)) / graph.numel()
    own_mean, others_mean = own.mean((0, 2)), average.mean((0, 2))
    own, others = own - own_mean[:, None], others - others_mean[:, None]
    squares = own.square().mean((0, 2)) + (others.square() * share[:, None]).sum((0, 2))
    return own_mean + others_mean, squares + 2 * (own * (average - others_mean[:, None])).mean((0, 2))


class DiffConv(nn.Module):
    """y = ReLU(N(W [x, G_1 x, ..., G_axes x, L x])): features, their gradient and their Laplacian on the graph, mixed.

    (batch, in_channels, points) -> (batch, out_channels, points). With d_ij the unit vector from point i to its
    neighbour j, of k, channel by channel:

        (G_a x)_i = 1/k sum_j (d_ij)_a (x_j - x_i)        (L x)_i = 1/k sum_j (x_j - x_i)

    Our reading of Eliasof, Treister, "DiffGCN: Graph Convolutional Networks via Differential Operators and Algebraic
    Multigrid Pooling", NeurIPS 2020, reimplemented from the abstract; the pooling is not here. Differences are not
    divided by the edges' lengths, so that all features keep the scale of x whatever the scale of the cloud.

    `weight` is (out_channels, (2 + axes) in_channels / groups); a channel's features stand together, so a group sees
    all features of its own channels, and of no others.

    Args:
        in_channels, out_channels: widths.
        groups: number of groups.
        axes: coordinates of a point.

    Raises:
        GroupError: `groups` does not divide both widths.
    """

    kind: ClassVar[RelaxationKind | None] = None

    def __init__(self, in_channels: int, out_channels: int, groups: int = 1, axes: int = 3) -> None:
        super().__init__()
        _check(in_channels, out_channels, groups)
        self.in_channels, self.out_channels, self.groups, self.axes = in_channels, out_channels, groups, axes
        self.weight = nn.Parameter(torch.empty(out_channels, (2 + axes) * in_channels // groups))
        self.norm = nn.BatchNorm1d(out_channels)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew: Kaiming-normal with the fan-in of one group."""
        nn.init.kaiming_normal_(self.weight, mode="fan_in", nonlinearity="relu")

    def forward(self, x: Tensor, graph: Tensor, directions: Tensor) -> Tensor:
        """One convolution.

        Args:
            x: (batch, in_channels, points).
            graph: int64 (batch, points, k), see `torchmg.nn.knn.knn_graph`.
            directions: (batch, axes, points, k), see `torchmg.nn.knn.edge_directions`.
        """
        return F.relu(
            self.norm(F.conv1d(self.features(x, graph, directions), self.weight[..., None], groups=self.groups))
        )

    def features(self, x: Tensor, graph: Tensor, directions: Tensor) -> Tensor:
        """(batch, in_channels * (2 + axes), points): x, its gradient along every axis, its Laplacian, by channel."""
        differences = gather_neighbours(x, graph) - x[..., None]
        weights = torch.cat([directions, torch.ones_like(directions[:, :1])], 1).to(x.dtype) / graph.shape[2]
        operators = torch.einsum("bcpk,bapk->bcap", differences, weights)
        return torch.cat([x[:, :, None].to(operators.dtype), operators], 2).flatten(1, 2)

    def extra_repr(self) -> str:
        """Widths, groups and axes."""
        return f"{self.in_channels} -> {self.out_channels}, groups={self.groups}, axes={self.axes}"


class GraphMGIC(MGICBlock):
    """An MGIC block over points whose relaxations are graph convolutions (MGIC paper, experiments on point clouds).

    (batch, channels, points) -> the same. The graph is computed once for the block, on the finest level, and shared by
    all levels; the paper does not say so. It is an argument of `forward`, which hands it to every relaxation.

    Args:
        channels: width of the tensor.
        relax: a factory `(channels, groups) -> module`, whose modules are called as `module(x, *graph)`.
        **block: options of `MGICBlock`.

    Raises:
        UsageError: sizes that `MGICBlock` refuses.
    """

    def __init__(self, channels: int, *, relax: RelaxationFactory, **block: Unpack[MGICOptions]) -> None:
        super().__init__(channels, relax=relax, dims=1, **block)

    def forward(self, x: Tensor, *graph: Tensor) -> Tensor:
        """One cycle.

        Args:
            x: (batch, channels, points).
            *graph: what relaxations take after their features: the graph, and directions where they want them.
        """
        restrict = all_uses(self.restrict, self.restrict_again)
        relax = [_with_graph(uses, graph) for uses in all_uses(self.relax, self.relax_again)]
        prolong = all_uses(self.prolong, self.prolong_again)
        around = self.around_coarse()
        return fas_cycle(x, restrict, relax, prolong, self.cycle, correction=self.correction, around=around)


def _with_graph(uses: Iterable[Callable[..., Any]], graph: tuple[Tensor, ...]) -> Iterable[Callable[..., Any]]:
    if isinstance(uses, repeat):
        return repeat(partial(_call, next(uses), graph))
    return [partial(_call, use, graph) for use in uses]


def _call(use: Callable[..., Any], graph: tuple[Tensor, ...], x: Tensor) -> Tensor:
    return use(x, *graph)


def _check(in_channels: int, out_channels: int, groups: int) -> None:
    name = f"a graph convolution {in_channels} -> {out_channels}"
    check_groups(in_channels, groups, name)
    check_groups(out_channels, groups, name)
