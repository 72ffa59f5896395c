# ruff: noqa: N803, N806 (constants of a kernel are in capitals, as Triton has them)
# pyright: reportPossiblyUnboundVariable=false, reportArgumentType=false, reportCallIssue=false, reportOperatorIssue=false
"""The kernel of `cycle`: a block's way down, its coarsest level and its way up, by programs that wait for others."""

import triton
import triton.language as tl

from torchmg.kernels.gpu.level_kernel import rise
from torchmg.kernels.gpu.restrict import chain_tile


@triton.jit
def _meet(counter, arrivals):
    """Go on when so many programs have come here since the launch; what each wrote before, all others see after."""
    tl.debug_barrier()  # all threads of this program have written
    tl.atomic_add(counter, 1, sem="acq_rel", scope="gpu")
    while tl.atomic_add(counter, 0, sem="acq_rel", scope="gpu") < arrivals:
        pass
    tl.debug_barrier()


@triton.jit(noinline=True)
def _rise(
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
    """`rise` with registers of its own: inlined, what every phase computes beforehand would fill those of all."""
    rise(
        x_ptr, before_ptr, after_ptr, data_ptr, p_weight, p_bias, first, scale_ptr, first_bias, second,
        second_bias, y_ptr, images, height, width, channels, coarse_channels, pack, strip, first_image, top, bottom,
        UP, DATA, SCALED, RELU_INSIDE, RELU, SUM_LAST, PACK, BLOCK, FULL,
        COARSE_PACK, COARSE_BLOCK, COLUMNS, HALO, IMAGES, PRECISION,
    )  # fmt: skip


@triton.jit
def cycle_kernel(
    x_ptr,
    y_ptr,
    scratch,
    counter,
    w1,
    w2,
    w3,
    w4,
    r1,
    r2,
    r3,
    r4,
    coarsest_first,
    coarsest_bias1,
    coarsest_second,
    coarsest_bias2,
    p_weight,
    p_bias,
    first,
    bias1,
    second,
    bias2,
    images,
    share,
    rows,
    begin,
    end,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    CHANNELS: tl.constexpr,
    LEVELS: tl.constexpr,
    SIZE: tl.constexpr,
    FULL: tl.constexpr,
    B0: tl.constexpr,
    B1: tl.constexpr,
    B2: tl.constexpr,
    B3: tl.constexpr,
    B4: tl.constexpr,
    HAS1: tl.constexpr,
    HAS2: tl.constexpr,
    HAS3: tl.constexpr,
    HAS4: tl.constexpr,
    M: tl.constexpr,
    RELU_INSIDE: tl.constexpr,
    RELU: tl.constexpr,
    SUM_LAST: tl.constexpr,
    PACK: tl.constexpr,
    BLOCK: tl.constexpr,
    COARSE_PACK: tl.constexpr,
    COARSE_BLOCK: tl.constexpr,
    IMAGES: tl.constexpr,
    LAST_PACK: tl.constexpr,
    LAST_BLOCK: tl.constexpr,
    LAST_IMAGES: tl.constexpr,
    COLUMNS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """See `cycle`: phases `begin` to `end` of all rounds: the restrictions, the coarsest level, levels up."""
    PHASES: tl.constexpr = LEVELS + 1
    program, programs = tl.program_id(0), tl.num_programs(0)
    AREA: tl.constexpr = HEIGHT * WIDTH
    slot = share * AREA
    strips = tl.cdiv(HEIGHT, rows)
    LAST: tl.constexpr = CHANNELS >> (LEVELS - 1)
    INNER: tl.constexpr = CHANNELS - LAST  # channels of all levels but the finest

    for moment in range(begin, end):
        phase = moment % PHASES
        start = moment // PHASES * share
        here = tl.minimum(images - start, share)
        whole = start.to(tl.int64) * AREA * CHANNELS
        if phase == 0:
            PACKS: tl.constexpr = CHANNELS // SIZE
            for item in range(program, PACKS * tl.cdiv(here * AREA, M), programs):
                chain_tile(
                    x_ptr + whole, scratch, scratch + slot * (CHANNELS // 2),
                    scratch + slot * (CHANNELS // 2 + CHANNELS // 4),
                    scratch + slot * (CHANNELS // 2 + CHANNELS // 4 + CHANNELS // 8),
                    w1, w2, w3, w4, r1, r2, r3, r4, here * AREA, CHANNELS,
                    item % PACKS, item // PACKS * M + tl.arange(0, M),
                    SIZE, FULL, LEVELS - 1, B0, B1, B2, B3, B4, HAS1, HAS2, HAS3, HAS4, M, PRECISION,
                )  # fmt: skip
        elif phase == 1:
            down = slot * (INNER - LAST)
            LAST_PACKS: tl.constexpr = (LAST + LAST_PACK - 1) // LAST_PACK
            for item in range(program, LAST_PACKS * strips * tl.cdiv(here, LAST_IMAGES), programs):
                top = item // LAST_PACKS % strips * rows
                _rise(
                    scratch + down, scratch, scratch, scratch, coarsest_first, coarsest_bias1, coarsest_first,
                    coarsest_bias1, coarsest_bias1, coarsest_second, coarsest_bias2, scratch + (slot * INNER + down),
                    here, HEIGHT, WIDTH, LAST, LAST,
                    item % LAST_PACKS, 0, item // LAST_PACKS // strips * LAST_IMAGES,
                    top, tl.minimum(top + rows, HEIGHT),
                    False, False, False, RELU_INSIDE, RELU, SUM_LAST, LAST_PACK, LAST_BLOCK, LAST_PACK == LAST_BLOCK,
                    LAST_PACK, LAST_BLOCK, COLUMNS, 0, LAST_IMAGES, PRECISION,
                )  # fmt: skip
        else:
            level = LEVELS - phase
            width_here = tl.multiple_of(CHANNELS >> level, 16)
            coarser = tl.multiple_of(width_here // 2, 16)
            ahead = tl.multiple_of(2 * (CHANNELS - width_here), 16)  # channels of the finer levels
            # The next level lies after those from 1 to this one.
            before = scratch + slot * tl.multiple_of(CHANNELS - width_here, 16)
            after = before + slot * INNER
            source = x_ptr + whole
            result = y_ptr + whole
            if level > 0:
                source = before - slot * width_here
                result = after - slot * width_here
            packs = width_here // PACK
            skip = ahead // PACK * (BLOCK * BLOCK * 9)
            for item in range(program, packs * strips * tl.cdiv(here, IMAGES), programs):
                top = item // packs % strips * rows
                _rise(
                    source, before, after, source, p_weight + ahead // PACK * (COARSE_BLOCK * BLOCK), p_bias + ahead,
                    first + skip, bias1 + ahead, bias1 + ahead, second + skip, bias2 + ahead, result,
                    here, HEIGHT, WIDTH, width_here, coarser,
                    item % packs, 0, item // packs // strips * IMAGES, top, tl.minimum(top + rows, HEIGHT),
                    True, False, False, RELU_INSIDE, RELU, SUM_LAST, PACK, BLOCK, PACK == BLOCK,
                    COARSE_PACK, COARSE_BLOCK, COLUMNS, 0, IMAGES, PRECISION,
                )  # fmt: skip
        if moment + 1 < end:
            _meet(counter, (moment + 1 - begin) * programs)
