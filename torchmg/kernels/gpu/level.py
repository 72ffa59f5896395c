# ruff: noqa: N803 (constants of a kernel are in capitals, as Triton has them)
"""One level of a block in one pass, for inference: the correction from the coarser level and the relaxation.

    z = x + P (y_c - x_c) + bias                               (or z = x: a relaxation by itself)
    m = act(K1 z + b1)                                         (MGiaD: act(scale (K1 z + f) + b1), f the data)
    y = relu?(K2 m + b2 + z)                                   (MGiaD: relu?(K2 m + b2) + z)

K1 and K2 are 3x3 of padding 1 in groups, P is 1x1 in groups; batch normalisations are part of weights and biases.

A program owns a pack of channels of some images on a strip of rows and columns, and walks down the rows. Row h of z is
computed once; its two shifts along the row come from registers (`tl.gather`), and its nine products with K1 go to the
sums of rows h-1, h, h+1, of which row h-1 is then complete; this row of m goes the same way through K2. So no value of
z or m leaves the multiprocessor.

Bytes: x (C channels), x_c and y_c (C/2 each) are read once and y (C) is written once: 3 |x|, which is the floor of any
kernel that handles one level; operation by operation it is 12 |x| (difference 1.5, P 2.5, K1 2, ReLU 2, K2 with the sum
3, ReLU 2, less one where two are fused). A strip of rows or columns reads its halo of 2 on either side again.
"""

from math import lcm
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from torchmg.kernels.gpu import tiles
from torchmg.kernels.gpu.tiles import dot
from torchmg.kernels.gpu.tune import Config, tuned

REACH = 2
"""Rows and columns that two 3x3 convolutions read beyond the ones they write."""

WIDEST_PACK = 64
"""Channels of a pack at most."""

LAUNCHES = {32: ((64, 4), (128, 8), (64, 8), (32, 4)), 64: ((64, 4), (64, 8), (32, 4)), 128: ((32, 8), (16, 8))}
"""Pixels of a program's row, over all its images, and warps, the default first, by the bytes of a pixel's pack at most:
sums and weights of these fit registers and shared memory, without spills."""

PROGRAMS = 264
"""As many programs should run at the least: two for each multiprocessor of an H200."""


class Pack(NamedTuple):
    """How channels are cut: runs of whole groups of all the operations of a level."""

    size: int
    """Channels of a pack."""
    block: int
    """The same with a masked tail: a power of 2, 16 or more."""
    count: int


class Relaxation(NamedTuple):
    """Two 3x3 convolutions as `pack_taps` has them; vectors are float32, one number a channel.

    Attributes:
        first, second: (packs, 9, block, block), of the type of the activations.
        first_bias, second_bias: of `channels`.
        pack: of K1 and K2.
        scale: what K1 z + f is multiplied with, or None.
        relu_inside: after K1.
        relu: after K2.
        sum_last: z is added after that ReLU, not before.
    """

    first: Tensor
    first_bias: Tensor
    second: Tensor
    second_bias: Tensor
    pack: Pack
    scale: Tensor | None = None
    relu_inside: bool = True
    relu: bool = True
    sum_last: bool = False


class Correction(NamedTuple):
    """P as `pack_taps` has it: (packs, 1, coarse block, block), its bias (channels,), and the coarse packs."""

    weight: Tensor
    bias: Tensor
    coarse: Pack


