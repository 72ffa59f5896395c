"""Cosine transforms, periodic and reflecting stencils: the pieces of solvers that are diagonal in frequency."""

from collections.abc import Iterator, Sequence
from itertools import combinations
from math import pi

import torch
from torch import Tensor
from torch.nn import functional as F


def cosine_matrix(n: int, like: Tensor) -> Tensor:
    """The orthonormal cosine transform of type II as an (n, n) matrix, with the type and device of `like`.

    Its rows are the modes of the second difference with a reflecting boundary, with eigenvalues 2 - 2 cos(pi q / n).
    """
    index = torch.arange(n, device=like.device)
    # Whole turns are dropped in integers: in float32 the cosine of a large angle would lose digits.
    quarter = ((2 * index + 1) * index[:, None]) % (4 * n)
    matrix = torch.cos(quarter.to(like.dtype) * (pi / (2 * n))) * (2 / n) ** 0.5
    return torch.where(index[:, None] == 0, n**-0.5, matrix)


def cosine_transform(x: Tensor, inverse: bool = False) -> Tensor:
    """The orthonormal cosine transform (type II; inverse: type III) over all axes but the first two.

    A matrix product per axis. For n x n channels that is 2 n^3 MACs a channel where transforms by FFT of the even
    extension cost about 10 n^2 log2(2 n), but on a CPU the products took 1/20 of the time at n = 16, 1/10 at 64
    and 1/3 at 256; they need no complex numbers, so that they compile and export anywhere.
    """
    for axis in range(2, x.dim()):
        matrix = cosine_matrix(x.shape[axis], x)
        x = (x.movedim(axis, -1) @ (matrix if inverse else matrix.mT)).movedim(-1, axis)
    return x


def cosine_symbol(axes: Sequence[int], x: Tensor) -> Tensor:
    """The product over `axes` of the eigenvalues 2 - 2 cos(pi q / n) of second differences, to broadcast to x[0, 0]."""
    symbol = x.new_ones([1] * (x.dim() - 2))
    for axis in axes:
        n = x.shape[2 + axis]
        angle = torch.arange(n, device=x.device).to(x.dtype) * (pi / (2 * n))
        # 4 sin^2 of the half angle is the same without cancellation at low frequencies.
        symbol = symbol * (4 * angle.sin().square()).view(-1, *[1] * (x.dim() - 3 - axis))
    return symbol


def axis_products(dims: int) -> Iterator[tuple[int, ...]]:
    """Sets of axes, smallest first, without the empty one: (0,), (1,), (0, 1) for two."""
    for count in range(1, dims + 1):
        yield from combinations(range(dims), count)


def difference_stencil(axes: Sequence[int], dims: int, like: Tensor) -> Tensor:
    """The 3-wide stencil, shape (3,) * dims, of the product of the second differences along `axes`."""
    distance = torch.arange(-1, 2, device=like.device).abs().to(like.dtype)
    second, identity = 2 - 3 * distance, 1 - distance
    stencil = second if 0 in axes else identity
    for axis in range(1, dims):
        stencil = stencil[..., None] * (second if axis in axes else identity)
    return stencil


def laplacian_stencil(dims: int, like: Tensor) -> Tensor:
    """Minus the Laplacian whose error is isotropic at fourth order, shape (3,) * dims.

    The sum of the second differences less a sixth of the products of any two: [-1 2 -1] in one dimension, the
    nine-point [-1 -4 -1; -4 20 -4; -1 -4 -1] / 6 in two, of 19 points in three. Eigenvalues lie between 0 and 4
    in one dimension, 16 / 3 in two and three.
    """
    stencil = torch.stack([difference_stencil([axis], dims, like) for axis in range(dims)]).sum(0)
    for pair in combinations(range(dims), 2):
        stencil = stencil - difference_stencil(pair, dims, like) / 6
    return stencil


def transfer_function(stencil: Tensor, size: Sequence[int]) -> Tensor:
    """Eigenvalues of the periodic convolution with stencils (channels, *k), all odd: (channels, *half spectrum)."""
    dims = range(1, stencil.dim())
    room = [end for n, k in zip(reversed(size), reversed(stencil.shape[1:]), strict=True) for end in (0, n - k)]
    centred = torch.roll(F.pad(stencil, room), [-(stencil.shape[axis] // 2) for axis in dims], list(dims))
    return torch.fft.rfftn(centred, dim=list(dims))


def reflecting_convolution(x: Tensor, stencil: Tensor) -> Tensor:
    """(batch, channels, *size) by one 3-wide stencil (channels, *(3,) * dims) each, the border repeated outside.

    With stencils that are even in every axis it is symmetric, and diagonal under `cosine_transform`.
    """
    for axis in range(2, x.dim()):
        first, last = x.narrow(axis, 0, 1), x.narrow(axis, x.shape[axis] - 1, 1)
        # Not by padding: the gradient of torch's replicating one is not deterministic on GPUs.
        x = torch.cat([first, x, last], axis)
    convolve = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}[x.dim()]
    return convolve(x, stencil[:, None], groups=x.shape[1])
