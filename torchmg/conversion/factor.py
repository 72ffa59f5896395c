"""The additive multigrid operator nearest to a dense kernel.

A dense kernel W is to become K_0 + P_1 (K_1 + P_2 (K_2 + ...) R_2) R_1 with block-diagonal K_l, P_l, R_l. What lies
between two groups of level 0 is made by coarser levels only, and in the rows of one group all of it has the columns of
P_1's block for a basis; so the singular vectors of those rows give P_1, those of the columns give R_1, and what is
between them, C_1 = P_1^T W R_1^T, is the same problem at half the width. Kernels that are such a hierarchy come back
exactly.

Bases with orthonormal columns make all K_l explicit: K_l is what C_l has in its diagonal blocks and coarser levels do
not make. So the error is one of bases alone, and sweeps improve these: with all else fixed, the best orthonormal basis
of a group is a Procrustes problem. No step makes the error larger.

Sources: nested bases from singular vectors are those of hierarchically semiseparable matrices (Chandrasekaran, Gu, Pals
2006), the alternation between both sides is that of orthogonal Tucker decompositions (De Lathauwer, De Moor, Vandewalle
2000). To take them for the transfers of an additive multigrid operator is ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from torchmg.conversion.blocks import diagonal, left, off_diagonal, right, spread
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


@dataclass
class Bases:
    """An operator by its bases: P_l and R_l^T as blocks (g_l, size, size / 2), and all C_l as (taps, rows, columns)."""

    rows: list[Tensor]
    columns: list[Tensor]
    operators: list[Tensor]


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
def factorise(weight: Tensor, groups: Sequence[int], *, sweeps: int = 30) -> tuple[Factors, float]:
    """Factors of the additive hierarchy nearest to a kernel, in float64.

    Exact, to rounding, if the kernel is such a hierarchy and each group is a union of groups of the level before (as
    where all have the same size); else a local minimum of the Frobenius error. P_l and R_l^T have orthonormal columns.

    Args:
        weight: (out, in, taps), a floating type.
        groups: number of groups of every level, finest first, the last 1; a single 1 is the dense kernel itself.
        sweeps: most improvements of all bases after the start; fewer if the error no longer falls.

    Returns:
        The factors, and the Frobenius error relative to the norm of `weight` (0 for a kernel of zeros).

    Raises:
        ShapeError: another number of axes.
        GroupError: groups that cut a level unevenly or have no half.
        UsageError: entries that are not finite, a negative number of sweeps, or a last level in groups.
    """
    check(weight, groups, sweeps)
    goal = weight.detach().double().permute(2, 0, 1).contiguous()
    size = goal.norm().item()
    if size == 0:
        size = 1.0
    bases = start(goal, groups)
    error = (goal - bases.operators[0]).norm().item() / size
    for _ in range(sweeps if len(groups) > 1 else 0):
        before = error
        improve(goal, groups, bases)
        error = (goal - bases.operators[0]).norm().item() / size
        if error <= _ROUNDING or before - error < _ENOUGH * before:
            break
    return _factors(bases, groups), error


def start(goal: Tensor, groups: Sequence[int]) -> Bases:
    """Bases from singular vectors, level by level, for a goal (taps, rows, columns)."""
    rows, columns, operators, target = [], [], [goal], goal
    for g in groups[:-1]:
        between = off_diagonal(target, g)
        p, r = dominant(between, g), dominant(between.mT, g)
        rows.append(p)
        columns.append(r)
        # Their diagonal blocks are of no account, K_l has them; so K_l is smallest.
        target = left(p.mT, right(target, r))
        operators.append(target)
    bases = Bases(rows, columns, operators)
    settle(goal, groups, bases)
    return bases


def improve(goal: Tensor, groups: Sequence[int], bases: Bases) -> None:
    """Improve all bases of the rows, then all of the columns."""
    improve_rows(goal, groups, bases)
    settle(goal, groups, bases)
    turned = Bases(bases.columns, bases.rows, [c.mT for c in bases.operators])
    improve_rows(goal.mT, groups, turned)
    settle(goal, groups, bases)


def improve_rows(goal: Tensor, groups: Sequence[int], bases: Bases) -> None:
    """The best P_l of each level, from the finest on, given all coarser operators and the columns' bases."""
    target = goal
    for level, g in enumerate(groups[:-1]):
        coarse = bases.operators[level + 1]
        seen = right(off_diagonal(target, g), bases.columns[level])
        made = off_diagonal(coarse, g)
        match = (seen.unflatten(1, (g, -1)) @ made.unflatten(1, (g, -1)).mT).sum(0)
        bases.rows[level] = polar(match)
        target = left(bases.rows[level].mT, seen) + coarse - made


def settle(goal: Tensor, groups: Sequence[int], bases: Bases) -> None:
    """Bring all operators up to date with the bases: K_l takes over what coarser levels leave of diagonal blocks.

    What a finer level has in its own blocks is free; there a level keeps to what it made before, which matters only
    where groups of the next level cut through such a block.
    """
    targets = [goal]
    for level, g in enumerate(groups[:-1]):
        free = bases.operators[level + 1]
        seen = left(bases.rows[level].mT, right(off_diagonal(targets[-1], g), bases.columns[level]))
        targets.append(seen + free - off_diagonal(free, g))
    bases.operators[-1] = targets[-1]
    for level in reversed(range(len(groups) - 1)):
        made = lifted(bases, level)
        bases.operators[level] = targets[level] - off_diagonal(targets[level] - made, groups[level])


def lifted(bases: Bases, level: int) -> Tensor:
    """What coarser levels make of level `level`: P C R."""
    return left(bases.rows[level], right(bases.operators[level + 1], bases.columns[level].mT))


def dominant(x: Tensor, groups: int) -> Tensor:
    """(groups, size, size / 2): an orthonormal basis of the rows' dominant half in each group of rows of x."""
    stacked = x.unflatten(1, (groups, -1)).permute(1, 0, 3, 2).flatten(1, 2)
    # A triangle has the singular values of the long stack, and all right vectors also if that is short.
    triangle = torch.linalg.qr(stacked, mode="r")[1]
    vectors = torch.linalg.svd(triangle, full_matrices=True)[2]
    return vectors.mT[..., : stacked.shape[2] // 2].contiguous()


def polar(match: Tensor) -> Tensor:
    """The matrices with orthonormal columns that have the largest inner product with (groups, size, size / 2)."""
    u, _, vh = torch.linalg.svd(match, full_matrices=False)
    return u @ vh


def _factors(bases: Bases, groups: Sequence[int]) -> Factors:
    levels = []
    for level, g in enumerate(groups):
        own = bases.operators[level]
        own = own - lifted(bases, level) if level < len(groups) - 1 else own
        levels.append(diagonal(own, g).flatten(0, 1))
    restrict = [r.mT.flatten(0, 1).contiguous() for r in bases.columns]
    return Factors(levels, restrict, [p.flatten(0, 1).contiguous() for p in bases.rows])


def check(weight: Tensor, groups: Sequence[int], sweeps: int) -> None:
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
