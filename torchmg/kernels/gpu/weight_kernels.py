# ruff: noqa: N803 (constants of a kernel are in capitals, as Triton has them)
# pyright: reportArgumentType=false
"""Kernels for the gradient of a grouped convolution's weights, each of one pack of channels and a share of the pixels.

A pack's gradient is, tap by tap, a product over pixels: (x as far from the pixel as the tap is)^T (gradient there).
Several taps are one product, of as many times in_pack rows, which tensor cores like; and of the result only the blocks
of the groups are stored.

`taps_kernel` takes pixels in any order and is for every kernel and stride: all taps of x side by side. `rows_kernel` is
for 3x3 at stride 1 with padding 1: it walks down the rows of some columns and keeps three rows of the gradient, so that
a row of x makes its three columns once for nine taps.
"""

import triton
import triton.language as tl

from torchmg.kernels.gpu.edge_tiles import load_vectors
from torchmg.kernels.gpu.tiles import dot, pack_channels


@triton.jit
def taps_kernel(
    x,
    grad,
    shares,
    scale,
    shift,
    other,
    constant,
    slope,
    rows,
    splits,
    packs,
    in_channels,
    out_channels,
    height,
    width,
    out_h,
    out_w,
    AFFINE: tl.constexpr,
    REACH: tl.constexpr,
    IN_SIZE: tl.constexpr,
    OUT_SIZE: tl.constexpr,
    GROUPS: tl.constexpr,
    IN_PACK: tl.constexpr,
    OUT_PACK: tl.constexpr,
    KERNEL_H: tl.constexpr,
    KERNEL_W: tl.constexpr,
    STRIDE: tl.constexpr,
    PAD_H: tl.constexpr,
    PAD_W: tl.constexpr,
    TAPS: tl.constexpr,
    BLOCK: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """rows: output pixels in all, in blocks. Programs: packs (fastest), splits, each of every so-manyth block, taps."""
    # Packs go fastest: neighbours in time share the lines of memory that hold several packs of a pixel.
    pack = tl.program_id(0) % packs
    split = tl.program_id(0) // packs % splits
    first_tap = tl.program_id(0) // (packs * splits) * TAPS

    in_channel, in_there = pack_channels(pack, in_channels, IN_SIZE, GROUPS, IN_PACK)
    out_channel, out_there = pack_channels(pack, out_channels, OUT_SIZE, GROUPS, OUT_PACK)
    tap = first_tap + tl.arange(0, TAPS)
    down, right = tap // KERNEL_W - PAD_H, tap % KERNEL_W - PAD_W
    # [pixel, tap, channel]: what depends on pixel and tap only is found once for all channels.
    into = ((down * width + right) * in_channels)[None, :, None] + in_channel[None, None, :]
    a, b = load_vectors(scale, shift, in_channel, in_there)
    c, s = load_vectors(constant, slope, out_channel, out_there)

    found = tl.zeros((TAPS * IN_PACK, OUT_PACK), tl.float32)
    for block in range(split, tl.cdiv(rows, BLOCK), splits):
        row = block * BLOCK + tl.arange(0, BLOCK)
        inside = row < rows
        image, place = row // (out_h * out_w), row % (out_h * out_w)
        top, left = place // out_w * STRIDE, place % out_w * STRIDE

        g_at = row.to(tl.int64)[:, None] * out_channels + out_channel[None, :]
        g_there = inside[:, None] & out_there[None, :]
        g = tl.load(grad + g_at, mask=g_there, other=0.0)
        if REACH:
            y = tl.load(other + g_at, mask=g_there, other=0.0)
            g = tl.where(g_there, g.to(tl.float32) + c + s * y.to(tl.float32), 0.0).to(grad.dtype.element_ty)

        h, w = top[:, None] + down[None, :], left[:, None] + right[None, :]
        tap_there = inside[:, None] & (h >= 0) & (h < height) & (w >= 0) & (w < width)
        tap_there = tap_there & (tap < KERNEL_H * KERNEL_W)[None, :]
        x_there = tap_there[:, :, None] & in_there[None, None, :]
        pixel = ((image * height + top).to(tl.int64) * width + left) * in_channels
        v = tl.load(x + pixel[:, None, None] + into, mask=x_there, other=0.0)
        if AFFINE:
            v = v.to(tl.float32) * a[None, :, :] + b[None, :, :]
            if AFFINE == 2:
                v = tl.where(v < 0.0, 0.0, v)
            v = tl.where(x_there, v, 0.0).to(x.dtype.element_ty)
        v = tl.reshape(v, (BLOCK, TAPS * IN_PACK))
        found = dot(tl.trans(v), g, found, PRECISION)

    line = tl.arange(0, TAPS * IN_PACK)
    of_tap, i = first_tap + line // IN_PACK, (line % IN_PACK)[:, None]
    o = tl.arange(0, OUT_PACK)[None, :]
    own = (i // IN_SIZE == o // OUT_SIZE) & (i < GROUPS * IN_SIZE) & (o < GROUPS * OUT_SIZE)
    own = own & (of_tap < KERNEL_H * KERNEL_W)[:, None] & out_there[None, :]
    at = (out_channel[None, :] * IN_SIZE + i % IN_SIZE) * (KERNEL_H * KERNEL_W) + of_tap[:, None]
    share = split.to(tl.int64) * (out_channels * IN_SIZE * KERNEL_H * KERNEL_W)
    tl.store(shares + share + at, found, mask=own)


@triton.jit
def rows_kernel(
    x,
    grad,
    shares,
    scale,
    shift,
    other,
    constant,
    slope,
    columns,
    height,
    width,
    splits,
    packs,
    segments,
    rows,
    in_channels,
    out_channels,
    AFFINE: tl.constexpr,
    REACH: tl.constexpr,
    IN_SIZE: tl.constexpr,
    OUT_SIZE: tl.constexpr,
    GROUPS: tl.constexpr,
    IN_PACK: tl.constexpr,
    OUT_PACK: tl.constexpr,
    BLOCK: tl.constexpr,
    AHEAD: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """columns: images * width, in blocks; rows: those of x in a segment of an image's height.

    Programs: packs (fastest), splits, each of every so-manyth segment of a block. AHEAD: the next row is on its way
    from memory while this one is worked on, which takes registers; the compiler does not see to it here.
    """
    pack = tl.program_id(0) % packs
    split = tl.program_id(0) // packs
    in_channel, in_there = pack_channels(pack, in_channels, IN_SIZE, GROUPS, IN_PACK)
    out_channel, out_there = pack_channels(pack, out_channels, OUT_SIZE, GROUPS, OUT_PACK)
    a, b = load_vectors(scale, shift, in_channel, in_there)
    c, s = load_vectors(constant, slope, out_channel, out_there)
    right = tl.arange(0, 4) - 1  # the fourth is there for a power of 2
    into = (right * in_channels)[None, :, None] + in_channel[None, None, :]
    top_taps = tl.zeros((4 * IN_PACK, OUT_PACK), tl.float32)
    mid_taps = tl.zeros((4 * IN_PACK, OUT_PACK), tl.float32)
    low_taps = tl.zeros((4 * IN_PACK, OUT_PACK), tl.float32)
    for part in range(split, tl.cdiv(columns, BLOCK) * segments, splits):
        first = part % segments * rows
        last = tl.minimum(first + rows, height)
        place = part // segments * BLOCK + tl.arange(0, BLOCK)
        column = place % width
        pixel = (place // width).to(tl.int64) * height * width + column
        inside = place < columns
        w = column[:, None] + right[None, :]
        tap_there = inside[:, None] & (w >= 0) & (w < width) & (right < 2)[None, :]
        x_there = tap_there[:, :, None] & in_there[None, None, :]
        g_there = inside[:, None] & out_there[None, :]
        g_at = pixel[:, None] * out_channels + out_channel[None, :]
        x_at = (pixel * in_channels)[:, None, None] + into
        g, y = _load_row(grad, other, g_at, g_there, first - 1, height, width, out_channels, REACH)
        above = _reached(g, y, g_there, c, s, first - 1, height, REACH)
        g, y = _load_row(grad, other, g_at, g_there, first, height, width, out_channels, REACH)
        level = _reached(g, y, g_there, c, s, first, height, REACH)
        g, y = _load_row(grad, other, g_at, g_there, first + 1, height, width, out_channels, REACH)
        v = tl.load(x + x_at + first * (width * in_channels), mask=x_there, other=0.0)
        for row in range(first, last):
            below = _reached(g, y, g_there, c, s, row + 1, height, REACH)
            u = v
            if AHEAD:
                g, y = _load_row(grad, other, g_at, g_there, row + 2, height, width, out_channels, REACH)
                v = _load_columns(x, x_at, x_there, row + 1, last, width, in_channels)
            if AFFINE:
                u = u.to(tl.float32) * a[None, :, :] + b[None, :, :]
                if AFFINE == 2:
                    u = tl.where(u < 0.0, 0.0, u)
                u = tl.where(x_there, u, 0.0).to(x.dtype.element_ty)
            u = tl.trans(tl.reshape(u, (BLOCK, 4 * IN_PACK)))
            top_taps = dot(u, below, top_taps, PRECISION)
            mid_taps = dot(u, level, mid_taps, PRECISION)
            low_taps = dot(u, above, low_taps, PRECISION)
            above = level
            level = below
            if not AHEAD:
                g, y = _load_row(grad, other, g_at, g_there, row + 2, height, width, out_channels, REACH)
                v = _load_columns(x, x_at, x_there, row + 1, last, width, in_channels)

    line = tl.arange(0, 4 * IN_PACK)
    tap, i = line // IN_PACK, (line % IN_PACK)[:, None]
    o = tl.arange(0, OUT_PACK)[None, :]
    own = (i // IN_SIZE == o // OUT_SIZE) & (i < GROUPS * IN_SIZE) & (o < GROUPS * OUT_SIZE)
    own = own & (tap < 3)[:, None] & out_there[None, :]
    at = (out_channel[None, :] * IN_SIZE + i % IN_SIZE) * 9 + tap[:, None]
    share = shares + split.to(tl.int64) * (out_channels * IN_SIZE * 9)
    tl.store(share + at, top_taps, mask=own)
    tl.store(share + at + 3, mid_taps, mask=own)
    tl.store(share + at + 6, low_taps, mask=own)


@triton.jit
def _load_columns(x, at, there, row, last, width, channels):
    """A row of x in three columns each pixel, [BLOCK, 4, IN_PACK]; nothing from the row `last` on."""
    there = there & (row + tl.zeros(at.shape, tl.int32) < last)  # the interpreter cannot mask by one truth for all
    return tl.load(x + at + row * (width * channels), mask=there, other=0.0)


@triton.jit
def _load_row(grad, other, at, there, row, height, width, channels, REACH: tl.constexpr):
    """A row of the gradient and of the map that reaches it, [BLOCK, OUT_PACK] each."""
    row_of = row + tl.zeros(at.shape, tl.int32)
    there = there & (row_of >= 0) & (row_of < height)
    at += row * (width * channels)
    g = tl.load(grad + at, mask=there, other=0.0)
    y = g
    if REACH:
        y = tl.load(other + at, mask=there, other=0.0)
    return g, y


@triton.jit
def _reached(g, y, there, constant, slope, row, height, REACH: tl.constexpr):
    """What `_load_row` gave as the gradient that it stands for; zeros outside of the image."""
    if REACH:
        row_of = row + tl.zeros(g.shape, tl.int32)
        there = there & (row_of >= 0) & (row_of < height)
        found = tl.where(there, g.to(tl.float32) + constant + slope * y.to(tl.float32), 0.0).to(g.dtype)
    else:
        found = g
    return found
