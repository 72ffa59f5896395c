"""The sizes of one grouped 2-D convolution, and what the names of the lowerings are. Imports no torch."""

import ctypes
from math import prod
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

Lowering = Literal["aten", "matmul", "native"]
"""`aten`: torch's own convolution; `matmul`: a 1x1 as one batched matrix product; `native`: this package's library."""

LOWERINGS: tuple[Lowering, ...] = ("aten", "matmul", "native")

Pinned = Literal["aten", "matmul", "native", "triton"]
"""What can be pinned: one of these, or `triton`, the kernels for GPUs, which take channels-last maps."""

PINS: tuple[Pinned, ...] = (*LOWERINGS, "triton")


class Shape(NamedTuple):
    """(images, in_channels, height, width) by (out_channels, in_channels / groups, kernel_h, kernel_w).

    Padding is with zeros, as many on either side; the stride is that of both axes; there is no dilation.
    """

    images: int
    in_channels: int
    out_channels: int
    groups: int
    height: int
    width: int
    kernel_h: int
    kernel_w: int
    stride: int
    pad_h: int
    pad_w: int

    @property
    def group_size(self) -> int:
        """Channels of a group, on the side that has more."""
        return max(self.in_channels, self.out_channels) // self.groups

    @property
    def pointwise(self) -> bool:
        """Whether it is a map of each pixel by itself, all of them kept."""
        return (self.kernel_h, self.kernel_w, self.stride, self.pad_h, self.pad_w) == (1, 1, 1, 0, 0)

    @property
    def inputs(self) -> tuple[int, int, int, int]:
        """The shape of what comes in."""
        return self.images, self.in_channels, self.height, self.width

    @property
    def weights(self) -> tuple[int, int, int, int]:
        """The shape of the weight."""
        return self.out_channels, self.in_channels // self.groups, self.kernel_h, self.kernel_w

    @property
    def outputs(self) -> tuple[int, int, int, int]:
        """The shape of what comes out."""
        height = (self.height + 2 * self.pad_h - self.kernel_h) // self.stride + 1
        width = (self.width + 2 * self.pad_w - self.kernel_w) // self.stride + 1
        return self.images, self.out_channels, height, width

    @property
    def regular(self) -> bool:
        """Whether it is a convolution with a result at all; if not, torch says what is wrong with it."""
        whole = self.groups > 0 and not (self.in_channels % self.groups or self.out_channels % self.groups)
        return whole and min(self.inputs) > 0 and self.stride > 0 and min(self.outputs) > 0

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the forward pass, those with padding included."""
        return prod(self.outputs) * prod(self.weights[1:])


class ConvShape(ctypes.Structure):
    """`tmg_conv_shape` of the native library: the fields of `Shape`, in order."""

    _fields_ = [(name, ctypes.c_int32) for name in Shape._fields]


class Track(NamedTuple):
    """Running statistics of a batch normalisation, which move towards those of a batch (unbiased variance), in place.

    Attributes:
        mean, variance: tensors (channels,).
        share: how far: 1 is all the way.
    """

    mean: "Tensor"
    variance: "Tensor"
    share: float
