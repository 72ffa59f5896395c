# ruff: noqa: N803 (constants of a kernel are in capitals, as Triton has them)
"""The way down of a block in one pass, for inference: x_k = R_k x_{k-1} + bias, all of them kept.

Groups halve from level to level together with the channels, so the whole chain on a run of channels stays there: a
program reads a tile of pixels by channels of x_0, and multiplies it down in registers, writing every level.

Bytes: x_0 is read once and each x_k written once, with halved widths 2 |x_0| at most, which is the floor: the levels
are needed on the way up. One by one the restrictions read each level again, 3 |x_0|. A chain that is too long for a
run of 128 channels goes on from its last level with 1/16 of the bytes.
"""

from collections.abc import Sequence
from math import lcm
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from torchmg.kernels.gpu import tiles
from torchmg.kernels.gpu.level import Pack, pack_taps
from torchmg.kernels.gpu.tiles import dot
from torchmg.kernels.gpu.tune import Config, tuned

LONGEST = 4
"""Levels that one kernel makes."""

WIDEST = 128
"""Channels of x_0 that a program holds."""

LINE = 64
"""Channels that a program holds where they need not be more: 128 bytes of bfloat16 side by side."""


class Run(NamedTuple):
    """Restrictions that one kernel does.

    Attributes:
        weights: of each as `pack_taps` has them, (packs, 1, block, next block).
        biases: float32 (channels,), or None.
        packs: of x_0 and each level.
        widths: channels of x_0 and each level.
    """

    weights: list[Tensor]
    biases: list[Tensor | None]
    packs: list[Pack]
    widths: list[int]


