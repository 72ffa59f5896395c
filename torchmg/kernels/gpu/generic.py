# ruff: noqa: N803, N806 (constants of a kernel are in capitals, as Triton has them)
# pyright: reportArgumentType=false, reportAssignmentType=false, reportOperatorIssue=false
"""The kernel for any grouped convolution and its data gradient: a program makes a block of pixels of one pack.

Bytes bound it: at 16 channels a group a 1x1 does 8 operations a byte of bfloat16, a GPU some 150 for each byte it
moves. A 1x1 moves the least there is, each side once: its pixels lie in memory as in the block, so a wide pack reads
whole lines. Other kernels read each input once from memory and from the L2 cache up to once a tap; neighbouring
programs have neighbouring packs of the same pixels, so lines of 128 bytes are used whole while they are in L2.

The data gradient of a stride is cut in phases, the pixels that meet the same taps: no product with zero is formed.
"""

import triton
import triton.language as tl

from torchmg.kernels.gpu.edge_tiles import change, finish, load_vectors, store_sums
from torchmg.kernels.gpu.tiles import dot, load_weight_tile, pack_channels


@triton.jit
def generic_kernel(
    x,
    weight,
    y,
    other,
    before_first,
    before_second,
    bias,
    add,
    gate,
    gate_first,
    gate_second,
    sums,
    pixels,
    cut_h,
    cut_w,
    x_height,
    x_width,
    x_channels,
    y_height,
    y_width,
    y_channels,
    out_channels,
    pad_h,
    pad_w,
    packs,
    IN_SIZE: tl.constexpr,
    OUT_SIZE: tl.constexpr,
    GROUPS: tl.constexpr,
    IN_PACK: tl.constexpr,
    OUT_PACK: tl.constexpr,
    KERNEL_H: tl.constexpr,
    KERNEL_W: tl.constexpr,
    STRIDE: tl.constexpr,
    POINTWISE: tl.constexpr,
    TRANSPOSED: tl.constexpr,
    LAST: tl.constexpr,
    BEFORE: tl.constexpr,
    RELU: tl.constexpr,
    SUMS: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Y of x, both channels-last; transposed: x is the gradient of outputs, y that of inputs.

    pixels: of y in one phase, images * cut_h * cut_w. Programs: packs (fastest), phases, blocks of pixels.
    """
    TAPS: tl.constexpr = KERNEL_H * KERNEL_W
    X_SIZE: tl.constexpr = OUT_SIZE if TRANSPOSED else IN_SIZE
    Y_SIZE: tl.constexpr = IN_SIZE if TRANSPOSED else OUT_SIZE
    X_PACK: tl.constexpr = OUT_PACK if TRANSPOSED else IN_PACK
    Y_PACK: tl.constexpr = IN_PACK if TRANSPOSED else OUT_PACK
    pack = tl.program_id(0) % packs
    program = tl.program_id(0) // packs
    x_channel, x_there = pack_channels(pack, x_channels, X_SIZE, GROUPS, X_PACK)
    y_channel, y_there = pack_channels(pack, y_channels, Y_SIZE, GROUPS, Y_PACK)
    first, second = load_vectors(before_first, before_second, x_channel, x_there)
    acc = tl.zeros((BLOCK, Y_PACK), tl.float32)
    if POINTWISE:
        pixel = program * BLOCK + tl.arange(0, BLOCK)
        inside = pixel < pixels
        start = (program * BLOCK).to(tl.int64)
        x += start * x_channels
        if other is not None:
            other += start * x_channels
        place = tl.arange(0, BLOCK)
        offset = place[:, None] * x_channels + x_channel[None, :]
        mask = inside[:, None] & x_there[None, :]
        tile = change(tl.load(x + offset, mask=mask, other=0.0), mask, other, offset, first, second, BEFORE)
        weights = load_weight_tile(
            weight, pack, 0, out_channels, IN_SIZE, OUT_SIZE, GROUPS, IN_PACK, OUT_PACK, 1, TRANSPOSED, tile.dtype, LAST
        )
        acc = dot(tile, weights, acc, PRECISION)
    else:
        PHASES: tl.constexpr = STRIDE if TRANSPOSED else 1
        phase = program % (PHASES * PHASES)
        pixel = program // (PHASES * PHASES) * BLOCK + tl.arange(0, BLOCK)
        column = pixel % cut_w
        row = (pixel // cut_w) % cut_h
        # Offsets are of 32 bits, from the block's first image on.
        base = program // (PHASES * PHASES) * BLOCK // cut_w // cut_h
        image = pixel // cut_w // cut_h - base
        start = base.to(tl.int64) * x_height * x_width
        x += start * x_channels
        if other is not None:
            other += start * x_channels
        if TRANSPOSED:
            phase_h = phase // STRIDE
            phase_w = phase % STRIDE
            tap_h = (phase_h + pad_h) % STRIDE
            tap_w = (phase_w + pad_w) % STRIDE
            taps_h = (KERNEL_H - tap_h + STRIDE - 1) // STRIDE
            taps_w = (KERNEL_W - tap_w + STRIDE - 1) // STRIDE
            base_h = row + (phase_h + pad_h - tap_h) // STRIDE
            base_w = column + (phase_w + pad_w - tap_w) // STRIDE
            row = row * STRIDE + phase_h
            column = column * STRIDE + phase_w
        else:
            tap_h = 0
            tap_w = 0
            taps_h = KERNEL_H
            taps_w = KERNEL_W
            base_h = row * STRIDE - pad_h
            base_w = column * STRIDE - pad_w
        inside = (pixel < pixels) & (row < y_height) & (column < y_width)
        for tap in range(taps_h * taps_w):
            i = tap // taps_w
            j = tap % taps_w
            if TRANSPOSED:
                x_row = base_h - i
                x_column = base_w - j
                number = (tap_h + i * STRIDE) * KERNEL_W + tap_w + j * STRIDE
            else:
                x_row = base_h + i
                x_column = base_w + j
                number = tap
            met = inside & (x_row >= 0) & (x_row < x_height) & (x_column >= 0) & (x_column < x_width)
            source = (image * x_height + x_row) * x_width + x_column
            offset = source[:, None] * x_channels + x_channel[None, :]
            mask = met[:, None] & x_there[None, :]
            tile = change(tl.load(x + offset, mask=mask, other=0.0), mask, other, offset, first, second, BEFORE)
            weights = load_weight_tile(
                weight, pack, number, out_channels, IN_SIZE, OUT_SIZE, GROUPS, IN_PACK, OUT_PACK, TAPS, TRANSPOSED,
                tile.dtype, LAST,
            )  # fmt: skip
            acc = dot(tile, weights, acc, PRECISION)
        place = (image * y_height + row) * y_width + column
        start = base.to(tl.int64) * y_height * y_width
    y += start * y_channels
    if add is not None:
        add += start * y_channels
    if gate is not None:
        gate += start * y_channels
    offset = place[:, None] * y_channels + y_channel[None, :]
    mask = inside[:, None] & y_there[None, :]
    first, second = load_vectors(gate_first, gate_second, y_channel, y_there)
    if bias is not None:
        bias = tl.load(bias + y_channel, mask=y_there, other=0.0)[None, :]
    one, two = finish(acc, y, offset, mask, bias, add, gate, first, second, RELU, SUMS)
    if SUMS:
        store_sums(sums, program, y_channels, y_channel, y_there, one, two)
