# ruff: noqa: N803 (constants of a kernel are in capitals, as Triton has them)
"""Batch normalisation's coefficients from partial sums, and back through them.

What kernels sum while they pass over feature maps is a row for each of their programs. Here the rows become one number
a channel, in float64 and in a fixed order, so that results do not differ from run to run. A kernel moves the partial
sums once (some MB at most, 1/100 of the maps they come from) and numbers a channel.

Sums of y and y^2 in float32 lose the variance where the mean is many times the deviation. So partials may also be
*moments*, three rows: how many, their mean, and the sum of squares around that mean; they never cancel.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from torchmg.kernels.gpu.tiles import empty
from torchmg.kernels.shape import Track

CHANNELS = tl.constexpr(8)
"""Channels of a program: 32 bytes of a row, the least that memory reads."""

MOST_ROWS = 512
"""Partial rows of a step."""

WARPS = 8
"""16 numbers in float64 a thread and sum."""


def coefficients(
    partials: Tensor, count: int, gamma: Tensor, beta: Tensor, eps: float, track: Track | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Scale, shift, mean and variance (biased), each float32 (C,), of what `partials` summed.

    Args:
        partials: float32 (programs, 2, C): sums of y and of y^2; or (programs, 3, C): numbers of y, means, sums of
            squares around those means.
        count: values a channel, in all.
        gamma: (C,), of the normalisation: scale = gamma / sqrt(variance + eps), shift = beta - mean scale.
        beta: the same.
        eps: what is added to the variance.
        track: running statistics to move towards these, in place; float32 (C,) and contiguous.
    """
    programs, kinds, channels = partials.shape
    found = empty((4, channels), torch.float32, partials.device)
    mean, variance, share = track or (found, found, 0.0)
    kernel: Any = _coefficients
    kernel[(triton.cdiv(channels, CHANNELS.value),)](
        partials, gamma, beta, found, mean, variance, programs, channels, count, eps, float(share), kinds == 3,
        *_rows(programs), track is not None, num_warps=WARPS,
    )  # fmt: skip
    return found[0], found[1], found[2], found[3]


