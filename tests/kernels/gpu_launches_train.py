"""What training launches besides convolutions, to compile: weight gradients, passes over maps, BatchNorm's numbers."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from torchmg.kernels.gpu import affine, norms, weights
from torchmg.kernels.gpu.edges import Affine, Reach
from torchmg.kernels.shape import Shape, Track

DTYPES = torch.bfloat16, torch.float16, torch.float32


def _map(channels: int, dtype: torch.dtype, side: int = 28) -> Tensor:
    found = torch.empty((32, channels, side, side), dtype=dtype, device="meta")
    return found.to(memory_format=torch.channels_last)


def _vectors(channels: int, count: int) -> tuple[Tensor, ...]:
    return tuple(torch.empty(channels, device="meta") for _ in range(count))


def weight_gradient(size: int, kernel: int, stride: int, dtype: torch.dtype, out: int = 256) -> None:
    """Of 256 channels coming in, with all that is done to both maps on the way."""
    shape = Shape(32, 256, out, 256 // size, 28, 28, kernel, kernel, stride, kernel // 2, kernel // 2)
    grad = _map(out, dtype, 28 // stride)
    before = Reach(grad, *_vectors(out, 2))
    weights.weight_gradient(
        _map(256, dtype), grad, shape, before_x=Affine(*_vectors(256, 2), relu=True), before_grad=before
    )


def passes(channels: int, dtype: torch.dtype) -> None:
    """An affine end forward and backward for every place of its ReLU, and a map's moments."""
    y = _map(channels, dtype)
    scale, shift = _vectors(channels, 2)
    affine.moments(y)
    for relu in range(3):
        affine.affine(y, scale, shift, y, relu)
        affine.affine_gradients(y, y, scale, shift, y, relu, wants_add=relu == affine.LAST.value)


def coefficients(programs: int) -> None:
    """A batch's statistics from both kinds of partial sums, with and without running ones, and back."""
    mean, variance, gamma, beta = _vectors(256, 4)
    for kinds in (2, 3):
        partials = torch.empty((programs, kinds, 256), device="meta")
        for track in (None, Track(mean, variance, 0.1)):
            norms.coefficients(partials, 1000, gamma, beta, 1e-5, track)
    norms.reduced(torch.empty((programs, 2, 256), device="meta"))
    norms.coefficients_backward(1000, mean, variance, gamma, 1e-5, gamma, beta)


CALLS: Sequence[tuple[str, Callable[[], object]]] = [
    *(
        (f"weight gradient of groups of {size}, {dtype}", partial(weight_gradient, size, 3, 1, dtype))
        for dtype in (torch.bfloat16, torch.float32)
        for size in (4, 16, 32, 64)
    ),
    *(
        (f"weight gradient of groups of {size}, stride 2", partial(weight_gradient, size, 3, 2, dtype))
        for size, dtype in ((4, torch.bfloat16), (16, torch.float32), (32, torch.bfloat16), (64, torch.float32))
    ),
    *(
        (f"weight gradient of 1x1 in groups of {size}", partial(weight_gradient, size, 1, 1, dtype, 512))
        for size, dtype in ((4, torch.float32), (16, torch.bfloat16), (32, torch.float32), (64, torch.bfloat16))
    ),
    *(
        (f"passes over {channels} channels, {dtype}", partial(passes, channels, dtype))
        for dtype in DTYPES
        for channels in (16, 64)
    ),
    *((f"coefficients of {programs} partials", partial(coefficients, programs)) for programs in (1, norms.MOST_ROWS)),
]
