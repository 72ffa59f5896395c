"""Couplings of a chosen norm, and the dense matrices of maps: what the tests of steps measure expansion with."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from torchmg.nn.coupling import ChannelCoupling, channel_coupling


def matrix_of(coupling: ChannelCoupling, size: tuple[int, ...]) -> Tensor:
    """The dense matrix of a coupling without bias on maps of `size`."""
    n = coupling.in_channels * torch.Size(size).numel()
    with torch.no_grad():
        return coupling(torch.eye(n, dtype=torch.float64).view(n, coupling.in_channels, *size)).flatten(1).T


def coupling_of_norm(
    name: str, channels: int, size: tuple[int, ...], norm: float, out: int | None = None, **options: Any
) -> ChannelCoupling:
    """A random float64 coupling whose operator norm on maps of `size` is `norm`."""
    coupling = channel_coupling(name, channels, out or channels, dims=len(size), **options).double()
    with torch.no_grad():
        for weight, _ in coupling.variances():
            weight.normal_()
        factor = norm / torch.linalg.matrix_norm(matrix_of(coupling, size), ord=2)
        for weight, _ in coupling.variances():
            weight.mul_(factor)
    return coupling


def jacobian(step: Callable[[Tensor], Tensor], y: Tensor) -> Tensor:
    """The dense Jacobian of a map of one sample at y."""
    dense = torch.autograd.functional.jacobian(step, y)
    return torch.as_tensor(dense).reshape(y.numel(), y.numel()).detach()


def expansion(step: Callable[[Tensor], Tensor], y: Tensor) -> float:
    """By how much the map stretches small differences at y at most."""
    return float(torch.linalg.matrix_norm(jacobian(step, y), ord=2))


class ExactDiffusion(nn.Module):
    """Implicit diffusion by dense matrices: second differences along the last axis, periodic, a strength a channel."""

    def __init__(self, strengths: Tensor, side: int, h: float = 1.0) -> None:
        super().__init__()
        eye = torch.eye(side, dtype=strengths.dtype)
        laplacian = 2 * eye - eye.roll(1, 0) - eye.roll(-1, 0)
        self.register_buffer("matrices", strengths[:, None, None] * laplacian)
        self.h = h

    def operator(self, y: Tensor) -> Tensor:
        return torch.einsum("cij,bc...j->bc...i", self.matrices, y)

    def forward(self, y: Tensor) -> Tensor:
        eye = torch.eye(y.shape[-1], dtype=y.dtype)
        return torch.einsum("cij,bc...j->bc...i", torch.linalg.inv(eye + self.h * self.matrices), y)

    def dense(self) -> Tensor:
        """L on the (channels, side) maps of one sample, flattened."""
        return torch.block_diag(*self.matrices)
