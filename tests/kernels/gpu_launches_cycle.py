"""Whole blocks in one launch, to compile."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from gpu_launches_level import _empty, _maps

from torchmg.kernels.gpu.cycle import Block, configs, cycle, joined
from torchmg.kernels.gpu.level import Correction, Pack, Relaxation, pack_of
from torchmg.kernels.gpu.restrict import Run


def block(channels: int, size: int, coarsest: int, dtype: torch.dtype) -> Block:
    """One with groups of `size` and a coarsest level of one group."""
    widths = [channels]
    while widths[-1] > coarsest:
        widths.append(widths[-1] // 2)
    length = len(widths) - 1
    run = size << (length - 1)
    packs = [Pack(run >> k, max(16, run >> k), channels // run) for k in range(length + 1)]
    weights = [_empty(channels // run, 1, packs[k].block, packs[k + 1].block, dtype=dtype) for k in range(length)]
    chain = Run(weights, [None] * length, packs, widths)

    def relaxation(width: int, size: int) -> Relaxation:
        pack = pack_of(width, size)
        assert pack is not None
        taps = _empty(pack.number, 9, pack.block, pack.block, dtype=dtype)
        return Relaxation(taps, _empty(width), taps, _empty(width), pack)

    def correction(width: int) -> Correction:
        pack = pack_of(width, size)
        assert pack is not None
        coarse = Pack(pack.size // 2, max(16, pack.size // 2), pack.number)
        return Correction(_empty(pack.number, 1, coarse.block, pack.block, dtype=dtype), _empty(width), coarse)

    made = joined(
        [chain], relaxation(coarsest, coarsest), [relaxation(c, size) for c in widths[:-1]],
        [correction(c) for c in widths[:-1]],
    )  # fmt: skip
    assert made is not None
    return made


def every(channels: int, size: int, coarsest: int, dtype: torch.dtype, side: int) -> None:
    """All launches of a block."""
    x, parts = _maps(32, channels, side, side, dtype=dtype), block(channels, size, coarsest, dtype)
    found = configs(x, parts)
    assert found
    for config in found:
        cycle(x, parts, config, "tf32", apart=False)


CALLS: Sequence[tuple[str, Callable[[], object]]] = [
    (f"block of {channels} channels, groups of {size}, coarsest {coarsest}, {side}x{side}, {dtype}",
     partial(every, channels, size, coarsest, dtype, side))
    for channels, size, coarsest, dtype, side in (
        (512, 16, 64, torch.bfloat16, 7),
        (256, 16, 64, torch.bfloat16, 14),
        (512, 16, 32, torch.bfloat16, 14),
        (512, 8, 32, torch.float16, 7),
        (256, 16, 16, torch.bfloat16, 14),
    )
]  # fmt: skip
