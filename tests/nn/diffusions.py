"""Diffusion modules to test with, and their operators as dense matrices that NumPy builds from the definition."""

from functools import reduce
from itertools import product
from math import prod
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from torchmg.nn.diffusion import ImplicitDiffusion

KINDS = [
    ("fourier", "gram"),
    ("fourier", "laplacian"),
    ("cosine", "anisotropic"),
    ("cosine", "isotropic"),
    ("sweeps", "anisotropic"),
    ("sweeps", "isotropic"),
]
Case = tuple[ImplicitDiffusion, tuple[int, ...]]


def random_module(channels: int, seed: int = 0, **options: Any) -> ImplicitDiffusion:
    """In float64, with random parameters: all that follows must hold for any."""
    module = ImplicitDiffusion(channels, **options).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return module


@st.composite
def cases(draw: st.DrawFn, backends: tuple[str, ...] = ("fourier", "cosine", "sweeps")) -> Case:
    backend, symbol = draw(st.sampled_from([kind for kind in KINDS if kind[0] in backends]))
    dims = draw(st.sampled_from([1, 2, 2, 3]))
    kernel_size = draw(st.sampled_from([3, 5])) if backend == "fourier" and dims < 3 else 3
    smallest = kernel_size if backend == "fourier" else 1
    size = tuple(draw(st.integers(smallest, smallest + 5 - dims)) for _ in range(dims))
    module = random_module(
        draw(st.integers(1, 3)),
        draw(st.integers(0, 99)),
        backend=backend,
        symbol=symbol,
        dims=dims,
        kernel_size=kernel_size,
        h=draw(st.sampled_from([0.01, 0.5, 1.0, 8.0])),
        zero_mean=draw(st.booleans()),
        sweeps=draw(st.integers(1, 5)),
        acceleration=draw(st.sampled_from(["richardson", "chebyshev"])),
    )
    return module, size


def periodic_matrix(stencil: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Row i sums what the stencil meets around pixel i, one entry at a time."""
    n = prod(size)
    matrix, pixels = np.zeros((n, n)), np.arange(n).reshape(size)
    for index in product(*map(range, size)):
        for tap in product(*map(range, stencil.shape)):
            there = tuple((i + t - k // 2) % m for i, t, k, m in zip(index, tap, stencil.shape, size, strict=True))
            matrix[pixels[index], pixels[there]] += stencil[tap]
    return matrix


def reflecting_second_difference(n: int) -> np.ndarray:
    padded = np.pad(np.eye(n), ((0, 0), (1, 1)), mode="symmetric")
    return (2 * padded[:, 1:-1] - padded[:, :-2] - padded[:, 2:]).T


def dense_operator(module: ImplicitDiffusion, size: tuple[int, ...], channel: int) -> np.ndarray:
    """L of one channel, straight from its definition."""
    if module.backend == "fourier":
        stencil = module.stencil.detach().numpy()[channel]
        b = periodic_matrix(stencil - stencil.mean() if module.zero_mean else stencil, size)
        if module.symbol == "gram":
            return b.T @ b
        values, vectors = np.linalg.eigh((b + b.T) / 2)
        return vectors @ np.diag(np.abs(values)) @ vectors.T
    factors = np.log1p(np.exp(module.strength.detach().numpy()[channel]))
    if not module.zero_mean:
        constant, factors = factors[0], factors[1:]
    else:
        constant = 0.0

    def along(*axes: int) -> np.ndarray:
        ones = [reflecting_second_difference(n) if axis in axes else np.eye(n) for axis, n in enumerate(size)]
        return reduce(np.kron, ones)

    dims = len(size)
    sets = [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]
    sets = [axes for axes in sets if max(axes) < dims]
    if module.symbol == "isotropic":
        terms = factors[0] * sum(along(axis) for axis in range(dims))
    else:
        terms = sum(factor * along(*axes) for factor, axes in zip(factors, sets, strict=True))
    return constant * np.eye(prod(size)) + terms


def matrix_of(function: Any, module: ImplicitDiffusion, size: tuple[int, ...]) -> np.ndarray:
    """(channels, n, n): the columns are what the function makes of the unit images."""
    n = prod(size)
    units = torch.eye(n, dtype=torch.float64).view(n, 1, *size).expand(n, module.channels, *size)
    with torch.no_grad():
        return function(units).reshape(n, module.channels, n).permute(1, 2, 0).numpy()
