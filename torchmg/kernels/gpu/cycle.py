"""A block of several levels in one launch, for inference on small maps: all ways down and up, see `level`, `restrict`.

On 14x14 or 7x7 maps a level takes a few microseconds, of which much is the launch's beginning and its end, when most
multiprocessors wait. Here as many programs as the GPU has multiprocessors stay for the whole block. In each *phase*
(restrictions; the coarsest level; every level on the way up) they share its packs and images; between phases they wait
for each other by a counter in global memory. What goes from phase to phase fits the L2 cache: images are done in
*rounds* of as many as do.

All programs must run at the same time, or the waiting would never end: the launch is a cooperative one, which the
driver refuses otherwise. Where it cannot be had, and in Triton's interpreter, whose programs run one after the other,
every phase is a launch of its own, of the same kernel. The result is the same bit for bit, and does not depend on
which program comes first.

Bytes: x is read three times (restricted, then corrected with a halo of rows where they are cut) and y is written once;
the rest, 4 |x|, stays in L2.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from torchmg.kernels.gpu import support, tiles
from torchmg.kernels.gpu.cycle_kernel import cycle_kernel
from torchmg.kernels.gpu.level import Correction, Relaxation
from torchmg.kernels.gpu.restrict import LONGEST, Run
from torchmg.kernels.gpu.tune import Config

SIDE = 14
"""Width and height of maps that this is meant for, at most; rows of 16 pixels are a tile's."""

SCRATCH = 24 * 2**20
"""Bytes of a round's inner maps: half of an H200's L2 cache, the other half being for inputs, outputs and weights."""

MULTIPROCESSORS = 132
"""Where there is no device to ask."""

ALIGNED = 16
"""Channels of every level are a multiple of this, so that reads are whole."""

TILES = {32: 64, 64: 64, 128: 16}
"""Pixels of a tile's row, over all its images, by the bytes of a pixel's pack: these fit registers."""


class Block(NamedTuple):
    """The constants of a block.

    Attributes:
        chain: all restrictions, one kernel's worth of them.
        coarsest: the relaxation of the coarsest level.
        up: those of the others, one after the other with the finest first: (packs of all, 9, block, block) weights and
            (channels of all,) biases. They are cut alike; `pack.number` is that of all.
        move: the corrections in the same way.
    """

    chain: Run
    coarsest: Relaxation
    up: Relaxation
    move: Correction


def joined(
    chain: Sequence[Run], coarsest: Relaxation, up: Sequence[Relaxation], moves: Sequence[Correction]
) -> Block | None:
    """The constants of a block, or None where its levels are too unlike each other for one kernel.

    Args:
        chain: see `restrict.runs`.
        coarsest: the relaxation of the coarsest level.
        up: those of the others, the finest first.
        moves: the corrections, the finest first.
    """
    if len(chain) != 1 or not len(up) == len(moves) == len(chain[0].weights) <= LONGEST:
        return None
    run, like, move = chain[0], up[0], moves[0]
    cut = {(r.pack.size, r.pack.block) for r in up}, {(m.coarse.size, m.coarse.block) for m in moves}
    acts = {(r.relu_inside, r.relu, r.sum_last) for r in (*up, coarsest)}
    scaled = any(r.scale is not None for r in (*up, coarsest))
    if scaled or {len(kinds) for kinds in (*cut, acts)} != {1}:
        return None
    if any(r.pack.number * r.pack.size != width for r, width in zip(up, run.widths, strict=False)):
        return None
    if run.widths[0] % run.packs[0].size or any(width % ALIGNED for width in run.widths):
        return None
    if any(2 * coarse != width for width, coarse in zip(run.widths, run.widths[1:], strict=False)):
        return None
    return Block(
        run,
        coarsest,
        like._replace(
            first=torch.cat([r.first for r in up]),
            first_bias=torch.cat([r.first_bias for r in up]),
            second=torch.cat([r.second for r in up]),
            second_bias=torch.cat([r.second_bias for r in up]),
            pack=like.pack._replace(number=sum(r.pack.number for r in up)),
        ),
        Correction(
            torch.cat([m.weight for m in moves]),
            torch.cat([m.bias for m in moves]),
            move.coarse._replace(number=sum(m.coarse.number for m in moves)),
        ),
    )


