"""Channel couplings, one family behind one interface; a file for each idea."""

from torchmg.nn.coupling.adjoint import adjoint
from torchmg.nn.coupling.base import ChannelCoupling, Growth, Scheme, diameter
from torchmg.nn.coupling.block_chain import BlockChain
from torchmg.nn.coupling.chain import Chain
from torchmg.nn.coupling.circulant import Circulant, Evaluation
from torchmg.nn.coupling.fold import folded
from torchmg.nn.coupling.grouped import Depthwise, Full, Grouped, Pointwise
from torchmg.nn.coupling.lattice import Lattice, Neighbours
from torchmg.nn.coupling.lean import Lean, PointwisePart, Stencil, Union
from torchmg.nn.coupling.local import LocalCoupling
from torchmg.nn.coupling.multigrid import Multigrid
from torchmg.nn.coupling.registry import (
    COUPLINGS,
    IN_GROUPS,
    as_builder,
    channel_coupling,
    conv_builder,
    full_conv,
    own_options,
)
from torchmg.nn.coupling.separable import Separable
from torchmg.nn.coupling.shuffle import Shuffle
from torchmg.nn.coupling.stencil import Padding, correlate, correlate_adjoint, spectral_bound, symbol

__all__ = [
    "COUPLINGS",
    "IN_GROUPS",
    "BlockChain",
    "Chain",
    "ChannelCoupling",
    "Circulant",
    "Depthwise",
    "Evaluation",
    "Full",
    "Grouped",
    "Growth",
    "Lattice",
    "Lean",
    "LocalCoupling",
    "Multigrid",
    "Neighbours",
    "Padding",
    "Pointwise",
    "PointwisePart",
    "Scheme",
    "Separable",
    "Shuffle",
    "Stencil",
    "Union",
    "adjoint",
    "as_builder",
    "channel_coupling",
    "conv_builder",
    "correlate",
    "correlate_adjoint",
    "diameter",
    "folded",
    "full_conv",
    "own_options",
    "spectral_bound",
    "symbol",
]
