"""Channel couplings, one family behind one interface; a file for each idea."""

from torchmg.nn.coupling.adjoint import adjoint
from torchmg.nn.coupling.base import ChannelCoupling, Growth, Scheme, diameter
from torchmg.nn.coupling.grouped import Depthwise, Full, Grouped, Pointwise
from torchmg.nn.coupling.registry import (
    COUPLINGS,
    CouplingName,
    as_builder,
    channel_coupling,
    conv_builder,
    full_conv,
    own_options,
)
from torchmg.nn.coupling.stencil import Padding, correlate, correlate_adjoint, spectral_bound, symbol

__all__ = [
    "COUPLINGS",
    "ChannelCoupling",
    "CouplingName",
    "Depthwise",
    "Full",
    "Grouped",
    "Growth",
    "Padding",
    "Pointwise",
    "Scheme",
    "adjoint",
    "as_builder",
    "channel_coupling",
    "conv_builder",
    "correlate",
    "correlate_adjoint",
    "diameter",
    "full_conv",
    "own_options",
    "spectral_bound",
    "symbol",
]
