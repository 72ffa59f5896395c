"""Classifiers of point clouds with dense graph convolutions or multigrid-in-channels ones (MGIC paper, Table 10).

G-conv(3 -> 64), 2 x G-conv 64, MLP 64, 3 x G-conv 64, MLP 64, maximum over points, 3 x MLP 64, linear head. A G-conv
is the chosen graph convolution with norm and ReLU, an MLP is a 1x1 convolution with norm and ReLU. Nothing is
concatenated. Every G-conv has the graph of nearest neighbours among its own input's features, as in DGCNN (Wang et
al. 2019). Our copy of the paper lacks the number of neighbours; 20 is DGCNN's.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Unpack, get_args

from torch import Tensor, nn

from torchmg.errors import UsageError
from torchmg.hierarchy import check_choice
from torchmg.models.options import GraphConvName, GraphOf
from torchmg.models.sizes import FeatureInfo, check_sizes, scaled
from torchmg.nn.conv_norm_act import ConvNormAct
from torchmg.nn.edge_conv import DiffConv, EdgeConv, GraphMGIC
from torchmg.nn.knn import NeighbourGraph, check_cloud, edge_directions
from torchmg.nn.mgic import MGICOptions, Part

NEIGHBOURS = 20
"""Neighbours of a point in DGCNN for 1,024 points (Wang et al. 2019)."""
AXES = 3
"""Input channels that are coordinates; any further ones, such as normals, are features only."""


class DGCNN(nn.Module):
    """Graph convolutions, maximum over points, and a head, over clouds (batch, in_channels, points).

    Logits are (batch, num_classes), and do not depend on the order of the points. `forward_features` returns the
    features of all points after every layer. Built by `dgcnn` and `mgic_dgcnn`.

    A graph of features jumps where two points are all but equally far, so another library's rounding, or a GPU's, can
    change a neighbour: at 1,024 points an exported file was seen to differ by more than rounding. A graph of
    positions, from coordinates in float64, does not: it is the same wherever it is computed.

    Raises:
        UsageError: when called with no more points than neighbours, or in training with one cloud, whose pooled
            features have no batch statistics.
        ShapeError: when called with something else than clouds of `in_channels`.
    """

    def __init__(
        self,
        layers: list[nn.Module],
        channels: int,
        num_classes: int,
        in_channels: int,
        neighbours: int,
        graph_of: GraphOf,
    ) -> None:
        super().__init__()
        check_choice("graph_of", graph_of, get_args(GraphOf))
        self.in_channels, self.graph_of = in_channels, graph_of
        self.graph = NeighbourGraph(neighbours)
        self.layers = nn.ModuleList(layers)
        self.mlp = nn.Sequential(*(ConvNormAct(channels, channels, 1, dims=0) for _ in range(3)))
        self.head = nn.Linear(channels, num_classes)
        self.feature_info = [
            FeatureInfo(num_chs=channels, reduction=1, module=f"layers.{index}") for index in range(len(layers))
        ]

    def forward_features(self, x: Tensor) -> list[Tensor]:
        """The features after every layer, (batch, num_chs, points) each."""
        check_cloud(x, self.in_channels)
        positions, features = x[:, :AXES], []
        fixed = self.graph(positions.double()) if self.graph_of == "positions" else None
        for layer in self.layers:
            if isinstance(layer, ConvNormAct):
                x = layer(x)
            else:
                graph = self.graph(x) if fixed is None else fixed
                directions = (edge_directions(positions, graph),) if _wants_directions(layer) else ()
                x = layer(x, graph, *directions)
            features.append(x)
        return features

    def forward(self, x: Tensor) -> Tensor:
        """Logits, (batch, num_classes)."""
        if self.training and len(x) == 1:
            raise UsageError("One cloud has no batch statistics after pooling; train on two or more, or call eval().")
        return self.head(self.mlp(self.forward_features(x)[-1].amax(2)))

    def parts(self) -> Iterator[Part]:
        """Roles of what is not inside an MGIC block; a dense graph convolution is a relaxation on the finest level.

        "graph" is the distances between all points, once for every graph convolution or, of positions, once in all.
        An MLP between graph convolutions leads from block to block, so it counts with the shortcuts.
        """
        yield Part("graph", "graph")
        yield Part("layers.0", "stem")
        for index, layer in enumerate(self.layers):
            if index and isinstance(layer, EdgeConv | DiffConv):
                yield Part(f"layers.{index}", "relax", 0)
            elif isinstance(layer, ConvNormAct):
                yield Part(f"layers.{index}", "shortcut")
        yield from (Part(name, "head") for name in ("mlp", "head"))


def dgcnn(
    *,
    num_classes: int = 10,
    in_channels: int = 3,
    width: float = 1.0,
    neighbours: int = NEIGHBOURS,
    conv: GraphConvName = "edge",
    graph_of: GraphOf = "features",
) -> DGCNN:
    """The classifier with dense graph convolutions: 63,882 parameters.

    Args:
        num_classes: classes of the linear head.
        in_channels: channels of a point; the first three are its coordinates.
        width: multiplier on the 64 channels.
        neighbours: of a point in every graph, itself excluded.
        conv: "edge" (`EdgeConv`) or "diff" (`DiffConv`).
        graph_of: see `GraphOf`.

    Raises:
        UsageError: sizes below 1.
        UnknownNameError: an unknown convolution; the message names the nearest.
    """

    def layer(channels: int, factory: Callable[..., nn.Module]) -> nn.Module:
        return factory(channels, channels)

    return _build(layer, width, conv, num_classes, in_channels, neighbours, graph_of)


def mgic_dgcnn(
    *,
    num_classes: int = 10,
    in_channels: int = 3,
    width: float = 1.0,
    neighbours: int = NEIGHBOURS,
    conv: GraphConvName = "edge",
    graph_of: GraphOf = "features",
    **block: Unpack[MGICOptions],
) -> DGCNN:
    """The same with graph convolutions that are multigrid in channels, all but the first.

    Args:
        num_classes: classes of the linear head.
        in_channels: as in `dgcnn`.
        width: as in `dgcnn`.
        neighbours: as in `dgcnn`; one graph for all levels of a block.
        conv: as in `dgcnn`.
        graph_of: as in `dgcnn`.
        **block: options of `MGICBlock`: groups of 8 and 16 channels on the coarsest level unless given. Transfers have
            no norm here unless asked for: the network has no skips, and normalised corrections, one after the other,
            make its gradients explode at the start.

    Raises:
        UsageError: as `dgcnn`, and sizes that `MGICBlock` refuses.
        UnknownNameError: as `dgcnn`.
    """
    options: MGICOptions = {"transfer_norm": "none", **block}

    def layer(channels: int, factory: Callable[..., nn.Module]) -> nn.Module:
        def relax(level_channels: int, groups: int) -> nn.Module:
            return factory(level_channels, level_channels, groups=groups)

        return GraphMGIC(channels, relax=relax, **options)

    return _build(layer, width, conv, num_classes, in_channels, neighbours, graph_of)


def _build(
    layer: Callable[[int, Callable[..., nn.Module]], nn.Module],
    width: float,
    conv: GraphConvName,
    num_classes: int,
    in_channels: int,
    neighbours: int,
    graph_of: GraphOf,
) -> DGCNN:
    """A classifier whose layers are made of channels and the dense graph convolution `conv`."""
    (channels,) = scaled([64], width)
    check_choice("conv", conv, get_args(GraphConvName))
    factory = EdgeConv if conv == "edge" else partial(DiffConv, axes=min(in_channels, AXES))
    check_sizes(num_classes=num_classes, in_channels=in_channels, neighbours=neighbours)
    layers = [factory(in_channels, channels)]
    for count in (2, 3):
        layers += [layer(channels, factory) for _ in range(count)]
        layers.append(ConvNormAct(channels, channels, 1, dims=1))
    return DGCNN(layers, channels, num_classes, in_channels, neighbours, graph_of)


def _wants_directions(layer: nn.Module) -> bool:
    return any(isinstance(part, DiffConv) for part in layer.modules())
