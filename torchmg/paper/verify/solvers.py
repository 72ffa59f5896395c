"""The library's modules with a known operator's weights: multigrid solvers in float64."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise, repeat

import torch
from torch import Tensor, nn

from torchmg.hierarchy import Correction, Cycle
from torchmg.nn.cycle import fas_cycle
from torchmg.nn.grid import GridProlongation, GridRestriction
from torchmg.nn.mgnet import DataFeature, coarsen
from torchmg.nn.norm import NORMS
from torchmg.nn.sic import SiC

STENCIL = ((0.0, -1.0, 0.0), (-1.0, 4.0, -1.0), (0.0, -1.0, 0.0))
"""-Laplace on a square grid, times the squared mesh size; zero padding is the boundary value zero."""
SMOOTHING = 0.8
"""Damping of Jacobi that is best for the high frequencies of the five-point stencil (factor 0.6)."""
CHAIN_SMOOTHING = 2 / 3
"""The same in one dimension (factor 1/3)."""
SOLVED = 8
"""Channels at which the chain is solved exactly."""
Step = Callable[[Tensor, Tensor], Tensor]


def without_norms(module: nn.Module) -> None:
    """Replace norms and activations by identities, in place, and what is left by its float64 form."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, (*NORMS, nn.ReLU)):
                parent.add_module(name, nn.Identity())
    module.double().requires_grad_(False)


class Reaction(nn.Module):
    """u -> A u + u^3: a nonlinear data map."""

    def __init__(self, linear: nn.Module) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, u: Tensor) -> Tensor:
        """Apply it."""
        return self.linear(u) + u**3


class GridSolver(nn.Module):
    """-Laplace u (+ u^3) = f on the unit square, zero on its boundary, by levels of grids of interior points.

    Args:
        points: 2^k - 1 points a side; each coarser level has (points - 1) / 2, the last one point.
        cycle: which levels are visited how often.
        nonlinear: add u^3.
        fas: restrict the features, too; without, coarser levels start from zero.
        correction: see `Correction`.
        levels: how many there are; None goes down to one point.
    """

    def __init__(
        self,
        points: int,
        cycle: Cycle,
        *,
        levels: int | None = None,
        nonlinear: bool = False,
        fas: bool = True,
        correction: Correction = "fas",
    ) -> None:
        super().__init__()
        self.shape = (points, points)
        self.walk = cycle
        self.correction: Correction = correction
        sides = [points]
        while sides[-1] > 1 and len(sides) != levels:
            sides.append((sides[-1] - 1) // 2)
        self.relations = nn.ModuleList(DataFeature(1) for _ in sides)
        self.restrict = nn.ModuleList(_down() for _ in sides[1:])
        self.project = nn.ModuleList(_down() for _ in sides[1:] if fas)
        self.prolong = nn.ModuleList(GridProlongation(1) for _ in sides[1:])
        without_norms(self)
        for side, relation in zip(sides, self._relations(), strict=True):
            mesh = 1 / (side + 1)
            relation.data_maps[0].weight.copy_(torch.tensor(STENCIL, dtype=torch.float64) / mesh**2)  # pyright: ignore[reportCallIssue]
            damping = 1.0 if side == 1 and not nonlinear else SMOOTHING
            relation.feature_maps[0].weight.zero_()[..., 1, 1] = damping * mesh**2 / 4  # pyright: ignore
            if nonlinear:
                relation.data_maps[0] = Reaction(relation.data_maps[0])

    def _relations(self) -> list[DataFeature]:
        return [relation for relation in self.relations if isinstance(relation, DataFeature)]

    def residual(self, u: Tensor, f: Tensor) -> Tensor:
        """F - A u on the finest level."""
        return self._relations()[0].residual(u, f)

    def forward(self, u: Tensor, f: Tensor) -> Tensor:
        """One cycle; u and f are (1, 1, points, points)."""
        relations = self._relations()
        projections = self.project if len(self.project) else [None] * len(self.restrict)
        down = [
            repeat(partial(coarsen, fine=fine, coarse=coarse, restrict=r, project=pi))
            for (fine, coarse), r, pi in zip(pairwise(relations), self.restrict, projections, strict=True)
        ]
        relax = [repeat(partial(relation.step, 0)) for relation in relations]
        up = [repeat(p) for p in self.prolong]
        return fas_cycle(u, down, relax, up, self.walk, data=f, correction=self.correction)


def _down() -> GridRestriction:
    return GridRestriction(1, 1, init="full_weighting", boundary="interior")


class ChainSolver(nn.Module):
    """`SiC` whose channels are the cells of a chain with -u'' = f on them, coupled fully at `SOLVED` cells.

    R and Pi average pairs, P copies: piecewise constants. On every level A is that level's own discretisation, cells
    as wide as their number asks, boundary value zero half a cell outside; so corrections have the right size, where
    the triple product R A P would be twice as stiff.

    Args:
        channels: cells, `SOLVED` times a power of two.
        cycle: V, W or F and the steps before and after; the coarsest level is solved whatever it says.
    """

    def __init__(self, channels: int, cycle: Cycle) -> None:
        super().__init__()
        self.shape = (channels,)
        self.sic = SiC(
            channels,
            group_size=channels,
            coarsest=SOLVED,
            eta_pre=cycle.pre,
            eta_post=cycle.post,
            cycle=cycle.kind,
            dims=0,
        )
        without_norms(self.sic)
        for transfer in (*self.sic.restrict, *self.sic.project):
            transfer.rows.fill_(0.5)  # pyright: ignore[reportCallIssue]
        for transfer in self.sic.prolong:
            transfer.rows.fill_(1.0)  # pyright: ignore[reportCallIssue]
        for relation in self.sic.relax:
            assert isinstance(relation, DataFeature)
            chain = chain_laplacian(relation.channels)
            inverse = chain.inverse() if relation.channels == SOLVED else (CHAIN_SMOOTHING / chain.diag()).diag()
            relation.data_maps[0].weight.copy_(chain)  # pyright: ignore[reportCallIssue]
            relation.feature_maps[0].weight.copy_(inverse)  # pyright: ignore[reportCallIssue]

    def residual(self, u: Tensor, f: Tensor) -> Tensor:
        """F - A u on the finest level."""
        return self.sic.finest.residual(u, f)

    def forward(self, u: Tensor, f: Tensor) -> Tensor:
        """One cycle; u and f are (1, channels)."""
        return self.sic(u, f)


def chain_laplacian(cells: int) -> Tensor:
    """-u'' on `cells` cells of the unit interval as a dense matrix, zero at both ends, half a cell from a centre."""
    ones = torch.ones(cells - 1, dtype=torch.float64)
    matrix = 2 * torch.eye(cells, dtype=torch.float64) - ones.diag(1) - ones.diag(-1)
    matrix[0, 0] = matrix[-1, -1] = 3
    return matrix * cells**2


@torch.no_grad()
def history(solver: GridSolver | ChainSolver, f: Tensor, cycles: int) -> tuple[Tensor, list[float]]:
    """(u, norms of f - A u) from u = 0 over `cycles` cycles; the first norm is that of f."""
    u = torch.zeros_like(f)
    norms = [solver.residual(u, f).norm().item()]
    for _ in range(cycles):
        u = solver(u, f)
        norms.append(solver.residual(u, f).norm().item())
    return u, norms
