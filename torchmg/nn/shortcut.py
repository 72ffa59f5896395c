"""The light operator that maps a tensor to the width and resolution of the MGIC block after it."""

from math import gcd
from typing import Literal

from torch import nn

from torchmg.hierarchy import check_choice
from torchmg.nn.conv import ConvNormAct

ShortcutKind = Literal["depthwise", "pointwise"]
"""`depthwise`: 3x3 with gcd(in, out) groups (the paper; its code needs in to divide out); `pointwise`: a dense 1x1,
which the paper mentions as the alternative."""


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
        check_choice("shortcut", kind, ("depthwise", "pointwise"))
        kernel_size, groups = (3, gcd(in_channels, out_channels)) if kind == "depthwise" else (1, 1)
        super().__init__(in_channels, out_channels, kernel_size, stride=stride, groups=groups, act=act)