def configs(x: Tensor, block: Block) -> list[Config]:
    """Launches to choose from: warps, and into how many strips of rows maps are cut (`splits`); none where none fits.

    Products of float32 would spill registers, and so would packs of more than 16 channels.
    """
    height, width = x.shape[2:]
    local, last = (part.pack.block * x.dtype.itemsize for part in (block.up, block.coarsest))
    spills = x.dtype == torch.float32 or local > 32
    if (spills and not support.interpreted()) or max(local, last) > max(TILES) or max(height, width) > SIDE:
        return []
    cuts = [splits for splits in (1, 2) if splits == 1 or height >= 4 * splits]
    warps = (8,) if max(local, last) == max(TILES) else (8, 4)
    pixels = TILES[local]
    return [Config(pixels, 1, count, 2, splits) for count in warps for splits in cuts]


def cycle(x: Tensor, block: Block, config: Config, precision: str = "ieee", *, apart: bool | None = None) -> Tensor:
    """A block's output.

    Args:
        x: (images, channels, height, width), channels-last, bfloat16, float16 or float32; at most 14x14.
        block: of these channels, its weights of the type of x.
        config: one of `configs`.
        precision: of float32 products, see `support.float32_precision`.
        apart: whether every phase is a launch of its own; the default, None: in the interpreter only.

    Returns:
        y, as x.
    """
    images, channels, height, width = x.shape
    run, coarsest, up, move = block
    levels = len(run.widths)
    inner = channels - (channels >> (levels - 1))
    each = 2 * inner * height * width
    columns = triton.next_power_of_2(width)
    of_tile = config.block_m // columns
    of_last = TILES[coarsest.pack.block * x.dtype.itemsize] // columns
    fitting = max(1, SCRATCH // (each * x.dtype.itemsize))
    share = min(images, max(of_tile, fitting // of_tile * of_tile))
    phases = (levels + 1) * -(-images // share)
    y = tiles.empty(tuple(x.shape), x.dtype, x.device)
    scratch = tiles.empty((share * each,), x.dtype, x.device)
    counter = torch.zeros(1, dtype=torch.int32, device=x.device)

    last = LONGEST - len(run.weights)
    weights = run.weights + run.weights[-1:] * last
    biases = run.biases + [None] * last
    blocks = [pack.block for pack in run.packs] + [tiles.NARROWEST] * last
    items = max(run.widths[0] // up.pack.size, 1) * config.splits * -(-share // of_tile)
    programs = min(_multiprocessors(x.device), items)

    kernel: Any = cycle_kernel
    apart = support.interpreted() if apart is None else apart
    for begin, end in ((n, n + 1) for n in range(phases)) if apart else ((0, phases),):
        kernel[programs,](
            x, y, scratch, counter, *weights, *(weights[0] if b is None else b for b in biases),
            coarsest.first, coarsest.first_bias, coarsest.second, coarsest.second_bias,
            move.weight, move.bias, up.first, up.first_bias, up.second, up.second_bias,
            images, share, -(-height // config.splits), begin, end,
            HEIGHT=height, WIDTH=width, CHANNELS=channels, LEVELS=levels,
            SIZE=run.packs[0].size, FULL=run.packs[0].size == run.packs[0].block,
            B0=blocks[0], B1=blocks[1], B2=blocks[2], B3=blocks[3], B4=blocks[4],
            HAS1=biases[0] is not None, HAS2=biases[1] is not None, HAS3=biases[2] is not None,
            HAS4=biases[3] is not None, M=64,
            RELU_INSIDE=up.relu_inside, RELU=up.relu, SUM_LAST=up.sum_last,
            PACK=up.pack.size, BLOCK=up.pack.block, COARSE_PACK=move.coarse.size, COARSE_BLOCK=move.coarse.block,
            IMAGES=of_tile, LAST_PACK=coarsest.pack.size, LAST_BLOCK=coarsest.pack.block, LAST_IMAGES=of_last,
            COLUMNS=columns, PRECISION=precision,
            num_warps=config.warps, num_stages=config.stages, **({} if apart else {"launch_cooperative_grid": True}),
        )  # fmt: skip
    return y


def _multiprocessors(device: torch.device) -> int:
    """How many programs run at the same time, at one on each."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).multi_processor_count
    return 3 if support.interpreted() else MULTIPROCESSORS
