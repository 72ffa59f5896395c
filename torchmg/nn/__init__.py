"""Building blocks: convolutions, transfers, relaxations, the cycle, and MGIC, MgNet and SiC made of them."""

from torchmg.nn.conv import ConvNormAct, GroupedConv1d, GroupedConv2d, GroupedConv3d, GroupedLinear, grouped_conv
from torchmg.nn.cycle import descend, fas_cycle
from torchmg.nn.grid import GridProlongation, GridRestriction
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
    "FeedForward",
    "GridProlongation",
    "GridRestriction",
    "GroupedConv1d",
    "GroupedConv2d",
    "GroupedConv3d",
    "GroupedLinear",
    "LightShortcut",
    "MGICBlock",
    "MGICOptions",
    "PolynomialFeature",
    "Prolongation",
    "RelaxationFactory",
    "ResNeXtBottleneck",
    "Residual",
    "Restriction",
    "SiC",
    "SiCOptions",
    "Transfer",
    "WideBottleneck",
    "coarsen",
    "descend",
    "fas_cycle",
    "grouped_conv",
]
