"""Convolutions that every block is made of, and the check of what enters a network."""

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchmg.errors import ShapeError, UsageError
from torchmg.hierarchy import Dims, check_groups
from torchmg.kernels.op import fast_pointwise
from torchmg.kernels.op import grouped_conv as by_lowering


class _ShapeKeeping:
    """Mixed into torch's convolutions: keeps the shape, has groups and no bias, and initialises with them in mind.

    (batch, in_channels, *spatial) -> (batch, out_channels, *spatial), each axis divided by `stride`, rounded up.

    Weights are Kaiming-normal with the fan-in of one group (in_channels / groups * k^dims): the fan-out that is
    customary for ResNets ignores groups and would make grouped weights too small by sqrt(groups).

    Raises:
        GroupError: `groups` does not divide both widths.
        UsageError: an even kernel size, which cannot keep the resolution.
    """

    weight: Tensor

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, groups: int = 1
    ) -> None:
        name = f"a {kernel_size}-wide convolution {in_channels} -> {out_channels}"
        check_groups(in_channels, groups, name)
        check_groups(out_channels, groups, name)
        if kernel_size % 2 == 0:
            near = f"{kernel_size - 1} or {kernel_size + 1}" if kernel_size > 1 else "1"
            raise UsageError(f"kernel_size must be odd to keep the resolution; got {kernel_size}. Use {near}.")
        padding = kernel_size // 2
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=False)  # pyright: ignore

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        nn.init.kaiming_normal_(self.weight, mode="fan_in", nonlinearity="relu")


class GroupedConv1d(_ShapeKeeping, nn.Conv1d):
    """A shape-keeping grouped `nn.Conv1d` without bias, for (batch, channels, length)."""


class LoweredConv2d(nn.Conv2d):
    """`nn.Conv2d` by the fastest lowering there is (see `torchmg.kernels.op.grouped_conv`)."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """Apply the convolution; dilation and other padding, where something has set them, are torch's."""
        padding = self.padding
        if self.groups == 1 or isinstance(padding, str) or self.dilation != (1, 1) or self.padding_mode != "zeros":
            return super().forward(input)
        stride = (self.stride[0], self.stride[1])
        return by_lowering(input, self.weight, self.bias, stride, (padding[0], padding[1]), self.groups)


class GroupedConv2d(_ShapeKeeping, LoweredConv2d):
    """A shape-keeping grouped `nn.Conv2d` without bias, for (batch, channels, height, width)."""


class GroupedConv3d(_ShapeKeeping, nn.Conv3d):
    """A shape-keeping grouped `nn.Conv3d` without bias, for (batch, channels, depth, height, width)."""


class GroupedLinear(nn.Module):
    """A block-diagonal linear map without bias, (batch, in_channels) -> (batch, out_channels).

    `weight` is (out_channels, in_channels / groups), that of a 1x1 convolution without its spatial axes, and drawn
    like it. There is nothing to stride over.

    Raises:
        GroupError: `groups` does not divide both widths.
        UsageError: a stride other than 1.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int = 1, *, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        name = f"a linear map {in_channels} -> {out_channels}"
        check_groups(in_channels, groups, name)
        check_groups(out_channels, groups, name)
        if stride != 1:
            raise UsageError(f"A linear map has no resolution to stride over; got stride={stride}. Use 1.")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels // groups))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        nn.init.kaiming_normal_(self.weight, mode="fan_in", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Apply the map."""
        return pointwise(x, self.weight, self.groups)

    def extra_repr(self) -> str:
        """Widths and groups."""
        return f"{self.in_channels} -> {self.out_channels}, groups={self.groups}"


def pointwise(x: Tensor, weight: Tensor, groups: int) -> Tensor:
    """The grouped 1x1 map of (batch, in, *spatial) by a weight (out, in / groups), for up to three spatial axes.

    Between pairs of channels and single ones it is element-wise: no convolution is called, and a compiler can fuse it.
    Eagerly on the CPU the native library may compute either.
    """
    paired = is_paired(weight, groups)
    if (fast := fast_pointwise(x, weight, groups, paired=paired)) is not None:
        return fast
    if paired:
        wide = weight[(...,) + (None,) * (x.dim() - 2)]
        if weight.shape[1] == 2:
            return x[:, ::2] * wide[:, 0] + x[:, 1::2] * wide[:, 1]
        return x.repeat_interleave(2, 1) * wide[:, 0]
    if x.dim() == 2 and groups == 1:
        return F.linear(x, weight)
    if x.dim() == 2:
        parts, blocks = x.unflatten(1, (groups, -1)), weight.unflatten(0, (groups, -1))
        return torch.bmm(parts.transpose(0, 1), blocks.transpose(1, 2)).transpose(0, 1).flatten(1)
    convolve = {3: F.conv1d, 4: by_lowering, 5: F.conv3d}[x.dim()]
    return convolve(x, weight[(...,) + (None,) * (x.dim() - 2)], groups=groups)


def is_paired(weight: Tensor, groups: int) -> bool:
    """Whether every group of a 1x1 map joins two channels into one or spreads one over two."""
    return (weight.shape[0] // groups, weight.shape[1]) in {(1, 2), (2, 1)}


def grouped_conv(
    in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, groups: int = 1, dims: Dims = 2
) -> GroupedConv1d | GroupedConv2d | GroupedConv3d | GroupedLinear:
    """The shape-keeping grouped convolution with `dims` spatial axes; with none, a linear map."""
    kinds = {0: GroupedLinear, 1: GroupedConv1d, 2: GroupedConv2d, 3: GroupedConv3d}
    return kinds[dims](in_channels, out_channels, kernel_size, stride=stride, groups=groups)


class ConvBuilder(Protocol):
    """Whatever builds a block's convolutions as `grouped_conv` does, such as a channel coupling."""

    def __call__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, groups: int = 1, dims: Dims = 2
    ) -> nn.Module:
        """A module (batch, in_channels, *spatial) -> (batch, out_channels, *spatial)."""
        ...


def check_input(x: Tensor, channels: int, dims: Dims = 2) -> None:
    """Raise `ShapeError` unless `x` is a (batch, channels, *spatial) float tensor with `dims` spatial axes.

    Shapes and types are known when a graph is traced, so this costs nothing in exported or compiled networks.
    """
    rank = 2 + dims
    if x.dim() == rank and x.shape[1] == channels and x.is_floating_point():
        return
    what = {0: "vectors (batch, {})", 1: "sequences (batch, {}, L)", 2: "images (batch, {}, H, W)"}
    wanted = what.get(dims, "volumes (batch, {}, D, H, W)").format(channels)
    got = f"Expected {wanted} in floating point; got {tuple(x.shape)} {x.dtype}."
    if dims and x.dim() == rank and x.shape[-1] == channels and x.shape[1] != channels:
        got += f" This looks channels-last; permute to ({', '.join(map(str, (0, rank - 1, *range(1, rank - 1))))})."
    elif x.dim() == rank - 1 and x.shape[0] == channels:
        got += f" A single {wanted.split()[0][:-1]} needs a batch axis: x[None]."
    elif x.dtype == torch.uint8:
        got += " Scale pixels first: x.float() / 255."
    raise ShapeError(got)
