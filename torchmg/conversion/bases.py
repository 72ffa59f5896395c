"""Orthonormal bases of an additive hierarchy: their start from singular vectors, and sweeps that improve them.

With such bases all K_l are explicit: K_l is what C_l = P_l^T C_(l-1) R_l^T has in its diagonal blocks and coarser
levels do not make. So the error is one of bases alone. With all else fixed, the best basis of a group is a Procrustes
problem. No step makes the error larger.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from torchmg.conversion.block_diagonal import left, off_diagonal, right


@dataclass
class Bases:
    """An operator by its bases: P_l and R_l^T as blocks (g_l, size, size / 2), and all C_l as (taps, rows, columns)."""

    rows: list[Tensor]
    columns: list[Tensor]
    operators: list[Tensor]


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


def leading(x: Tensor, groups: int) -> Tensor:
    """What `dominant` gives, by eigenvectors of Gram matrices: faster, with half of the digits."""
    stacked = x.unflatten(1, (groups, -1))
    vectors = torch.linalg.eigh((stacked @ stacked.mT).sum(0))[1]
    return vectors[..., vectors.shape[1] - vectors.shape[1] // 2 :].contiguous()


def polar(match: Tensor) -> Tensor:
    """The matrices with orthonormal columns that have the largest inner product with (groups, size, size / 2)."""
    u, _, vh = torch.linalg.svd(match, full_matrices=False)
    return u @ vh