def coefficients_backward(
    count: int, mean: Tensor, variance: Tensor, gamma: Tensor, eps: float, gscale: Tensor, gshift: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of gamma and beta, and `constant` and `slope`, float32 (C,), from those of scale and shift.

    The statistics put constant[c] + slope[c] y on the gradient of every y.
    """
    channels = mean.numel()
    found = empty((4, channels), torch.float32, mean.device)
    block = min(128, triton.next_power_of_2(channels))
    kernel: Any = _coefficients_backward
    kernel[(triton.cdiv(channels, block),)](mean, variance, gamma, gscale, gshift, found, channels, count, eps, block)
    return found[0], found[1], found[2], found[3]


def reduced(partials: Tensor) -> tuple[Tensor, Tensor]:
    """The sums over programs of both kinds of (programs, 2, C) partials: float32 (C,) each."""
    programs, _, channels = partials.shape
    found = empty((2, channels), torch.float32, partials.device)
    kernel: Any = _reduced
    kernel[(triton.cdiv(channels, CHANNELS.value),)](
        partials, found, programs, channels, *_rows(programs), num_warps=WARPS
    )
    return found[0], found[1]


def _rows(programs: int) -> tuple[int]:
    return (min(MOST_ROWS, triton.next_power_of_2(programs)),)


@triton.jit
def _coefficients(
    partials,
    gamma,
    beta,
    found,
    running_mean,
    running_variance,
    programs,
    channels,
    count,
    eps,
    share,
    MOMENTS: tl.constexpr,
    ROWS: tl.constexpr,
    TRACK: tl.constexpr,
):
    channel = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    there = channel < channels
    row = tl.arange(0, ROWS)
    first = tl.zeros((CHANNELS,), tl.float64)
    second = tl.zeros((CHANNELS,), tl.float64)
    for start in range(0, programs, ROWS):
        inside = (start + row < programs)[:, None] & there[None, :]
        if MOMENTS:
            at = partials + (start + row)[:, None] * 3 * channels + channel[None, :]
            number = tl.load(at, mask=inside, other=0.0).to(tl.float64)
            mean = tl.load(at + channels, mask=inside, other=0.0).to(tl.float64)
            around = tl.load(at + 2 * channels, mask=inside, other=0.0).to(tl.float64)
            first += tl.sum(number * mean, 0)
            second += tl.sum(around + number * mean * mean, 0)
        else:
            at = partials + (start + row)[:, None] * 2 * channels + channel[None, :]
            first += tl.sum(tl.load(at, mask=inside, other=0.0).to(tl.float64), 0)
            second += tl.sum(tl.load(at + channels, mask=inside, other=0.0).to(tl.float64), 0)
    mean = first / count
    variance = second / count - mean * mean
    variance = tl.where(variance < 0.0, 0.0, variance)  # a maximum would hide what is not a number
    scale = tl.load(gamma + channel, mask=there, other=0.0).to(tl.float64) / tl.sqrt(variance + eps)
    shift = tl.load(beta + channel, mask=there, other=0.0).to(tl.float64) - mean * scale
    tl.store(found + channel, scale.to(tl.float32), mask=there)
    tl.store(found + channels + channel, shift.to(tl.float32), mask=there)
    tl.store(found + 2 * channels + channel, mean.to(tl.float32), mask=there)
    tl.store(found + 3 * channels + channel, variance.to(tl.float32), mask=there)
    if TRACK:
        old = tl.load(running_mean + channel, mask=there, other=0.0).to(tl.float64)
        tl.store(running_mean + channel, (old + share * (mean - old)).to(tl.float32), mask=there)
        old = tl.load(running_variance + channel, mask=there, other=0.0).to(tl.float64)
        unbiased = variance * count / (count - 1)
        tl.store(running_variance + channel, (old + share * (unbiased - old)).to(tl.float32), mask=there)


@triton.jit
def _coefficients_backward(
    mean_of, variance_of, gamma_of, gscale_of, gshift_of, found, channels, count, eps, BLOCK: tl.constexpr
):
    channel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = channel < channels
    mean = tl.load(mean_of + channel, mask=there, other=0.0).to(tl.float64)
    variance = tl.load(variance_of + channel, mask=there, other=1.0).to(tl.float64)
    gamma = tl.load(gamma_of + channel, mask=there, other=0.0).to(tl.float64)
    gshift = tl.load(gshift_of + channel, mask=there, other=0.0).to(tl.float64)
    of_scale = tl.load(gscale_of + channel, mask=there, other=0.0).to(tl.float64) - mean * gshift
    inverse = 1.0 / tl.sqrt(variance + eps)
    of_variance = -0.5 * inverse * inverse * inverse * gamma * of_scale
    constant = (-gamma * inverse * gshift - 2.0 * mean * of_variance) / count
    tl.store(found + channel, (inverse * of_scale).to(tl.float32), mask=there)
    tl.store(found + channels + channel, gshift.to(tl.float32), mask=there)
    tl.store(found + 2 * channels + channel, constant.to(tl.float32), mask=there)
    tl.store(found + 3 * channels + channel, (2.0 * of_variance / count).to(tl.float32), mask=there)


@triton.jit
def _reduced(partials, found, programs, channels, ROWS: tl.constexpr):
    channel = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    there = channel < channels
    row = tl.arange(0, ROWS)
    first = tl.zeros((CHANNELS,), tl.float64)
    second = tl.zeros((CHANNELS,), tl.float64)
    for start in range(0, programs, ROWS):
        inside = (start + row < programs)[:, None] & there[None, :]
        at = partials + (start + row)[:, None] * 2 * channels + channel[None, :]
        first += tl.sum(tl.load(at, mask=inside, other=0.0).to(tl.float64), 0)
        second += tl.sum(tl.load(at + channels, mask=inside, other=0.0).to(tl.float64), 0)
    tl.store(found + channel, first.to(tl.float32), mask=there)
    tl.store(found + channels + channel, second.to(tl.float32), mask=there)
