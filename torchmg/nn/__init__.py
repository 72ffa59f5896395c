"""Building blocks: convolutions, transfers, relaxations, the cycle, and the MGIC block made of them."""

from torchmg.nn.conv import ConvNormAct, GroupedConv2d
from torchmg.nn.cycle import v_cycle
from torchmg.nn.mgic import MGICBlock, MGICOptions
from torchmg.nn.relax import Bottleneck, RelaxationFactory, Residual
from torchmg.nn.shortcut import LightShortcut
from torchmg.nn.transfer import Prolongation, Restriction, Transfer

__all__ = [
    "Bottleneck",
    "ConvNormAct",
    "GroupedConv2d",
    "LightShortcut",
    "MGICBlock",
    "MGICOptions",
    "Prolongation",
    "RelaxationFactory",
    "Residual",
    "Restriction",
    "Transfer",
    "v_cycle",
]
