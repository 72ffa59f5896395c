# ruff: noqa: N803 (constants of a kernel are in capitals, as Triton has them)
"""Passes over feature maps pixel by pixel: an affine end with its ReLU, its gradients, and the moments of a map.

With |y| the bytes of a map, forward moves 2 |y|, or 3 with an addend; backward 3 |y| (gradient and y in, gradient out),
and with a ReLU over all 4 (its output tells where), 5 with the addend's own gradient; the moments 1 |y|. All are bound
by memory. What they sum over pixels are partials, a row a program, so that no result depends on an order of events.
Comparisons are such that what is not a number stays so, which maxima would hide.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from torchmg.kernels.gpu.tiles import empty

TILE = 4096
"""Numbers of a tile."""

WARPS = 8
"""Of the kernels that sum: 16 numbers a thread of each tile and each sum, so that registers do for more programs."""

PROGRAMS = 1024
"""Most programs of a kernel that sums: about what an H200 holds at a time. Fixed, so that sums do not depend on it."""

LAST, BEFORE_ADD = tl.constexpr(1), tl.constexpr(2)
"""`torchmg.kernels.fused.End`, which a layer above imports from."""


def affine(y: Tensor, scale: Tensor, shift: Tensor, add: Tensor | None, relu: int) -> Tensor:
    """scale[c] y + shift[c] + add in y's type, with a ReLU where `End` says."""
    pixels, channels, block_p, block_c = _blocks(y)
    out = empty(tuple(y.shape), y.dtype, y.device)
    grid = (triton.cdiv(pixels, block_p) * triton.cdiv(channels, block_c),)
    other = y if add is None else add
    kernel: Any = _affine
    kernel[grid](y, scale, shift, other, out, pixels, channels, relu, add is not None, block_p, block_c)
    return out


