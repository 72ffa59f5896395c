"""The one way of walking levels: down by restriction, up by corrections."""

from collections.abc import Callable, Iterable, Sequence

from torch import Tensor

from torchmg.hierarchy import Cycle, CycleKind
from torchmg.hierarchy.cycle import below

Operator = Callable[[Tensor], Tensor]
Uses = Iterable[Operator]
"""One operator as it is at each of its uses in a cycle, in order: the same weights, norms of its own."""

PAPER = Cycle()


def fas_cycle(
    x: Tensor, restrict: Sequence[Uses], relax: Sequence[Uses], prolong: Sequence[Uses], cycle: Cycle = PAPER
) -> Tensor:
    """One cycle of the full approximation scheme; the default V(0,1) is the MGIC paper's Algorithm 1.

    A visit of level l with x_l:    `pre` times  x_l <- B_l(x_l)
                                    x_{l+1} = R_l x_l
                                    y_{l+1} = x_{l+1} after one or two visits of level l + 1 (see `Cycle`)
                                    x_l <- x_l + P_l(y_{l+1} - x_{l+1})
                                    `post` times  x_l <- B_l(x_l)
    A visit of the coarsest:        x_{L-1} <- B_{L-1}(x_{L-1}).

    Only the *difference* to what was restricted is prolonged, so identity relaxations make an identity cycle.

    Args:
        x: input on the finest level.
        restrict: R_0 .. R_{L-2}; `restrict[l]` maps level l to l + 1, any norm included, once for each visit of l.
        relax: B_0 .. B_{L-1}, shape-keeping, once for each of `cycle.relaxations`.
        prolong: P_0 .. P_{L-2}; `prolong[l]` maps level l + 1 to l, any norm included, once for each visit of l.
        cycle: which levels are visited how often.

    Returns:
        y_0, of the shape of `x`.
    """
    down, smooth, up = ([iter(uses) for uses in levels] for levels in (restrict, relax, prolong))

    def visit(level: int, x: Tensor, kind: CycleKind) -> Tensor:
        if level + 1 == len(smooth):
            return next(smooth[level])(x)
        for _ in range(cycle.pre):
            x = next(smooth[level])(x)
        restricted = y = next(down[level])(x)
        for coarser in below(kind, level, len(smooth)):
            y = visit(level + 1, y, coarser)
        x = x + next(up[level])(y - restricted)
        for _ in range(cycle.post):
            x = next(smooth[level])(x)
        return x

    return visit(0, x, cycle.kind)
