"""The one way of walking levels: down by restriction, up by corrections."""

from collections.abc import Callable, Sequence

from torch import Tensor

Operator = Callable[[Tensor], Tensor]


def v_cycle(x: Tensor, restrict: Sequence[Operator], relax: Sequence[Operator], prolong: Sequence[Operator]) -> Tensor:
    """A V(0,1) cycle of the full approximation scheme (MGIC paper, Algorithm 1).

    x_0 = x;  x_{l+1} = R_l x_l;  y_{L-1} = B_{L-1}(x_{L-1});  y_l = B_l(x_l + P_l(y_{l+1} - x_{l+1})), l = L-2 .. 0.

    Only the *difference* to what was restricted is prolonged, so identity relaxations make an identity cycle.
    There is no pre-relaxation, and the coarsest level is the only one that sees all channels at once.

    Args:
        x: input on the finest level.
        restrict: R_0 .. R_{L-2}; `restrict[l]` maps level l to l + 1, any norm included.
        relax: B_0 .. B_{L-1}, shape-keeping.
        prolong: P_0 .. P_{L-2}; `prolong[l]` maps level l + 1 to l, any norm included.

    Returns:
        y_0, of the shape of `x`.
    """
    levels = [x]
    for down in restrict:
        levels.append(down(levels[-1]))
    y = relax[-1](levels[-1])
    for level in reversed(range(len(restrict))):
        correction = prolong[level](y - levels[level + 1])
        y = relax[level](levels[level] + correction)
    return y
