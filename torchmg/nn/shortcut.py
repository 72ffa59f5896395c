"""The light operator that maps a tensor to the width and resolution of the MGIC block after it."""

from math import gcd
from typing import get_args

from torch import nn

from torchmg.hierarchy import ShortcutKind, check_choice
from torchmg.nn.conv import ConvNormAct

__all__ = ["LightShortcut", "ShortcutKind"]


class LightShortcut(ConvNormAct):
    """(batch, in_channels, H, W) -> (batch, out_channels, H / stride, W / stride): convolution, norm, ReLU.

    Its result is the *input* of the MGIC block; there is no second, parallel skip (MGIC paper, section 3.5).
    `act=None` leaves the ReLU out, as inverted residuals want it.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        *,
        kind: ShortcutKind = "depthwise",
        act: type[nn.Module] | None = nn.ReLU,
    ) -> None:
        check_choice("shortcut", kind, get_args(ShortcutKind))
        kernel_size, groups = (3, gcd(in_channels, out_channels)) if kind == "depthwise" else (1, 1)
        super().__init__(in_channels, out_channels, kernel_size, stride=stride, groups=groups, act=act)
