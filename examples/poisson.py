"""Solve Poisson's equation with a network whose layers are multigrid in channels.

-Laplace u = f on the unit square, u = 0 on its boundary, f such that u = sin(pi x) sin(pi y). The network minimises the
squared residual at random points (a physics-informed network: Raissi, Perdikaris, Karniadakis, J. Comput. Phys. 2019).
It needs second derivatives, so its relaxation is smooth and has no batch norm: any module that keeps shapes will do.
"""

import torch
from torch import Tensor, nn

from torchmg.nn import GroupedLinear, MGICBlock


class TanhStep(nn.Module):
    """The relaxation of our own: x + K2 tanh(K1 x + b), both linear maps in groups."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.inner = GroupedLinear(channels, channels, groups=groups)
        self.bias = nn.Parameter(torch.zeros(channels))
        self.outer = GroupedLinear(channels, channels, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        """One relaxation of (batch, channels)."""
        return x + self.outer(torch.tanh(self.inner(x) + self.bias))


class Solution(nn.Module):
    """u(x, y) = x (1 - x) y (1 - y) N(x, y), which is 0 on the boundary whatever the network N is."""

    def __init__(self) -> None:
        super().__init__()
        blocks = [MGICBlock(32, relax=TanhStep, coarsest=8, transfer_norm="none", dims=0) for _ in range(2)]
        self.network = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), *blocks, nn.Linear(32, 1))

    def forward(self, points: Tensor) -> Tensor:
        """Values (batch,) at points (batch, 2)."""
        return (points * (1 - points)).prod(1) * self.network(points)[:, 0]


def exact(points: Tensor) -> Tensor:
    """The solution that we pretend not to know."""
    return torch.sin(torch.pi * points).prod(1)


def laplace(u: nn.Module, points: Tensor) -> Tensor:
    """u_xx + u_yy at points (batch, 2)."""
    points = points.clone().requires_grad_()
    (slope,) = torch.autograd.grad(u(points).sum(), points, create_graph=True)
    second = [torch.autograd.grad(slope[:, i].sum(), points, create_graph=True)[0][:, i] for i in range(2)]
    return second[0] + second[1]


def error(u: nn.Module) -> float:
    """Relative L2 error on a grid."""
    grid = torch.cartesian_prod(*[torch.linspace(0, 1, 51)] * 2)
    with torch.no_grad():
        return float((u(grid) - exact(grid)).norm() / exact(grid).norm())


def solve(steps: int = 400, points: int = 64) -> nn.Module:
    """Train by Adam, every step on new random points."""
    torch.manual_seed(0)
    u = Solution()
    optimiser = torch.optim.Adam(u.parameters(), lr=0.005)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for step in range(steps):
        x = torch.rand(points, 2)
        loss = (laplace(u, x) + 2 * torch.pi**2 * exact(x)).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 100 == 99:
            print(f"step {step + 1:4d}   residual {loss.item() ** 0.5:8.4f}   relative L2 error {error(u):.5f}")
    return u


if __name__ == "__main__":
    solve()