def pack_of(channels: int, *sizes: int) -> Pack | None:
    """The narrowest packs that hold whole groups of all `sizes` (channels of a group); None if beyond 64 channels."""
    size = lcm(*sizes)
    size *= min(-(-tiles.NARROWEST // size), max(1, channels // size))
    if size > WIDEST_PACK:
        return None
    return Pack(size, max(tiles.NARROWEST, triton.next_power_of_2(size)), -(-channels // size))


def pack_taps(weight: Tensor, groups: int, read: Pack, written: Pack, dtype: torch.dtype) -> Tensor:
    """Weights (out, in/groups, kh, kw) as tiles (packs, taps, in block, out block), zero outside of groups and packs.

    Args:
        weight: of any type; rounded once.
        groups: of the convolution.
        read, written: packs of its input and output, as many.
        dtype: of the activations.
    """
    out, inner, high, wide = weight.shape
    outs = torch.arange(out, device=weight.device)[:, None]
    ins = outs // (out // groups) * inner + torch.arange(inner, device=weight.device)
    pack = outs // written.size
    packed = weight.new_zeros(written.count, high * wide, read.block, written.block)
    packed[pack, :, ins - pack * read.size, outs % written.size] = weight.flatten(2)
    return packed.to(dtype)


def level(
    x: Tensor,
    relaxation: Relaxation,
    correction: Correction | None = None,
    coarse: tuple[Tensor, Tensor] | None = None,
    data: Tensor | None = None,
    precision: str = "ieee",
) -> Tensor:
    """The way up of one level.

    Args:
        x: (images, channels, height, width), channels-last, bfloat16, float16 or float32: what was restricted to this
            level, or the block's input.
        relaxation: K1 and K2.
        correction: P; None for a relaxation alone.
        coarse: the coarser level's state before and after, (images, coarse channels, height, width), as x.
        data: f, as x, or None.
        precision: of float32 products, see `support.float32_precision`.

    Returns:
        y, as x.
    """
    images, channels, height, width = x.shape
    y = tiles.empty(tuple(x.shape), x.dtype, x.device)
    pack = relaxation.pack
    before, after = coarse or (x, x)
    p_weight, p_bias, coarse_pack = correction or (relaxation.first, relaxation.first_bias, pack)
    launches = next(found for size, found in LAUNCHES.items() if pack.block * x.dtype.itemsize <= size)
    widest = launches[0][0]
    columns, halo = (triton.next_power_of_2(width), 0) if width <= widest else (widest, REACH)
    step = columns - 2 * halo
    strips = -(-width // step)

    def run(config: Config) -> None:
        share = config.block_m // columns
        rows = -(-height // config.splits)
        grid = (pack.count * strips, -(-images // share), -(-height // rows))
        _level[grid](
            x,
            before,
            after,
            x if data is None else data,
            p_weight,
            p_bias,
            relaxation.first,
            relaxation.first_bias if relaxation.scale is None else relaxation.scale,
            relaxation.first_bias,
            relaxation.second,
            relaxation.second_bias,
            y,
            images,
            height,
            width,
            channels,
            before.shape[1],
            rows,
            strips,
            UP=correction is not None,
            DATA=data is not None,
            SCALED=relaxation.scale is not None,
            RELU_INSIDE=relaxation.relu_inside,
            RELU=relaxation.relu,
            SUM_LAST=relaxation.sum_last,
            PACK=pack.size,
            BLOCK=pack.block,
            FULL=pack.size == pack.block and channels % pack.size == 0,
            COARSE_PACK=coarse_pack.size,
            COARSE_BLOCK=coarse_pack.block,
            COLUMNS=columns,
            HALO=halo,
            IMAGES=share,
            PRECISION=precision,
            num_warps=config.warps,
            num_stages=config.stages,
        )

    key = (*x.shape, str(x.dtype), precision, pack.size, correction is not None, data is not None)
    run(tuned("level", key, _configs(launches, columns, images, height, pack.count * strips), run))
    return y


def _configs(
    launches: tuple[tuple[int, int], ...], columns: int, images: int, height: int, programs: int
) -> list[Config]:
    """Pixels, warps, and strips of rows (`splits`), the default first, where one image takes `programs` programs."""
    most = columns * triton.next_power_of_2(images)
    found: list[Config] = []
    for pixels, warps in launches:
        block = max(columns, min(pixels, most), 16)
        split, wanted = 1, PROGRAMS / (programs * -(-images * columns // block))
        # A small batch is spread over the multiprocessors, as long as a strip has twice the rows it reads again.
        while split < wanted and height // (2 * split) >= 2 * REACH:
            split *= 2
        found += [Config(block, 1, warps, 2, split), Config(block, 1, warps, 2, 2 * split)]
    return list(dict.fromkeys(found))


@triton.jit
def _taps(weight, BLOCK_IN: tl.constexpr, BLOCK: tl.constexpr, TAP: tl.constexpr):
    """One tap's tile, [BLOCK_IN, BLOCK]."""
    i = tl.arange(0, BLOCK_IN)[:, None]
    o = tl.arange(0, BLOCK)[None, :]
    return tl.load(weight + TAP * BLOCK_IN * BLOCK + i * BLOCK + o)


@triton.jit
def _three(left, mid, right, w0, w1, w2, acc, PRECISION: tl.constexpr):
    acc = dot(left, w0, acc, PRECISION)
    acc = dot(mid, w1, acc, PRECISION)
    return dot(right, w2, acc, PRECISION)


@triton.jit
def _level(
    x_ptr,
    before_ptr,
    after_ptr,
    data_ptr,
    p_weight,
    p_bias,
    first,
    scale_ptr,
    first_bias,
    second,
    second_bias,
    y_ptr,
    images,
    height,
    width,
    channels,
    coarse_channels,
    rows,
    strips,
    UP: tl.constexpr,
    DATA: tl.constexpr,
    SCALED: tl.constexpr,
    RELU_INSIDE: tl.constexpr,
    RELU: tl.constexpr,
    SUM_LAST: tl.constexpr,
    PACK: tl.constexpr,
    BLOCK: tl.constexpr,
    FULL: tl.constexpr,
    COARSE_PACK: tl.constexpr,
    COARSE_BLOCK: tl.constexpr,
    COLUMNS: tl.constexpr,
    HALO: tl.constexpr,
    IMAGES: tl.constexpr,
    PRECISION: tl.constexpr,
):
    M: tl.constexpr = IMAGES * COLUMNS
    DTYPE: tl.constexpr = x_ptr.dtype.element_ty
    # Packs of one strip follow each other, so that they share lines of memory in the cache.
    packs = tl.num_programs(0) // strips
    pack = tl.program_id(0) % packs
    strip = tl.program_id(0) // packs
    top = tl.program_id(2) * rows
    bottom = tl.minimum(top + rows, height)

    pixel = tl.arange(0, M)
    place = pixel % COLUMNS
    column = strip * (COLUMNS - 2 * HALO) - HALO + place
    image = tl.program_id(1) * IMAGES + pixel // COLUMNS
    inside = (column >= 0) & (column < width) & (image < images)
    kept = inside & (place >= HALO) & (place < COLUMNS - HALO)
    start = image.to(tl.int64) * height * width + column
    has_left = (place > 0)[:, None]
    has_right = (place < COLUMNS - 1)[:, None]
    to_left = tl.broadcast_to(tl.maximum(pixel - 1, 0)[:, None], (M, BLOCK))
    to_right = tl.broadcast_to(tl.minimum(pixel + 1, M - 1)[:, None], (M, BLOCK))

    lane = tl.arange(0, BLOCK)
    channel = pack * PACK + lane
    there = (lane < PACK) & (channel < channels)
    live = inside[:, None]
    out = kept[:, None]
    if not FULL:
        live = live & there[None, :]
        out = out & there[None, :]
    at = start[:, None] * channels + channel[None, :]
    coarse_lane = tl.arange(0, COARSE_BLOCK)
    coarse_channel = pack * COARSE_PACK + coarse_lane
    coarse_live = inside[:, None] & ((coarse_lane < COARSE_PACK) & (coarse_channel < coarse_channels))[None, :]
    coarse_at = start[:, None] * coarse_channels + coarse_channel[None, :]

    first += pack * 9 * BLOCK * BLOCK
    second += pack * 9 * BLOCK * BLOCK
    b1 = tl.load(first_bias + channel, mask=there, other=0.0)[None, :]
    b2 = tl.load(second_bias + channel, mask=there, other=0.0)[None, :]
    if SCALED:
        scale = tl.load(scale_ptr + channel, mask=there, other=0.0)[None, :]
    if UP:
        p = _taps(p_weight + pack * COARSE_BLOCK * BLOCK, COARSE_BLOCK, BLOCK, 0)
        bp = tl.load(p_bias + channel, mask=there, other=0.0)[None, :]
    u0 = _taps(first, BLOCK, BLOCK, 0)
    u1 = _taps(first, BLOCK, BLOCK, 1)
    u2 = _taps(first, BLOCK, BLOCK, 2)
    u3 = _taps(first, BLOCK, BLOCK, 3)
    u4 = _taps(first, BLOCK, BLOCK, 4)
    u5 = _taps(first, BLOCK, BLOCK, 5)
    u6 = _taps(first, BLOCK, BLOCK, 6)
    u7 = _taps(first, BLOCK, BLOCK, 7)
    u8 = _taps(first, BLOCK, BLOCK, 8)
    v0 = _taps(second, BLOCK, BLOCK, 0)
    v1 = _taps(second, BLOCK, BLOCK, 1)
    v2 = _taps(second, BLOCK, BLOCK, 2)
    v3 = _taps(second, BLOCK, BLOCK, 3)
    v4 = _taps(second, BLOCK, BLOCK, 4)
    v5 = _taps(second, BLOCK, BLOCK, 5)
    v6 = _taps(second, BLOCK, BLOCK, 6)
    v7 = _taps(second, BLOCK, BLOCK, 7)
    v8 = _taps(second, BLOCK, BLOCK, 8)

    none = tl.zeros((M, BLOCK), tl.float32)
    m_above, m_here = none, none  # sums of K1 for rows h-1 and h
    y_above, y_here = none, none  # sums of K2 for rows h-2 and h-1
    z_one, z_two = none.to(DTYPE), none.to(DTYPE)  # z of rows h-1 and h-2

    flat = tl.zeros((M, 1), tl.int32)  # the interpreter takes no scalars into masks
    begin = tl.maximum(top - 2, 0)
    x_next = tl.load(x_ptr + at + begin * width * channels, mask=live, other=0.0)
    if UP:
        before_next = tl.load(before_ptr + coarse_at + begin * width * coarse_channels, mask=coarse_live, other=0.0)
        after_next = tl.load(after_ptr + coarse_at + begin * width * coarse_channels, mask=coarse_live, other=0.0)

    for h in range(begin, bottom + 2):
        x = x_next
        row = flat + h
        # The next row is on its way while this one is worked on.
        more = row + 1 < height
        x_next = tl.load(x_ptr + at + (h + 1) * width * channels, mask=live & more, other=0.0)
        if UP:
            change = (after_next.to(tl.float32) - before_next.to(tl.float32)).to(DTYPE)
            skip = (h + 1) * width * coarse_channels
            before_next = tl.load(before_ptr + coarse_at + skip, mask=coarse_live & more, other=0.0)
            after_next = tl.load(after_ptr + coarse_at + skip, mask=coarse_live & more, other=0.0)
            moved = dot(change, p, x.to(tl.float32) + bp, PRECISION)
            z = tl.where(inside[:, None] & (row < height), moved, 0.0).to(DTYPE)
        else:
            z = x
        if DATA:
            f = tl.load(
                data_ptr + at + (h - 1) * width * channels, mask=live & (row > begin) & (row <= height), other=0.0
            ).to(tl.float32)

        left = tl.where(has_left, tl.gather(z, to_left, 0), 0.0).to(DTYPE)
        right = tl.where(has_right, tl.gather(z, to_right, 0), 0.0).to(DTYPE)
        m = _three(left, z, right, u6, u7, u8, m_above, PRECISION)
        m_above = _three(left, z, right, u3, u4, u5, m_here, PRECISION)
        m_here = _three(left, z, right, u0, u1, u2, none, PRECISION)

        if DATA:
            m += f
        if SCALED:
            m *= scale
        m += b1
        if RELU_INSIDE:
            m = tl.maximum(m, 0.0, propagate_nan=tl.PropagateNan.ALL)
        # Row h-1 of m; beyond the map it is padding, whatever bias and ReLU made of it. Row begin-1 is needed by none.
        m = tl.where(inside[:, None] & (row > begin) & (row <= height), m, 0.0).to(DTYPE)
        left = tl.where(has_left, tl.gather(m, to_left, 0), 0.0).to(DTYPE)
        right = tl.where(has_right, tl.gather(m, to_right, 0), 0.0).to(DTYPE)
        y = _three(left, m, right, v6, v7, v8, y_above, PRECISION)
        y_above = _three(left, m, right, v3, v4, v5, y_here, PRECISION)
        y_here = _three(left, m, right, v0, v1, v2, none, PRECISION)

        y += b2
        if not SUM_LAST:
            y += z_two.to(tl.float32)
        if RELU:
            y = tl.maximum(y, 0.0, propagate_nan=tl.PropagateNan.ALL)
        if SUM_LAST:
            y += z_two.to(tl.float32)
        tl.store(y_ptr + at + (h - 2) * width * channels, y.to(DTYPE), mask=out & (row - 2 >= top))
        z_two = z_one
        z_one = z
