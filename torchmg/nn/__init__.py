"""Building blocks: convolutions, graphs, transfers, relaxations, the cycle, and MGIC, MgNet and SiC made of them."""

from torchmg.nn.conv import ConvNormAct, GroupedConv1d, GroupedConv2d, GroupedConv3d, GroupedLinear, grouped_conv
from torchmg.nn.cycle import descend, fas_cycle
from torchmg.nn.edge_conv import DiffConv, EdgeConv, GraphMGIC
from torchmg.nn.ghost import Ghost, GhostBottleneck
from torchmg.nn.grid import GridProlongation, GridRestriction
from torchmg.nn.inverted_residual import InvertedResidual, SqueezeExcite
from torchmg.nn.knn import NeighbourGraph, gather_neighbours, knn_graph
from torchmg.nn.mgic import MGICBlock, MGICOptions
from torchmg.nn.mgnet import DataFeature, coarsen
from torchmg.nn.polynomial import PolynomialFeature
from torchmg.nn.relax import Bottleneck, FeedForward, RelaxationFactory, Residual, ResNeXtBottleneck, WideBottleneck
from torchmg.nn.shortcut import LightShortcut
from torchmg.nn.sic import SiC, SiCOptions
from torchmg.nn.transfer import Prolongation, Restriction, Transfer

__all__ = [
    "Bottleneck",
    "ConvNormAct",
    "DataFeature",
    "DiffConv",
    "EdgeConv",
    "FeedForward",
    "Ghost",
    "GhostBottleneck",
    "GraphMGIC",
    "GridProlongation",
    "GridRestriction",
    "GroupedConv1d",
    "GroupedConv2d",
    "GroupedConv3d",
    "GroupedLinear",
    "InvertedResidual",
    "LightShortcut",
    "MGICBlock",
    "MGICOptions",
    "NeighbourGraph",
    "PolynomialFeature",
    "Prolongation",
    "RelaxationFactory",
    "ResNeXtBottleneck",
    "Residual",
    "Restriction",
    "SiC",
    "SiCOptions",
    "SqueezeExcite",
    "Transfer",
    "WideBottleneck",
    "coarsen",
    "descend",
    "fas_cycle",
    "gather_neighbours",
    "grouped_conv",
    "knn_graph",
]
