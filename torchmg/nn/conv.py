"""Convolutions that every block is made of, and the check of what enters a network."""

import torch
from torch import Tensor, nn

from torchmg.errors import ShapeError, UsageError
from torchmg.hierarchy import check_groups


class GroupedConv2d(nn.Conv2d):
    """A shape-keeping `nn.Conv2d` with groups, no bias, and an initialisation that knows about groups.

    (batch, in_channels, height, width) -> (batch, out_channels, ceil(height / stride), ceil(width / stride)).

    Weights are Kaiming-normal with the fan-in of one group (in_channels / groups * k^2): the fan-out that is
    customary for ResNets ignores groups and would make grouped weights too small by sqrt(groups).

    Raises:
        GroupError: `groups` does not divide both widths.
        UsageError: an even kernel size, which cannot keep the resolution.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, groups: int = 1
    ) -> None:
        name = f"a {kernel_size}x{kernel_size} convolution {in_channels} -> {out_channels}"
        check_groups(in_channels, groups, name)
        check_groups(out_channels, groups, name)
        if kernel_size % 2 == 0:
            near = f"{kernel_size - 1} or {kernel_size + 1}" if kernel_size > 1 else "1"
            raise UsageError(f"kernel_size must be odd to keep the resolution; got {kernel_size}. Use {near}.")
        padding = kernel_size // 2
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=False)

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        nn.init.kaiming_normal_(self.weight, mode="fan_in", nonlinearity="relu")


class ConvNormAct(nn.Sequential):
    """Convolution, batch normalisation and, unless `act` is None, an activation; shapes as `GroupedConv2d`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        *,
        stride: int = 1,
        groups: int = 1,
        act: type[nn.Module] | None = nn.ReLU,
    ) -> None:
        super().__init__()
        self.conv = GroupedConv2d(in_channels, out_channels, kernel_size, stride=stride, groups=groups)
        self.norm = nn.BatchNorm2d(out_channels)
        if act is not None:
            self.act = act()


def check_images(x: Tensor, channels: int) -> None:
    """Raise `ShapeError` unless `x` is a (batch, channels, height, width) float tensor.

    Shapes and types are known when a graph is traced, so this costs nothing in exported or compiled networks.
    """
    if x.dim() == 4 and x.shape[1] == channels and x.is_floating_point():
        return
    got = f"Expected images (batch, {channels}, H, W) in floating point; got {tuple(x.shape)} {x.dtype}."
    if x.dim() == 4 and x.shape[-1] == channels and x.shape[1] != channels:
        got += " This looks channels-last; permute to (0, 3, 1, 2)."
    elif x.dim() == 3 and x.shape[0] == channels:
        got += " A single image needs a batch axis: x[None]."
    elif x.dtype == torch.uint8:
        got += " Scale pixels first: x.float() / 255."
    raise ShapeError(got)
