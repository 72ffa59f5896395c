"""Building blocks: convolutions, transfers, relaxations, the cycle, and the MGIC block made of them."""

from torchmg.nn.conv import ConvNormAct, GroupedConv1d, GroupedConv2d, GroupedConv3d, GroupedLinear, grouped_conv
from torchmg.nn.cycle import fas_cycle
from torchmg.nn.mgic import MGICBlock, MGICOptions
from torchmg.nn.relax import Bottleneck, RelaxationFactory, Residual
from torchmg.nn.shortcut import LightShortcut
from torchmg.nn.transfer import Prolongation, Restriction, Transfer

__all__ = [
    "Bottleneck",
    "ConvNormAct",
    "GroupedConv1d",
    "GroupedConv2d",
    "GroupedConv3d",
    "GroupedLinear",
    "LightShortcut",
    "MGICBlock",
    "MGICOptions",
    "Prolongation",
    "RelaxationFactory",
    "Residual",
    "Restriction",
    "Transfer",
    "fas_cycle",
    "grouped_conv",
]
