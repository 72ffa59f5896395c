"""The one way of walking levels: down by restriction, up by corrections."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import Tensor

from torchmg.hierarchy import Correction, Cycle, CycleKind
from torchmg.hierarchy.cycle import below
from torchmg.nn.recompute import Around, at_once

Operator = Callable[..., Any]
Uses = Iterable[Operator]
"""One operator as it is at each of its uses in a cycle, in order: the same weights, norms of its own."""
Features = Tensor | None
"""u of a level; None is zero, which no map need be applied to."""
Smoother = Callable[[Features, Tensor], Tensor]
Restrict = Callable[[Tensor, Tensor], tuple[Features, Tensor]]

PAPER = Cycle()


def fas_cycle(
    u: Features,
    restrict: Sequence[Uses],
    relax: Sequence[Uses],
    prolong: Sequence[Uses],
    cycle: Cycle = PAPER,
    *,
    data: Tensor | None = None,
    correction: Correction = "fas",
    around: Around = at_once,
) -> Tensor:
    """One cycle of the full approximation scheme over features u, and data f where a level has any.

    A visit of level l with u_l, f_l:    `pre` times  u_l <- relax_l(u_l, f_l)
                                         (u_{l+1}, f_{l+1}) = restrict_l(u_l, f_l)
                                         v_{l+1} = u_{l+1} after one or two visits of level l + 1 (see `Cycle`)
                                         u_l <- u_l + prolong_l(v_{l+1} - u_{l+1})
                                         `post` times  u_l <- relax_l(u_l, f_l)
    A visit of the coarsest:             `solve` times  u_l <- relax_l(u_l, f_l).

    Without data it is the MGIC paper's Algorithm 1: every operator takes u alone. With data it is Algorithm 2 of the
    MGiaD paper, where restrict also hands down the data R(f - A u) + A_c(u_c). Only the *difference* to what was
    restricted is prolonged, so a cycle leaves alone what its relaxations leave alone.

    Args:
        u: features on the finest level; None is zero, for operators that know it, as `restrict` may return it.
        restrict: `restrict[l]` maps level l to l + 1, any norm included, once for each visit of l; with data it returns
            a pair.
        relax: shape-keeping, once for each of `cycle.relaxations`.
        prolong: `prolong[l]` maps level l + 1 to l, any norm included, once for each visit of l.
        cycle: which levels are visited how often.
        data: f on the finest level, or None.
        correction: see `Correction`.
        around: calls what computes the finest level's correction, that is all the coarser levels; it may do so again in
            the backward pass (`torchmg.nn.recompute.again`), and then uses must be iterable anew.

    Returns:
        u_0, of the shape of `u`, or of `data`.
    """
    down, smooth, up = ([iter(uses) for uses in levels] for levels in (restrict, relax, prolong))

    def relaxed(times: int, level: int, u: Any, f: tuple[Tensor, ...]) -> Any:
        for _ in range(times):
            u = next(smooth[level])(u, *f)
        return u

    def visit(level: int, u: Features, f: tuple[Tensor, ...], kind: CycleKind) -> Tensor:
        if level + 1 == len(smooth):
            return relaxed(cycle.solve, level, u, f)
        u = relaxed(cycle.pre, level, u, f)
        u = _sum(u, around(anew, u, f, kind) if level == 0 else correct(level, u, f, kind))
        return relaxed(cycle.post, level, u, f)

    def correct(level: int, u: Features, f: tuple[Tensor, ...], kind: CycleKind) -> Tensor:
        # A function of its own: when it returns, the coarse maps are freed.
        restricted = next(down[level])(u, *f)
        coarse, *g = restricted if f else (restricted,)
        v = coarse
        for coarser in below(kind, level, len(smooth)):
            v = visit(level + 1, v, tuple(g), coarser)
        return next(up[level])(v if coarse is None or correction == "plain" else v - coarse)

    def anew(u: Features, f: tuple[Tensor, ...], kind: CycleKind) -> Tensor:
        # All uses below the finest level are in here, so whoever calls it again needs the first ones again.
        down[:], up[:] = [iter(uses) for uses in restrict], [iter(uses) for uses in prolong]
        smooth[1:] = [iter(uses) for uses in relax[1:]]
        return correct(0, u, f, kind)

    return visit(0, u, () if data is None else (data,), cycle.kind)


def _sum(u: Features, correction: Tensor) -> Tensor:
    return correction if u is None else u + correction


def additive_cycle(
    x: Tensor, restrict: Sequence[Operator], apply: Sequence[Operator], prolong: Sequence[Operator]
) -> Tensor:
    """K_0 x + P_1 (K_1 R_1 x + P_2 (K_2 R_2 R_1 x + ...)): every level acts on what was restricted, and all add up.

    Args:
        x: what comes in, on the finest level.
        restrict: from each level but the coarsest to the next.
        apply: K of every level; may change width and resolution.
        prolong: to each level but the coarsest from the next.

    Returns:
        What leaves the finest level.
    """
    inputs = [x]
    for down in restrict:
        inputs.append(down(inputs[-1]))
    y = apply[-1](inputs[-1])
    for level in reversed(range(len(prolong))):
        y = apply[level](inputs[level]) + prolong[level](y)
    return y


def descend(u: Features, f: Tensor, restrict: Sequence[Restrict], relax: Sequence[Smoother]) -> list[Tensor]:
    """The way down of a cycle, from which nothing comes back (a backslash cycle): the form of MgNet and MGiaD.

    On every level l = 1 .. L:    u_l <- relax_l(u_l, f_l)
    and to the next, if any:      (u_{l+1}, f_{l+1}) = restrict_l(u_l, f_l).

    Args:
        u: features on the finest level, zero in the papers, which None stands for.
        f: data on the finest level.
        restrict: from each level but the coarsest to the next.
        relax: each level's smoothing, all its steps at once.

    Returns:
        u_l of every level, finest first.
    """
    features: list[Tensor] = []
    for level, smooth in enumerate(relax):
        if level > 0:
            u, f = restrict[level - 1](features[-1], f)
        features.append(smooth(u, f))
    return features
