# ruff: noqa: N803, N806 (constants of a kernel are in capitals, as Triton has them)
# pyright: reportArgumentType=false, reportAssignmentType=false, reportOperatorIssue=false
"""The kernel for 3x3 at stride 1 with padding 1, and its data gradient: a program walks down the rows of some columns.

Each row of the input is read from memory once, makes its three shifts by a column, and adds to three rows of the
output that are held in registers; the row that got all three of its own is stored. So bytes bound it: both sides of
the convolution once, and two rows more for each segment that an image's height is cut in.

In flight while a row is computed: with stages, the next rows (bfloat16, 128 columns of 16 channels: 4 KiB a row), which
is what hides memory's latency; some three programs fit on a processor.

SHIFTS "load": the two shifted tiles are read again, from the caches. "gather": they are made of the first one by
exchange between threads, and a block's outer two columns are of use to their neighbours only.
"""

import triton
import triton.language as tl

from torchmg.kernels.gpu.edge_tiles import change, finish, load_vectors, store_sums
from torchmg.kernels.gpu.tiles import dot, load_weight_tile, pack_channels


@triton.jit
def rows_kernel(
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
    columns,
    height,
    width,
    x_channels,
    y_channels,
    out_channels,
    packs,
    segments,
    rows,
    IN_SIZE: tl.constexpr,
    OUT_SIZE: tl.constexpr,
    GROUPS: tl.constexpr,
    IN_PACK: tl.constexpr,
    OUT_PACK: tl.constexpr,
    TRANSPOSED: tl.constexpr,
    LAST: tl.constexpr,
    BEFORE: tl.constexpr,
    RELU: tl.constexpr,
    SUMS: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK: tl.constexpr,
    SHIFTS: tl.constexpr,
):
    """Y of x, both channels-last (images, height, width, channels); transposed: x is the gradient of outputs.

    columns: images * width. Programs: packs (fastest), segments of `rows` rows, blocks of columns.
    """
    X_SIZE: tl.constexpr = OUT_SIZE if TRANSPOSED else IN_SIZE
    Y_SIZE: tl.constexpr = IN_SIZE if TRANSPOSED else OUT_SIZE
    X_PACK: tl.constexpr = OUT_PACK if TRANSPOSED else IN_PACK
    Y_PACK: tl.constexpr = IN_PACK if TRANSPOSED else OUT_PACK
    HALO: tl.constexpr = 1 if SHIFTS == "gather" else 0
    pack = tl.program_id(0) % packs
    program = tl.program_id(0) // packs
    top = program % segments * rows
    end = tl.minimum(top + rows, height)
    lane = tl.arange(0, BLOCK)
    place = program // segments * (BLOCK - 2 * HALO) - HALO + lane
    inside = (place >= 0) & (place < columns)
    image = place // width
    column = place - image * width
    written = inside & (lane >= HALO) & (lane < BLOCK - HALO)
    kind: tl.constexpr = x.dtype.element_ty
    # Offsets are of 32 bits, from the block's first image on.
    start = (tl.maximum(program // segments * (BLOCK - 2 * HALO) - HALO, 0) // width).to(tl.int64) * height * width
    x += start * x_channels
    if other is not None:
        other += start * x_channels
    y += start * y_channels
    if add is not None:
        add += start * y_channels
    if gate is not None:
        gate += start * y_channels
    pixel = image * (height * width) + column - start.to(tl.int32)
    x_channel, x_there = pack_channels(pack, x_channels, X_SIZE, GROUPS, X_PACK)
    y_channel, y_there = pack_channels(pack, y_channels, Y_SIZE, GROUPS, Y_PACK)
    x_offset = pixel[:, None] * x_channels + x_channel[None, :]
    y_offset = pixel[:, None] * y_channels + y_channel[None, :]
    x_mask = inside[:, None] & x_there[None, :]
    y_mask = written[:, None] & y_there[None, :]
    has_left = inside & (column > 0)
    has_right = inside & (column < width - 1)
    left_mask = has_left[:, None] & x_there[None, :]
    right_mask = has_right[:, None] & x_there[None, :]
    first, second = load_vectors(before_first, before_second, x_channel, x_there)
    gate_one, gate_two = load_vectors(gate_first, gate_second, y_channel, y_there)
    if bias is not None:
        bias = tl.load(bias + y_channel, mask=y_there, other=0.0)[None, :]
    w0 = _tap(weight, pack, 0, out_channels, IN_SIZE, OUT_SIZE, GROUPS, IN_PACK, OUT_PACK, TRANSPOSED, LAST, kind)
    w1 = _tap(weight, pack, 1, out_channels, IN_SIZE, OUT_SIZE, GROUPS, IN_PACK, OUT_PACK, TRANSPOSED, LAST, kind)
    w2 = _tap(weight, pack, 2, out_channels, IN_SIZE, OUT_SIZE, GROUPS, IN_PACK, OUT_PACK, TRANSPOSED, LAST, kind)
    w3 = _tap(weight, pack, 3, out_channels, IN_SIZE, OUT_SIZE, GROUPS, IN_PACK, OUT_PACK, TRANSPOSED, LAST, kind)
    w4 = _tap(weight, pack, 4, out_channels, IN_SIZE, OUT_SIZE, GROUPS, IN_PACK, OUT_PACK, TRANSPOSED, LAST, kind)
    w5 = _tap(weight, pack, 5, out_channels, IN_SIZE, OUT_SIZE, GROUPS, IN_PACK, OUT_PACK, TRANSPOSED, LAST, kind)
    w6 = _tap(weight, pack, 6, out_channels, IN_SIZE, OUT_SIZE, GROUPS, IN_PACK, OUT_PACK, TRANSPOSED, LAST, kind)
    w7 = _tap(weight, pack, 7, out_channels, IN_SIZE, OUT_SIZE, GROUPS, IN_PACK, OUT_PACK, TRANSPOSED, LAST, kind)
    w8 = _tap(weight, pack, 8, out_channels, IN_SIZE, OUT_SIZE, GROUPS, IN_PACK, OUT_PACK, TRANSPOSED, LAST, kind)
    above = tl.zeros((BLOCK, Y_PACK), tl.float32)
    level = tl.zeros((BLOCK, Y_PACK), tl.float32)
    sum_one = tl.zeros((Y_PACK,), tl.float32)
    sum_two = tl.zeros((Y_PACK,), tl.float32)
    for step in range(end - top + 2):
        row = top - 1 + step
        rows_here = row + tl.zeros((BLOCK, 1), tl.int32)  # the interpreter cannot mask by one truth for all
        there = (rows_here >= 0) & (rows_here < height)
        offset = x_offset + row * (width * x_channels)
        mask = x_mask & there
        tile = change(tl.load(x + offset, mask=mask, other=0.0), mask, other, offset, first, second, BEFORE)
        if SHIFTS == "gather":
            from_left = tl.broadcast_to(tl.maximum(lane - 1, 0)[:, None], (BLOCK, X_PACK))
            from_right = tl.broadcast_to(tl.minimum(lane + 1, BLOCK - 1)[:, None], (BLOCK, X_PACK))
            left = tl.where(has_left[:, None], tl.gather(tile, from_left, 0), 0.0).to(kind)
            right = tl.where(has_right[:, None], tl.gather(tile, from_right, 0), 0.0).to(kind)
        else:
            mask = left_mask & there
            near = offset - x_channels
            left = change(tl.load(x + near, mask=mask, other=0.0), mask, other, near, first, second, BEFORE)
            mask = right_mask & there
            near = offset + x_channels
            right = change(tl.load(x + near, mask=mask, other=0.0), mask, other, near, first, second, BEFORE)
        above = dot(tile, w7, dot(left, w6, above, PRECISION), PRECISION)
        above = dot(right, w8, above, PRECISION)
        level = dot(tile, w4, dot(left, w3, level, PRECISION), PRECISION)
        level = dot(right, w5, level, PRECISION)
        below = tl.zeros((BLOCK, Y_PACK), tl.float32)
        below = dot(tile, w1, dot(left, w0, below, PRECISION), PRECISION)
        below = dot(right, w2, below, PRECISION)
        offset = y_offset + (row - 1) * (width * y_channels)
        one, two = finish(
            above, y, offset, y_mask & (rows_here > top), bias, add, gate, gate_one, gate_two, RELU, SUMS
        )  # fmt: skip
        if SUMS:
            sum_one += one
            sum_two += two
        above = level
        level = below
    if SUMS:
        store_sums(sums, program, y_channels, y_channel, y_there, sum_one, sum_two)


@triton.jit
def _tap(
    weight,
    pack,
    number: tl.constexpr,
    out_channels,
    IN_SIZE: tl.constexpr,
    OUT_SIZE: tl.constexpr,
    GROUPS: tl.constexpr,
    IN_PACK: tl.constexpr,
    OUT_PACK: tl.constexpr,
    TRANSPOSED: tl.constexpr,
    LAST: tl.constexpr,
    KIND: tl.constexpr,
):
    """The weights of one of nine taps; the data gradient has them the other way round."""
    tap: tl.constexpr = 8 - number if TRANSPOSED else number
    return load_weight_tile(
        weight, pack, tap, out_channels, IN_SIZE, OUT_SIZE, GROUPS, IN_PACK, OUT_PACK, 9, TRANSPOSED, KIND, LAST
    )
