"""Stencils on a grid: applied, applied by the exact adjoint, as symbols, and bounds of matrix norms.

What every coupling is made of, for one to three spatial axes and both boundaries, in one place.
"""

from collections.abc import Sequence
from math import pi
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from torchmg.nn.precision import at_least_single, without_autocast

Padding = Literal["zeros", "circular"]
"""What lies beyond the border: `zeros`, or the other side of the map (`circular`), where Fourier modes are exact."""

_CORRELATE = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def correlate(x: Tensor, weight: Tensor, *, groups: int = 1, stride: int = 1, padding: Padding = "zeros") -> Tensor:
    """The convolution of (batch, in, *spatial) by an odd kernel (out, in / groups, *kernel) that keeps the resolution.

    Returns:
        (batch, out, *spatial), each axis divided by `stride`, rounded up.
    """
    dims, margin = x.dim() - 2, weight.shape[-1] // 2
    if margin and padding == "circular":
        x, margin = F.pad(x, (margin,) * (2 * dims), mode="circular"), 0
    return _CORRELATE[dims](x, weight, stride=stride, padding=margin, groups=groups)


def correlate_adjoint(
    z: Tensor, weight: Tensor, size: Sequence[int], *, groups: int = 1, stride: int = 1, padding: Padding = "zeros"
) -> Tensor:
    """The exact transpose of `correlate` on maps of `size`: (batch, out, *spatial) -> (batch, in, *size)."""
    dims, kernel = z.dim() - 2, weight.shape[-1]
    margin = kernel // 2
    missing = [n + 2 * margin - ((m - 1) * stride + kernel) for n, m in zip(size, z.shape[2:], strict=True)]
    wraps = margin > 0 and padding == "circular"
    x = _TRANSPOSE[dims](
        z, weight, stride=stride, padding=0 if wraps else margin, output_padding=missing, groups=groups
    )
    if wraps:
        for axis, n in enumerate(size, start=2):
            x = _fold(x, axis, n, margin)
    return x


def _fold(x: Tensor, axis: int, n: int, margin: int) -> Tensor:
    """The transpose of circular padding along one axis: what lies in the margins goes to where it was taken from."""
    before, inside, after = x.split([margin, n, margin], axis)
    gap = torch.zeros_like(inside.narrow(axis, 0, n - margin))
    return inside + torch.cat([gap, before], axis) + torch.cat([after, gap], axis)


def symbol(weight: Tensor, size: Sequence[int]) -> Tensor:
    """What a kernel (out, in, *kernel) does to the Fourier modes of a periodic grid of `size`.

    Returns:
        Complex (*frequencies, out, in) of every mode, of which half the last axis is left out (the others are
        conjugates): sum over taps t of W_t e^(i w t).
    """
    weight = at_least_single(weight)
    real, device = weight.dtype, weight.device
    weight = weight.to(real.to_complex())
    for axis, n in enumerate(reversed(size)):
        kernel = weight.shape[-1 - axis]
        taps = torch.arange(kernel, device=device, dtype=real) - kernel // 2
        waves = torch.arange(n // 2 + 1 if axis == 0 else n, device=device, dtype=real)
        angle = waves[:, None] * taps * (2 * pi / n)
        phase = torch.polar(torch.ones_like(angle), angle)
        weight = torch.movedim(torch.movedim(weight, -1 - axis, -1) @ phase.T, -1, -1 - axis)
    return torch.movedim(weight, (0, 1), (-2, -1))


def spectral_bound(matrix: Tensor, squarings: int = 8) -> Tensor:
    """A differentiable upper bound of the spectral norms of matrices (*, rows, columns), one for each.

    ||A||_2^(2^t) = ||(A^T A)^(2^(t-1))||_2 is at most the Frobenius norm of that power, so each squaring brings the
    bound closer: it is too large by rank^(2^-(t+1)) at most, a factor of 1.008 for rank 64 after the eight of the
    default. No singular vectors, so it also has a gradient where singular values coincide.
    """
    matrix = at_least_single(matrix)
    # Norms of the powers overflow, so each is taken out and remembered with the power it has by then.
    logs, power = torch.zeros_like(matrix[..., 0, 0].abs()), 1.0
    with without_autocast(matrix.device.type):  # products in half precision would bound nothing
        for _ in range(squarings):
            norm = torch.linalg.matrix_norm(matrix).clamp_min(torch.finfo(logs.dtype).tiny ** 0.5)
            logs = logs + norm.log() / power
            matrix = matrix / norm[..., None, None]
            matrix = matrix.mH @ matrix
            power *= 2
    return (logs + torch.linalg.matrix_norm(matrix).clamp_min(torch.finfo(logs.dtype).tiny).log() / power).exp()


def schur_bound(magnitude: Tensor) -> Tensor:
    """Schur's bound of the norms of operators whose entries have these sizes, (*, out, in): one for each.

    sqrt(largest row sum times largest column sum). Its gradient is zero, not undefined, where all is zero.
    """
    product = magnitude.sum(-1).amax(-1) * magnitude.sum(-2).amax(-1)
    return product.clamp_min(torch.finfo(product.dtype).tiny).sqrt()


def block_diagonal(weight: Tensor, groups: int) -> Tensor:
    """The dense kernel (out, in, *kernel) of a grouped one (out, in / groups, *kernel): zeros between groups."""
    blocks = weight.unflatten(0, (groups, -1))
    eye = torch.eye(groups, dtype=blocks.dtype, device=blocks.device)
    dense = eye[:, None, :, None, None] * blocks.flatten(3)[:, :, None]
    return dense.flatten(2, 3).flatten(0, 1).unflatten(2, weight.shape[2:])


def grouped_bound(weight: Tensor, groups: int) -> Tensor:
    """A bound, on maps of every size, of the norm of a grouped kernel (out, in / groups, *kernel): a scalar.

    The largest of the groups' smaller of sum_t ||W_t||_2 and Schur's sqrt(max_o sum |W| max_i sum |W|).
    """
    blocks = at_least_single(weight).unflatten(0, (groups, -1)).flatten(3)
    taps = spectral_bound(blocks.movedim(3, 0)).sum(0)
    return torch.minimum(taps, schur_bound(blocks.abs().sum(3))).max()
