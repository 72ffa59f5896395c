"""Additive hierarchies whose error counts by the moment of the inputs: ||(W - V) M^(1/2)||, M = E[x x^T].

Then the columns of different groups are not orthogonal to each other, and K_l, P_l and R_l are improved in turn, each
for the others as they are. With the restrictions before it, level l has inputs of moment M_l = R_l M_(l-1) R_l^T, and
with the prolongations a cross moment X_l of what it should give with these inputs; so all levels look alike. K_l is a
solve for each block, P_l a Procrustes problem, and R_l, whose blocks M couples, takes some steps of conjugate gradients
from where it is. None makes the error larger.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from torchmg.conversion.bases import polar
from torchmg.conversion.block_diagonal import cut, diagonal, left, right, spread

_RIDGE = 1e-4
"""Of the mean variance, added to each channel's."""
_STEPS = 4
"""Of conjugate gradients for one restriction in one sweep."""


@dataclass
class Operators:
    """All operators by blocks: K_l (g_l, rows, columns, taps), R_l (g, half, columns), P_l (g, rows, half)."""

    levels: list[Tensor]
    restrict: list[Tensor]
    prolong: list[Tensor]

    def dense(self) -> list[Tensor]:
        """All C_l, (taps, rows, columns), the whole kernel first."""
        made = [spread(self.levels[-1])]
        for level in reversed(range(len(self.restrict))):
            made.append(spread(self.levels[level]) + left(self.prolong[level], right(made[-1], self.restrict[level])))
        return made[::-1]


def conditioned(moment: Tensor) -> Tensor:
    """The moment (in, in), symmetric and with a ridge; the identity in place of zeros."""
    eye = torch.eye(len(moment), dtype=moment.dtype, device=moment.device)
    mean = moment.diagonal().mean()
    return (moment + moment.T) / 2 + _RIDGE * mean * eye if bool(mean > 0) else eye


def whitener(moment: Tensor, groups: int) -> Tensor:
    """Triangles B (groups, size, size) with B B^T the diagonal blocks of the moment."""
    return torch.linalg.cholesky(diagonal(moment[None], groups)[..., 0])


def refine(
    goal: Tensor, groups: Sequence[int], operators: Operators, moment: Tensor, sweeps: int, enough: float
) -> float:
    """Improve all operators for a goal (taps, rows, columns) and return the relative error.

    Args:
        goal: what the operators should make.
        groups: of every level.
        operators: are changed; prolongations have orthonormal columns, before and after.
        moment: (columns, columns), positive definite.
        sweeps: at most as many, and one more for K_l at the start.
        enough: relative fall of the error in one sweep below which there are no more.
    """
    size = _norm(goal, moment) or 1.0
    error = torch.inf
    for _ in range(sweeps + 1):
        before = error
        made = operators.dense()
        sweep(goal @ moment, groups, operators, made, moment)
        error = _norm(goal - operators.dense()[0], moment) / size
        if error < 1e-13 or before - error < enough * before:
            break
    return error


def sweep(cross: Tensor, groups: Sequence[int], operators: Operators, made: list[Tensor], moment: Tensor) -> None:
    """Improve K_l, P_l and R_l, from the finest level on, for the coarser operators C_l in `made`."""
    for level, g in enumerate(groups[:-1]):
        coarse, down, up = made[level + 1], operators.restrict[level], operators.prolong[level]
        wanted = diagonal(cross - left(up, coarse @ left(down, moment[None])), g)
        kernel = _divided(wanted, moment, g)
        operators.levels[level] = kernel
        rest = cross - torch.stack([left(k, moment[None])[0] for k in kernel.unbind(3)])

        seen = right(rest, down.mT)
        up = polar((seen.unflatten(1, (g, -1)) @ coarse.unflatten(1, (g, -1)).mT).sum(0))
        rest = left(up.mT, rest)
        down = _restriction(rest, coarse, down, moment)
        operators.restrict[level], operators.prolong[level] = down, up
        cross, moment = right(rest, down.mT), left(down, right(moment[None], down.mT))[0]
    operators.levels[-1] = _divided(diagonal(cross, 1), moment, 1)


def _divided(blocks: Tensor, moment: Tensor, groups: int) -> Tensor:
    """Blocks (groups, rows, columns, taps) times the inverses of the moment's diagonal blocks."""
    own = diagonal(moment[None], groups)[..., 0]
    # A level may have silent inputs, of bases for a kernel of lower rank.
    inverse = torch.linalg.pinv(own, rtol=1e-12, hermitian=True)
    return torch.einsum("goit,gij->gojt", blocks, inverse)


def _restriction(cross: Tensor, coarse: Tensor, down: Tensor, moment: Tensor) -> Tensor:
    """Steps from R = diag(down) to the least tr(S R M R^T) - 2 tr(B R^T), S = sum C^T C and B = sum C^T cross."""
    g = len(down)
    square = (coarse.mT @ coarse).sum(0)
    wanted = diagonal((coarse.mT @ cross).sum(0, keepdim=True), g)[..., 0]
    columns = cut(moment[None], g)[0].permute(2, 0, 1, 3).flatten(1, 2)  # (group, all, its own)

    def apply(x: Tensor) -> Tensor:
        return right(square[None], x)[0].unflatten(0, (g, -1)) @ columns

    def inverse(x: Tensor) -> Tensor:
        return torch.linalg.pinv(x, rtol=1e-10, hermitian=True)

    left_inverse = inverse(diagonal(square[None], g)[..., 0])
    right_inverse = inverse(diagonal(moment[None], g)[..., 0])
    residual = wanted - apply(down)
    first = (wanted * wanted).sum()
    solved = left_inverse @ residual @ right_inverse
    direction, slope = solved, (residual * solved).sum()
    for _ in range(_STEPS):
        image = apply(direction)
        bend = (direction * image).sum()
        if not bool(bend > 0) or bool((residual * residual).sum() <= 1e-28 * first):
            break
        length = slope / bend
        down, residual = down + length * direction, residual - length * image
        solved = left_inverse @ residual @ right_inverse
        before, slope = slope, (residual * solved).sum()
        direction = solved + slope / before * direction
    return down


def _norm(x: Tensor, moment: Tensor) -> float:
    return ((x @ moment) * x).sum().clamp_min(0).sqrt().item()
