"""The additive multigrid operator nearest to a dense kernel.

A dense kernel W is to become K_0 + P_1 (K_1 + P_2 (K_2 + ...) R_2) R_1 with block-diagonal K_l, P_l, R_l. What lies
between two groups of level 0 is made by coarser levels only, and in the rows of one group all of it has the columns of
P_1's block for a basis; so the singular vectors of those rows give P_1, those of the columns give R_1, and what is
between them, C_1 = P_1^T W R_1^T, is the same problem at half the width. Kernels that are such a hierarchy come back
exactly; for others, sweeps go on from there (`bases`, and `weighted` where inputs count by how they vary).

Sources: nested bases from singular vectors are those of hierarchically semiseparable matrices (Chandrasekaran, Gu, Pals
2006), the alternation between both sides is that of orthogonal Tucker decompositions (De Lathauwer, De Moor, Vandewalle
2000). To take them for the transfers of an additive multigrid operator is ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from torchmg.conversion.bases import Bases, improve, leading, lifted, start
from torchmg.conversion.block_diagonal import diagonal, left, off_diagonal, right, spread
from torchmg.conversion.weighted import Operators, conditioned, refine, whitener
from torchmg.errors import GroupError, ShapeError, UsageError

_ENOUGH = 1e-4
"""Sweeps end when one lowers the error by less than this share of it."""
_ROUNDING = 1e-13
"""Relative errors below this are rounding."""


@dataclass
class Factors:
    """The operators of an additive hierarchy with L levels, each as the weights of a grouped layer."""

    levels: list[Tensor]
    """K_l, (rows_l, columns_l / g_l, taps), with rows and columns halved from level to level."""
    restrict: list[Tensor]
    """R_1 to R_(L-1), (columns_l / 2, columns_l / g_l), from level l to the next."""
    prolong: list[Tensor]
    """P_1 to P_(L-1), (rows_l, rows_l / (2 g_l))."""


def dense(factors: Factors, groups: Sequence[int]) -> Tensor:
    """The kernel (out, in, taps) that the factors stand for.

    Args:
        factors: as `factorise` gives them.
        groups: number of groups of every level, finest first, the last 1.
    """
    *fine, coarse = [spread(level.unflatten(0, (g, -1))) for level, g in zip(factors.levels, groups, strict=True)]
    for level in reversed(range(len(fine))):
        down, up = (f[level].unflatten(0, (groups[level], -1)) for f in (factors.restrict, factors.prolong))
        coarse = fine[level] + left(up, right(coarse, down))
    return coarse.permute(1, 2, 0).contiguous()


@torch.no_grad()
def factorise(
    weight: Tensor, groups: Sequence[int], *, sweeps: int = 30, input_moment: Tensor | None = None
) -> tuple[Factors, float]:
    """Factors of the additive hierarchy nearest to a kernel, in float64.

    Exact, to rounding, if the kernel is such a hierarchy and each group is a union of groups of the level before (as
    where all have the same size); else near a local minimum of the error. P_l has orthonormal columns, and R_l
    orthonormal rows where there is no moment.

    Args:
        weight: (out, in, taps), a floating type.
        groups: number of groups of every level, finest first, the last 1; a single 1 is the dense kernel itself.
        sweeps: most improvements of all bases after the start; fewer if the error no longer falls.
        input_moment: (in, in), the mean of x x^T over data and positions, of the inputs x of the layer. With it the
            error that is made small is the mean square of the output's, for inputs that do not depend on each other at
            different taps. 1e-4 of its mean variance
            is added to each channel, so that weights of silent channels stay near the kernel's.

    Returns:
        The factors, and the error relative to the norm of `weight`: of Frobenius, or ||(W - V) M^(1/2)|| of the
        moment. 0 for a kernel of zeros.

    Raises:
        ShapeError: another number of axes, a moment of another width.
        GroupError: groups that cut a level unevenly or have no half.
        UsageError: entries that are not finite, a negative number of sweeps, or a last level in groups.
    """
    _check(weight, groups, sweeps)
    goal = weight.detach().double().permute(2, 0, 1).contiguous()
    _check_moment(weight.shape[1], input_moment)
    if len(groups) == 1:
        return Factors([weight.detach().double().contiguous()], [], []), 0.0
    if input_moment is None:
        bases, error = _fit(goal, groups, sweeps)
        return _factors(_operators(bases, groups)), error
    operators, error = _fit_weighted(goal, groups, sweeps, conditioned(input_moment.to(goal)))
    return _factors(operators), error


@torch.no_grad()
def estimated_loss(weight: Tensor, groups: Sequence[int]) -> float:
    """About the squared relative error of `factorise` without sweeps, in float32 and a fraction of its time.

    What each level loses is the energy between its groups less what its bases hold of it; that groups of later levels
    give some of it back is left out. So it is not below what the start loses, but for rounding.

    Args:
        weight: (out, in, taps).
        groups: as in `factorise`.
    """
    target = weight.detach().float().permute(2, 0, 1).contiguous()
    whole, lost = target.square().sum().item(), 0.0
    for g in groups[:-1]:
        between = off_diagonal(target, g)
        target = left(leading(between, g).mT, right(between, leading(between.mT, g)))
        lost += between.square().sum().item() - target.square().sum().item()
    return max(lost, 0.0) / whole if whole else 0.0


def _fit_weighted(goal: Tensor, groups: Sequence[int], sweeps: int, moment: Tensor) -> tuple[Operators, float]:
    # The groups' own moments are as good as none: they go into K_0 and R_1. The rest takes other steps.
    root = whitener(moment, groups[0])
    bases, _ = _fit(right(goal, root), groups, sweeps)
    operators = _operators(bases, groups)
    inverse = torch.linalg.inv(root)
    operators.levels[0] = torch.einsum("goit,gij->gojt", operators.levels[0], inverse)
    operators.restrict[0] = operators.restrict[0] @ inverse
    return operators, refine(goal, groups, operators, moment, sweeps, _ENOUGH)


def _fit(goal: Tensor, groups: Sequence[int], sweeps: int) -> tuple[Bases, float]:
    size = goal.norm().item() or 1.0
    bases = start(goal, groups)
    error = (goal - bases.operators[0]).norm().item() / size
    for _ in range(sweeps):
        before = error
        improve(goal, groups, bases)
        error = (goal - bases.operators[0]).norm().item() / size
        if error <= _ROUNDING or before - error < _ENOUGH * before:
            break
    return bases, error


def _operators(bases: Bases, groups: Sequence[int]) -> Operators:
    """All K_l, R_l and P_l by blocks."""
    levels = []
    for level, g in enumerate(groups):
        own = bases.operators[level]
        levels.append(diagonal(own - lifted(bases, level) if level < len(groups) - 1 else own, g))
    return Operators(levels, [r.mT for r in bases.columns], bases.rows)


def _factors(operators: Operators) -> Factors:
    parts = (operators.levels, operators.restrict, operators.prolong)
    return Factors(*([block.flatten(0, 1).contiguous() for block in part] for part in parts))


def _check(weight: Tensor, groups: Sequence[int], sweeps: int) -> None:
    """Raise unless the groups fit the kernel; see `factorise`."""
    if weight.dim() != 3 or 0 in weight.shape:
        raise ShapeError(f"A kernel to factorise is (out, in, taps); got {tuple(weight.shape)}. Flatten its taps.")
    if not groups or groups[-1] != 1:
        raise UsageError(f"The coarsest level is full, so the last number of groups is 1; got {tuple(groups)}.")
    if sweeps < 0:
        raise UsageError(f"sweeps must be at least 0; got {sweeps}.")
    if not bool(torch.isfinite(weight).all()):
        raise UsageError("A kernel to factorise has entries that are not finite numbers.")
    for width in weight.shape[:2]:
        for level, (g, after) in enumerate(pairwise(groups)):
            here = width >> level
            if g < 1 or here % (2 * g) or (here // 2) % after:
                raise GroupError(
                    f"Level {level} of a kernel with {width} channels cannot have {g} groups: {here} channels are not "
                    f"cut into {g} even parts, or their half not into {after}. Use the groups of a LayerHierarchy."
                )


def _check_moment(width: int, moment: Tensor | None) -> None:
    """Raise unless it is a moment of so many inputs."""
    if moment is None:
        return
    if moment.shape != (width, width):
        raise ShapeError(f"The moment of {width} inputs is ({width}, {width}); got {tuple(moment.shape)}.")
    if not bool(torch.isfinite(moment).all()) or bool((moment.diagonal() < 0).any()):
        raise UsageError("The moment of inputs has finite entries and variances that are not negative.")
