# ruff: noqa: N803, N806 (constants of a kernel are in capitals, as Triton has them)
# pyright: reportArgumentType=false, reportAssignmentType=false
"""What all Triton kernels share: how channels are cut in packs, tiles of weights, products.

A pack is a run of whole groups, so wide that tensor cores can take it (16 channels at least on either side). The
weights of one tap between a pack that is read and the one that is written are a tile that is block-diagonal where a
pack has several groups. A wider pack wastes products, which a memory-bound kernel has to spare, and loads longer runs.
"""

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from torchmg.kernels.gpu import support
from torchmg.kernels.shape import Shape

INTERPRETED = tl.constexpr(support.interpreted())
"""The interpreter multiplies bfloat16 wrongly, so there products are of float32."""

NARROWEST = 16
"""The least that tensor cores take along an axis."""


class Packs(NamedTuple):
    """How the channels of a convolution are cut. A pack's tail beyond its groups and beyond the channels is masked."""

    groups: int
    """Groups in a pack."""
    in_size: int
    """Input channels of a group."""
    out_size: int
    in_pack: int
    """Input channels of a pack with its masked tail: a power of 2."""
    out_pack: int
    packs: int
    """How many there are."""


WIDEST = 64
"""Channels that narrow packs are not made wider than to fill their other side: the rest of it is masked."""


def packs_of(shape: Shape, width: int = 1) -> Packs:
    """The narrowest packs of a convolution, times `width`, but no more than it has groups."""
    in_size, out_size = shape.in_channels // shape.groups, shape.out_channels // shape.groups
    full = -(-NARROWEST // min(in_size, out_size))
    groups = min(min(full, max(1, WIDEST // max(in_size, out_size))) * width, shape.groups)
    in_pack, out_pack = (max(NARROWEST, triton.next_power_of_2(groups * size)) for size in (in_size, out_size))
    return Packs(groups, in_size, out_size, in_pack, out_pack, -(-shape.groups // groups))


def empty(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Memory for a result, channels-last where it has four axes. Tests replace this to poison it."""
    order: Any = torch.channels_last if len(shape) == 4 else torch.contiguous_format
    return torch.empty(shape, dtype=dtype, device=device, memory_format=order)


@triton.jit
def dot(a, b, acc, PRECISION: tl.constexpr):
    """Acc + a @ b in float32; a and b of one type. PRECISION: "ieee", "tf32", "tf32x3", for float32 only."""
    if INTERPRETED:
        acc += tl.dot(a.to(tl.float32), b.to(tl.float32), input_precision="ieee")
    else:
        acc = tl.dot(a, b, acc, input_precision=PRECISION)
    return acc


@triton.jit
def pack_channels(pack, channels, SIZE: tl.constexpr, GROUPS: tl.constexpr, PACK: tl.constexpr):
    """The channels of a pack, [PACK], and which of them there are."""
    place = tl.arange(0, PACK)
    channel = pack * (GROUPS * SIZE) + place
    return channel, (place < GROUPS * SIZE) & (channel < channels)


@triton.jit
def load_weight_tile(
    weight,
    pack,
    tap,
    out_channels,
    IN_SIZE: tl.constexpr,
    OUT_SIZE: tl.constexpr,
    GROUPS: tl.constexpr,
    IN_PACK: tl.constexpr,
    OUT_PACK: tl.constexpr,
    TAPS: tl.constexpr,
    TRANSPOSED: tl.constexpr,
    DTYPE: tl.constexpr,
    LAST: tl.constexpr = False,
):
    """One tap's weights of a pack: [IN_PACK, OUT_PACK], or transposed; of (out, IN_SIZE, TAPS) weights, as DTYPE.

    LAST: the weights are channels-last, in memory (out, TAPS, IN_SIZE).
    """
    IN_STRIDE: tl.constexpr = 1 if LAST else TAPS
    TAP_STRIDE: tl.constexpr = IN_SIZE if LAST else 1
    if TRANSPOSED:
        i = tl.arange(0, IN_PACK)[None, :]
        o = tl.arange(0, OUT_PACK)[:, None]
    else:
        i = tl.arange(0, IN_PACK)[:, None]
        o = tl.arange(0, OUT_PACK)[None, :]
    channel = pack * (GROUPS * OUT_SIZE) + o
    there = (i // IN_SIZE == o // OUT_SIZE) & (o < GROUPS * OUT_SIZE) & (channel < out_channels)
    place = channel * (IN_SIZE * TAPS) + (i % IN_SIZE) * IN_STRIDE + tap * TAP_STRIDE
    return tl.load(weight + place, mask=there, other=0.0).to(DTYPE)