def affine_gradients(
    gout: Tensor, y: Tensor, scale: Tensor, shift: Tensor, out: Tensor | None, relu: int, wants_add: bool
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Gradients of y and, where `out` is given and they are wanted, of `add`; float32 (programs, 2, C) partials.

    The partials are the sums of t y and of t, the gradients of scale and shift, with t the gradient past the ReLU.
    """
    pixels, channels, block_p, block_c = _blocks(y)
    gy = empty(tuple(y.shape), y.dtype, y.device)
    gadd = empty(tuple(y.shape), y.dtype, y.device) if wants_add and out is not None else None
    columns, programs = _programs(pixels, channels, block_p, block_c)
    partials = empty((programs, 2, channels), torch.float32, y.device)
    kernel: Any = _affine_backward
    kernel[(columns * programs,)](
        gout, y, scale, shift, y if out is None else out, gy, gy if gadd is None else gadd, partials, pixels, channels,
        programs, relu if out is not None or relu != LAST.value else 0, gadd is not None, block_p, block_c,
        num_warps=WARPS,
    )  # fmt: skip
    return gy, gadd, partials


def moments(y: Tensor) -> Tensor:
    """Float32 (programs, 3, C): how many y a program saw, their mean, the sum of squares around it."""
    pixels, channels, block_p, block_c = _blocks(y)
    columns, programs = _programs(pixels, channels, block_p, block_c)
    partials = empty((programs, 3, channels), torch.float32, y.device)
    kernel: Any = _moments
    kernel[(columns * programs,)](y, partials, pixels, channels, programs, block_p, block_c, num_warps=WARPS)
    return partials


def reached(gradient: Tensor, y: Tensor, constant: Tensor, slope: Tensor) -> Tensor:
    """Gradient + constant[c] + slope[c] y: what reaches y itself and through a batch's statistics. Moves 3 |y|."""
    return affine(y, slope, constant, gradient, 0)


def _blocks(y: Tensor) -> tuple[int, int, int, int]:
    channels = y.shape[1]
    block_c = min(64, triton.next_power_of_2(channels))
    return y.numel() // channels, channels, TILE // block_c, block_c


def _programs(pixels: int, channels: int, block_p: int, block_c: int) -> tuple[int, int]:
    columns = triton.cdiv(channels, block_c)
    return columns, min(triton.cdiv(pixels, block_p), max(1, PROGRAMS // columns))


@triton.jit
def _affine(
    y,
    scale,
    shift,
    add,
    out,
    pixels,
    channels,
    RELU: tl.constexpr,
    ADD: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    columns = tl.cdiv(channels, BLOCK_C)
    channel = tl.program_id(0) % columns * BLOCK_C + tl.arange(0, BLOCK_C)
    start = tl.program_id(0) // columns * BLOCK_P
    there = channel < channels
    inside = (start + tl.arange(0, BLOCK_P) < pixels)[:, None] & there[None, :]
    base = start.to(tl.int64) * channels
    at = tl.arange(0, BLOCK_P)[:, None] * channels + channel[None, :]
    a = tl.load(scale + channel, mask=there, other=0.0)[None, :]
    b = tl.load(shift + channel, mask=there, other=0.0)[None, :]
    value = tl.load(y + base + at, mask=inside, other=0.0).to(tl.float32) * a + b
    if RELU == BEFORE_ADD:
        value = tl.where(value < 0.0, 0.0, value)
    if ADD:
        value += tl.load(add + base + at, mask=inside, other=0.0).to(tl.float32)
    if RELU == LAST:
        value = tl.where(value < 0.0, 0.0, value)
    tl.store(out + base + at, value.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _affine_backward(
    gout,
    y,
    scale,
    shift,
    out,
    gy,
    gadd,
    partials,
    pixels,
    channels,
    programs,
    RELU: tl.constexpr,
    GADD: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    columns = tl.cdiv(channels, BLOCK_C)
    channel = tl.program_id(0) % columns * BLOCK_C + tl.arange(0, BLOCK_C)
    program = tl.program_id(0) // columns
    there = channel < channels
    pixel = tl.arange(0, BLOCK_P)
    at = pixel[:, None] * channels + channel[None, :]
    a = tl.load(scale + channel, mask=there, other=0.0)[None, :]
    b = tl.load(shift + channel, mask=there, other=0.0)[None, :]
    of_scale = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
    of_shift = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
    for block in range(program, tl.cdiv(pixels, BLOCK_P), programs):
        start = block * BLOCK_P
        inside = (start + pixel < pixels)[:, None] & there[None, :]
        base = tl.cast(start, tl.int64) * channels
        value = tl.load(y + base + at, mask=inside, other=0.0).to(tl.float32)
        t = tl.load(gout + base + at, mask=inside, other=0.0).to(tl.float32)
        if RELU == LAST:
            t = tl.where(tl.load(out + base + at, mask=inside, other=0.0).to(tl.float32) <= 0.0, 0.0, t)
        if RELU == BEFORE_ADD:
            t = tl.where(value * a + b <= 0.0, 0.0, t)
        tl.store(gy + base + at, (t * a).to(gy.dtype.element_ty), mask=inside)
        if GADD:
            tl.store(gadd + base + at, t.to(gadd.dtype.element_ty), mask=inside)
        of_scale += t * value
        of_shift += t
    row = partials + program * 2 * channels + channel
    tl.store(row, tl.sum(of_scale, 0), mask=there)
    tl.store(row + channels, tl.sum(of_shift, 0), mask=there)


@triton.jit
def _moments(y, partials, pixels, channels, programs, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr):
    """Sums around the mean of a program's first tile: so near the true mean that nothing cancels."""
    columns = tl.cdiv(channels, BLOCK_C)
    channel = tl.program_id(0) % columns * BLOCK_C + tl.arange(0, BLOCK_C)
    program = tl.program_id(0) // columns
    there = channel < channels
    pixel = tl.arange(0, BLOCK_P)
    at = pixel[:, None] * channels + channel[None, :]
    inside = (program * BLOCK_P + pixel < pixels)[:, None] & there[None, :]
    base = program.to(tl.int64) * BLOCK_P * channels
    value = tl.load(y + base + at, mask=inside, other=0.0).to(tl.float32)
    near = tl.sum(value, 0) / tl.minimum(pixels - program * BLOCK_P, BLOCK_P).to(tl.float32)
    total = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
    square = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
    number = 0
    for block in range(program, tl.cdiv(pixels, BLOCK_P), programs):
        start = block * BLOCK_P
        inside = (start + pixel < pixels)[:, None] & there[None, :]
        base = tl.cast(start, tl.int64) * channels
        value = tl.load(y + base + at, mask=inside, other=0.0).to(tl.float32)
        away = tl.where(inside, value - near[None, :], 0.0)
        total += away
        square += away * away
        number += tl.minimum(pixels - start, BLOCK_P)
    count = tl.cast(number, tl.float32)
    away = tl.sum(total, 0) / count
    row = partials + program * 3 * channels + channel
    tl.store(row, tl.broadcast_to(count, (BLOCK_C,)), mask=there)
    tl.store(row + channels, near + away, mask=there)
    tl.store(row + 2 * channels, tl.sum(square, 0) - count * away * away, mask=there)
