# ruff: noqa: N803, N806 (constants of a kernel are in capitals, as Triton has them)
# pyright: reportPossiblyUnboundVariable=false, reportArgumentType=false, reportCallIssue=false
"""The kernel of `level`: rows of a pack of channels from top to bottom, with running sums for two 3x3 convolutions."""

import triton
import triton.language as tl

from torchmg.kernels.gpu.tiles import dot


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
def rise(
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
    pack,
    strip,
    first_image,
    top,
    bottom,
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
    """A pack of channels of IMAGES images from `first_image` on, rows `top` to `bottom` of a strip of columns."""
    M: tl.constexpr = IMAGES * COLUMNS
    DTYPE: tl.constexpr = x_ptr.dtype.element_ty

    pixel = tl.arange(0, M)
    place = pixel % COLUMNS
    column = strip * (COLUMNS - 2 * HALO) - HALO + place
    image = first_image + pixel // COLUMNS
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


@triton.jit
def level_kernel(
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
    """See `level`: programs are (packs x strips of columns, blocks of images, strips of rows)."""
    # Packs of one strip follow each other, so that they share lines of memory in the cache.
    packs = tl.num_programs(0) // strips
    top = tl.program_id(2) * rows
    rise(
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
        tl.program_id(0) % packs,
        tl.program_id(0) // packs,
        tl.program_id(1) * IMAGES,
        top,
        tl.minimum(top + rows, height),
        UP,
        DATA,
        SCALED,
        RELU_INSIDE,
        RELU,
        SUM_LAST,
        PACK,
        BLOCK,
        FULL,
        COARSE_PACK,
        COARSE_BLOCK,
        COLUMNS,
        HALO,
        IMAGES,
        PRECISION,
    )
