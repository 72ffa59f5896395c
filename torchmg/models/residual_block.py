"""The residual block of dense and coupled networks: any convolutions, before or after their activations."""

from collections.abc import Sequence
from typing import get_args

from torch import Tensor, nn
from torch.nn import functional as F

from torchmg.hierarchy import check_choice
from torchmg.models.options import ActOrder
from torchmg.nn.conv import ConvBuilder, grouped_conv
from torchmg.nn.conv_norm_act import ConvNormAct

EXPANSION = 4
"""Width of the tensor over that of a bottleneck's middle (He et al. 2016)."""


class PaddedShortcut(nn.Module):
    """Every stride-th pixel with zero channels appended: no parameters (option A of He et al. 2016).

    (batch, channels, H, W) -> (batch, channels + extra, H / stride, W / stride), rounded up.
    """

    def __init__(self, extra: int, stride: int) -> None:
        super().__init__()
        self.extra, self.stride = extra, stride

    def forward(self, x: Tensor) -> Tensor:
        """Skip pixels and append channels."""
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra))

    def extra_repr(self) -> str:
        """What is appended and skipped."""
        return f"extra={self.extra}, stride={self.stride}"


class ResidualBlock(nn.Module):
    """A residual step of convolutions K1 ... Kn with batch norms N1 ... Nn.

    `post`: y = ReLU(S x + Nn Kn ReLU(... ReLU(N1 K1 x))); `pre`: y = S x + Kn ReLU(Nn(... K1 ReLU(N1 x))), He et al.,
    "Identity Mappings in Deep Residual Networks", 2016. Which of the two lean networks have is not known (spec 1.3);
    `post` is the order of the same group's MGIC code.

    Args:
        convs: K1 ... Kn; only their widths and strides need to fit.
        widths: of the tensors before K1, between the convolutions, and after Kn: one more than `convs`.
        shortcut: S, (batch, widths[0], H, W) -> what Kn makes; the identity by default.
        act_order: see `ActOrder`.

    Raises:
        UnknownNameError: an unknown order.
    """

    def __init__(
        self,
        convs: Sequence[nn.Module],
        widths: Sequence[int],
        *,
        shortcut: nn.Module | None = None,
        act_order: ActOrder = "post",
    ) -> None:
        super().__init__()
        check_choice("act_order", act_order, get_args(ActOrder))
        self.act_order: ActOrder = act_order
        self.count = len(convs)
        for number, conv in enumerate(convs, 1):
            self.add_module(f"conv{number}", conv)
            self.add_module(f"norm{number}", nn.BatchNorm2d(widths[number - (act_order == "pre")]))
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """One residual step."""
        skip = x if self.shortcut is None else self.shortcut(x)
        y = x
        for number in range(1, self.count + 1):
            conv, norm = getattr(self, f"conv{number}"), getattr(self, f"norm{number}")
            if self.act_order == "pre":
                y = conv(F.relu(norm(y)))
            else:
                y = norm(conv(y))
                y = F.relu(y) if number < self.count else y
        return skip + y if self.act_order == "pre" else F.relu(skip + y)

    def last_norms(self) -> list[nn.Module]:
        """For `torchmg.nn.norm.zero_last_norms`; with the order `pre` there is none behind the last convolution."""
        return [getattr(self, f"norm{self.count}")] if self.act_order == "post" else []

    def extra_repr(self) -> str:
        """The order, where it is not the default."""
        return "" if self.act_order == "post" else f"act_order={self.act_order}"


def basic_block(
    channels: int,
    width: int,
    stride: int = 1,
    *,
    first: ConvBuilder = grouped_conv,
    second: ConvBuilder = grouped_conv,
    projection: bool = True,
    act_order: ActOrder = "post",
) -> ResidualBlock:
    """Two 3x3 convolutions, the first strided: (batch, channels, H, W) -> (batch, width, H / stride, W / stride).

    Args:
        channels: of what goes in.
        width: of what comes out.
        stride: of the first convolution and the shortcut.
        first: what builds the first convolution.
        second: what builds the second one.
        projection: a 1x1 convolution with norm where width or resolution changes; else `PaddedShortcut`.
        act_order: see `ActOrder`.
    """
    convs = [first(channels, width, 3, stride=stride), second(width, width, 3)]
    shortcut = _shortcut(channels, width, stride, projection)
    return ResidualBlock(convs, (channels, width, width), shortcut=shortcut, act_order=act_order)


def bottleneck_block(
    channels: int, width: int, stride: int = 1, *, middle: ConvBuilder = grouped_conv, act_order: ActOrder = "post"
) -> ResidualBlock:
    """1x1, 3x3 (strided), 1x1: (batch, channels, H, W) -> (batch, width, H / stride, W / stride).

    Args:
        channels: of what goes in.
        width: of what comes out; the middle has a quarter of it.
        stride: of the middle convolution ("ResNet V1.5") and the shortcut.
        middle: what builds the middle convolution.
        act_order: see `ActOrder`.
    """
    inner = width // EXPANSION
    convs = [grouped_conv(channels, inner, 1), middle(inner, inner, 3, stride=stride), grouped_conv(inner, width, 1)]
    shortcut = _shortcut(channels, width, stride, projection=True)
    return ResidualBlock(convs, (channels, inner, inner, width), shortcut=shortcut, act_order=act_order)


def _shortcut(channels: int, width: int, stride: int, projection: bool) -> nn.Module | None:
    if stride == 1 and channels == width:
        return None
    if projection:
        return ConvNormAct(channels, width, 1, stride=stride, act=None)
    return PaddedShortcut(width - channels, stride)