def runs(
    weights: Sequence[Tensor], biases: Sequence[Tensor | None], groups: Sequence[int], dtype: torch.dtype
) -> list[Run]:
    """A chain of restrictions cut in as few kernels as can do it.

    Args:
        weights: (out, in/groups, 1, 1) of each, in = 2 out of any; in/groups at most 128.
        biases: (out,) of each or None.
        groups: of each.
        dtype: of the activations.
    """
    found: list[Run] = []
    first = 0
    while first < len(weights):
        length = max(n for n in range(1, LONGEST + 1) if n == 1 or _run_width(weights, groups, first, n) <= WIDEST)
        length = min(length, len(weights) - first)
        widths = [2 * weights[first].shape[0], *(w.shape[0] for w in weights[first : first + length])]
        size = _run_width(weights, groups, first, length)
        size *= max(1, min(LINE, widths[0]) // size)
        count = -(-widths[0] // size)
        packs = [
            Pack(size >> k, max(tiles.NARROWEST, triton.next_power_of_2(size >> k)), count) for k in range(length + 1)
        ]
        found.append(
            Run(
                [
                    pack_taps(weights[first + k], groups[first + k], packs[k], packs[k + 1], dtype)
                    for k in range(length)
                ],
                [None if b is None else b.float().contiguous() for b in biases[first : first + length]],
                packs,
                widths,
            )
        )
        first += length
    return found


def _run_width(weights: Sequence[Tensor], groups: Sequence[int], first: int, length: int) -> int:
    """The fewest channels of x_0 on which this many restrictions stay among themselves; too many if there are fewer."""
    if first + length > len(weights):
        return WIDEST + 1
    # Level k of a run of s channels has s / 2^k: a multiple of its own groups' outputs, and the next one's inputs.
    return lcm(*(weights[first + k].shape[1] << k for k in range(length)), 1 << length)


def restrict(x: Tensor, chain: Sequence[Run], precision: str = "ieee") -> list[Tensor]:
    """All coarser levels of x.

    Args:
        x: (images, channels, height, width), channels-last, bfloat16, float16 or float32.
        chain: see `runs`.
        precision: of float32 products.

    Returns:
        x_1, x_2, ...: (images, channels of the level, height, width), as x.
    """
    made: list[Tensor] = []
    for run in chain:
        made += _restrict(made[-1] if made else x, run, precision)
    return made


def _restrict(x: Tensor, run: Run, precision: str) -> list[Tensor]:
    images, channels, height, width = x.shape
    pixels = images * height * width
    length = len(run.weights)
    made = [tiles.empty((images, c, height, width), x.dtype, x.device) for c in run.widths[1:]]
    last = LONGEST - length
    outs = made + made[-1:] * last
    weights = run.weights + run.weights[-1:] * last
    biases = run.biases + [None] * last
    blocks = [pack.block for pack in run.packs] + [tiles.NARROWEST] * last
    full = channels % run.packs[0].size == 0 and run.packs[0].size == run.packs[0].block

    kernel: Any = _chain

    def launch(config: Config) -> None:
        kernel[-(-pixels // config.block_m) * run.packs[0].number,](
            x, *outs, *weights, *(weights[0] if b is None else b for b in biases), pixels, channels,
            run.packs[0].number,
            SIZE=run.packs[0].size, FULL=full, LEVELS=length, B0=blocks[0], B1=blocks[1], B2=blocks[2], B3=blocks[3],
            B4=blocks[4], HAS1=biases[0] is not None, HAS2=biases[1] is not None, HAS3=biases[2] is not None,
            HAS4=biases[3] is not None, M=config.block_m, PRECISION=precision,
            num_warps=config.warps, num_stages=config.stages,
        )  # fmt: skip

    key = (*x.shape, str(x.dtype), precision, run.packs[0].size, length)
    launch(tuned("restrict", key, [Config(m, 1, w) for m in (64, 128, 32) for w in (4, 8)], launch))
    return made


@triton.jit
def _down(
    x,
    weight,
    bias,
    out,
    pack,
    pixel,
    pixels,
    channels,
    SIZE: tl.constexpr,
    IN: tl.constexpr,
    OUT: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    FULL: tl.constexpr,
    M: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """One restriction of a tile [M, IN] of which SIZE channels are made: stored, and given on."""
    i = tl.arange(0, IN)[:, None]
    lane = tl.arange(0, OUT)
    w = tl.load(weight + pack * IN * OUT + i * OUT + lane[None, :])
    channel = pack * SIZE + lane
    there = (lane < SIZE) & (channel < channels)
    acc = tl.zeros((M, OUT), tl.float32)
    if HAS_BIAS:
        acc += tl.load(bias + channel, mask=there, other=0.0)[None, :]
    y = dot(x, w, acc, PRECISION).to(x.dtype)
    live = (pixel < pixels)[:, None]
    if not FULL or SIZE != OUT:
        live = live & there[None, :]
    tl.store(out + pixel.to(tl.int64)[:, None] * channels + channel[None, :], y, mask=live)
    return y


@triton.jit
def chain_tile(
    x_ptr,
    y1,
    y2,
    y3,
    y4,
    w1,
    w2,
    w3,
    w4,
    b1,
    b2,
    b3,
    b4,
    pixels,
    channels,
    pack,
    pixel,
    SIZE: tl.constexpr,
    FULL: tl.constexpr,
    LEVELS: tl.constexpr,
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
    PRECISION: tl.constexpr,
):
    """All levels of a run of channels of x_0, of the pixels [M]."""
    lane = tl.arange(0, B0)
    channel = pack * SIZE + lane
    live = (pixel < pixels)[:, None]
    if not FULL:
        live = live & ((lane < SIZE) & (channel < channels))[None, :]
    x = tl.load(x_ptr + pixel.to(tl.int64)[:, None] * channels + channel[None, :], mask=live, other=0.0)
    x = _down(x, w1, b1, y1, pack, pixel, pixels, channels // 2, SIZE // 2, B0, B1, HAS1, FULL, M, PRECISION)
    if LEVELS > 1:
        x = _down(x, w2, b2, y2, pack, pixel, pixels, channels // 4, SIZE // 4, B1, B2, HAS2, FULL, M, PRECISION)
    if LEVELS > 2:
        x = _down(x, w3, b3, y3, pack, pixel, pixels, channels // 8, SIZE // 8, B2, B3, HAS3, FULL, M, PRECISION)
    if LEVELS > 3:
        x = _down(x, w4, b4, y4, pack, pixel, pixels, channels // 16, SIZE // 16, B3, B4, HAS4, FULL, M, PRECISION)


@triton.jit
def _chain(
    x_ptr,
    y1,
    y2,
    y3,
    y4,
    w1,
    w2,
    w3,
    w4,
    b1,
    b2,
    b3,
    b4,
    pixels,
    channels,
    packs,
    SIZE: tl.constexpr,
    FULL: tl.constexpr,
    LEVELS: tl.constexpr,
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
    PRECISION: tl.constexpr,
):
    pack = tl.program_id(0) % packs
    pixel = tl.program_id(0) // packs * M + tl.arange(0, M)
    chain_tile(
        x_ptr, y1, y2, y3, y4, w1, w2, w3, w4, b1, b2, b3, b4, pixels, channels, pack, pixel,
        SIZE, FULL, LEVELS, B0, B1, B2, B3, B4, HAS1, HAS2, HAS3, HAS4, M, PRECISION,
    )  # fmt: skip
