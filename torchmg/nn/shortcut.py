"""The light operator that maps a tensor to the width and resolution of the MGIC block after it."""

from math import gcd
from typing import get_args

from torch import nn

from torchmg.hierarchy import Dims, ShortcutKind, check_choice
from torchmg.nn.conv_norm_act import ConvNormAct

__all__ = ["LightShortcut", "ShortcutKind"]


class LightShortcut(ConvNormAct):
    """(batch, in_channels, *spatial) -> (batch, out_channels, *spatial / stride): convolution, norm, ReLU.

    Its result is the *input* of the MGIC block; there is no second, parallel skip (MGIC paper, section 3.5).
    `act=None` leaves the ReLU out, as inverted residuals want it. Vectors (`dims=0`) have no resolution: there it is a
    linear map, grouped as the kind says, and a stride is a `UsageError`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        *,
        kind: ShortcutKind = "depthwise",
        act: type[nn.Module] | None = nn.ReLU,
        dims: Dims = 2,
    ) -> None:
        check_choice("shortcut", kind, get_args(ShortcutKind))
        kernel_size, groups = (3, gcd(in_channels, out_channels)) if kind == "depthwise" else (1, 1)
        super().__init__(in_channels, out_channels, kernel_size, stride=stride, groups=groups, act=act, dims=dims)
