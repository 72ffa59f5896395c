"""Levels and restrictions to compile: every group size and kind of launch."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from torchmg.kernels.gpu.level import Correction, Pack, Relaxation, level, pack_of
from torchmg.kernels.gpu.restrict import LONGEST, Run, restrict


def _empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def _maps(*shape: int, dtype: torch.dtype) -> Tensor:
    return _empty(*shape, dtype=dtype).to(memory_format=torch.channels_last)


def rise(size: int, dtype: torch.dtype, side: int, kind: str) -> None:
    """One level of 32 images with 256 channels: of an MGIC block, a relaxation by itself, or of a MGiaD block."""
    channels = size if size == 64 else 256
    pack = pack_of(channels, size)
    assert pack is not None
    coarse = Pack(pack.size // 2, max(16, pack.block // 2), pack.number)
    x, half = _maps(32, channels, side, side, dtype=dtype), _maps(32, channels // 2, side, side, dtype=dtype)
    taps, vector = _empty(pack.number, 9, pack.block, pack.block, dtype=dtype), _empty(channels)
    data = kind == "MGiaD"
    relaxation = Relaxation(taps, vector, taps, vector, pack, vector if data else None, sum_last=data)
    move = Correction(_empty(pack.number, 1, coarse.block, pack.block, dtype=dtype), vector, coarse)
    moves = kind != "relaxation"
    level(x, relaxation, move if moves else None, (half, half) if moves else None, x if data else None, "tf32")


def fall(first: int, dtype: torch.dtype, length: int) -> None:
    """Restrictions of 256 channels, `first` of them in a program."""
    packs = [Pack(first >> k, max(16, first >> k), 256 // first) for k in range(length + 1)]
    weights = [_empty(256 // first, 1, packs[k].block, packs[k + 1].block, dtype=dtype) for k in range(length)]
    widths = [256 >> k for k in range(length + 1)]
    run = Run(weights, [_empty(c) for c in widths[1:]], packs, widths)
    restrict(_maps(32, 256, 28, 28, dtype=dtype), [run], "tf32")


CALLS: Sequence[tuple[str, Callable[[], object]]] = [
    *(
        (f"level of groups of {size}, {side}x{side}, {kind}, {dtype}", partial(rise, size, dtype, side, kind))
        for size, dtype in (
            *((size, torch.bfloat16) for size in (16, 32, 64)),
            (16, torch.float32),
        )
        for side in (56, 14, 112)
        for kind in ("MGIC", "relaxation", "MGiaD")
        if side == 56 or size == 16
    ),
    *(
        (f"{length} restrictions, {first} channels, {dtype}", partial(fall, first, dtype, length))
        for first, length in ((128, LONGEST), (64, 2), (64, 1))
        for dtype in (torch.bfloat16, torch.float32)
    ),
]
