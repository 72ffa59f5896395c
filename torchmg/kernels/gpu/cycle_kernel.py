# ruff: noqa: N803, N806 (constants of a kernel are in capitals, as Triton has them)
# pyright: reportPossiblyUnboundVariable=false, reportArgumentType=false, reportCallIssue=false
"""The kernel of `cycle`: a block's way down, its coarsest level and its way up, by programs that wait for each other."""

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
    height,
    width,
    channels,
    rows,
    begin,
    end,
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
    """See `cycle`: phases `begin` to `end` of all rounds, each a round's restrictions, coarsest level, or a level up."""
    PHASES: tl.constexpr = LEVELS + 1
    program, programs = tl.program_id(0), tl.num_programs(0)
    area = height * width
    slot = share * area
    strips = tl.cdiv(height, rows)
    inner = tl.multiple_of(channels - (channels >> (LEVELS - 1)), 16)  # channels of all levels but the finest

    for moment in range(begin, end):
        phase = moment % PHASES
        start = moment // PHASES * share
        here = tl.minimum(images - start, share)
        whole = start.to(tl.int64) * area * channels
        if phase == 0:
            packs = channels // SIZE
            for item in range(program, packs * tl.cdiv(here * area, M), programs):
                chain_tile(
                    x_ptr + whole, scratch, scratch + slot * tl.multiple_of(channels // 2, 16),
                    scratch + slot * tl.multiple_of(channels // 2 + channels // 4, 16),
                    scratch + slot * tl.multiple_of(channels // 2 + channels // 4 + channels // 8, 16),
                    w1, w2, w3, w4, r1, r2, r3, r4, here * area, channels,
                    item % packs, item // packs * M + tl.arange(0, M),
                    SIZE, FULL, LEVELS - 1, B0, B1, B2, B3, B4, HAS1, HAS2, HAS3, HAS4, M, PRECISION,
                )  # fmt: skip
        elif phase == 1:
            width_here = tl.multiple_of(channels >> (LEVELS - 1), 16)
            down = slot * tl.multiple_of(inner - width_here, 16)
            packs = tl.cdiv(width_here, LAST_PACK)
            for item in range(program, packs * strips * tl.cdiv(here, LAST_IMAGES), programs):
                top = item // packs % strips * rows
                rise(
                    scratch + down, scratch, scratch, scratch, coarsest_first, coarsest_bias1, coarsest_first,
                    coarsest_bias1, coarsest_bias1, coarsest_second, coarsest_bias2, scratch + (slot * inner + down),
                    here, height, width, width_here, width_here,
                    item % packs, 0, item // packs // strips * LAST_IMAGES, top, tl.minimum(top + rows, height),
                    False, False, False, RELU_INSIDE, RELU, SUM_LAST, LAST_PACK, LAST_BLOCK, LAST_PACK == LAST_BLOCK,
                    LAST_PACK, LAST_BLOCK, COLUMNS, 0, LAST_IMAGES, PRECISION,
                )  # fmt: skip
        else:
            level = LEVELS - phase
            width_here = tl.multiple_of(channels >> level, 16)
            coarser = tl.multiple_of(width_here // 2, 16)
            ahead = tl.multiple_of(2 * (channels - width_here), 16)  # channels of the finer levels
            # The next level lies after those from 1 to this one.
            before = scratch + slot * tl.multiple_of(channels - width_here, 16)
            after = before + slot * inner
            source = x_ptr + whole
            result = y_ptr + whole
            if level > 0:
                source = before - slot * width_here
                result = after - slot * width_here
            packs = width_here // PACK
            skip = ahead // PACK * (BLOCK * BLOCK * 9)
            for item in range(program, packs * strips * tl.cdiv(here, IMAGES), programs):
                top = item // packs % strips * rows
                rise(
                    source, before, after, source, p_weight + ahead // PACK * (COARSE_BLOCK * BLOCK), p_bias + ahead,
                    first + skip, bias1 + ahead, bias1 + ahead, second + skip, bias2 + ahead, result,
                    here, height, width, width_here, coarser,
                    item % packs, 0, item // packs // strips * IMAGES, top, tl.minimum(top + rows, height),
                    True, False, False, RELU_INSIDE, RELU, SUM_LAST, PACK, BLOCK, PACK == BLOCK,
                    COARSE_PACK, COARSE_BLOCK, COLUMNS, 0, IMAGES, PRECISION,
                )  # fmt: skip
        if moment + 1 < end:
            _meet(counter, (moment + 1 - begin) * programs)
