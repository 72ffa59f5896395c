"""Multiple-choice knapsack: one entry of every menu, within a cost, at the smallest total loss.

The way there (H. Kellerer, U. Pferschy and D. Pisinger, "Knapsack Problems", Springer 2004, chapter 11):

1. drop the entries of a menu that another one beats in cost and loss;
2. raise all menus from their cheapest entry along their lower convex hulls, steepest fall of the loss per unit of
   cost first, which also solves the linear relaxation and gives its multiplier;
3. fill what is left with single raises;
4. look for something better among all partial selections that the multiplier's bound does not rule out. This is
   exact as long as all of them can be kept, and a beam search where they would be too many.

Work is bounded by a count (`MAX_WORK`), not by a clock, so equal input gives equal output on every machine.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import fsum, inf

import numpy as np
import numpy.typing as npt

MAX_WORK = 1_000_000
"""Partial selections the search may look at."""


@dataclass(frozen=True)
class Front:
    """The choices of a menu that no other beats in cost and loss: costs rise and losses fall, both strictly.

    Attributes:
        least: Cost of the cheapest choice.
        cost: Costs above `least`, so the first is 0.
        loss: Losses.
        index: Where each stands in the menu.
    """

    least: int
    cost: npt.NDArray[np.int64]
    loss: npt.NDArray[np.float64]
    index: list[int]

    @staticmethod
    def of(menu: Sequence[tuple[int, float]]) -> "Front":
        """The front of a menu of (cost, loss); of equal entries the first."""
        kept: list[tuple[int, float, int]] = []
        for cost, loss, index in sorted((cost, loss, index) for index, (cost, loss) in enumerate(menu)):
            if not kept or loss < kept[-1][1]:
                kept.append((cost, loss, index))
        least = kept[0][0]
        costs = np.array([cost - least for cost, _, _ in kept], np.int64)
        return Front(least, costs, np.array([loss for _, loss, _ in kept]), [index for _, _, index in kept])

    def at_most(self, cost: int) -> int:
        """The position of smallest loss among those that cost no more."""
        return int(np.searchsorted(self.cost, cost - self.least, side="right")) - 1

    def hull(self) -> list[int]:
        """The positions on the lower convex hull, from the cheapest to the one of smallest loss."""
        hull: list[int] = []
        for new in range(len(self.cost)):
            while len(hull) > 1 and self.rate(hull[-2], hull[-1]) <= self.rate(hull[-1], new):
                hull.pop()
            hull.append(new)
        return hull

    def rate(self, start: int, end: int) -> float:
        """Fall of the loss per unit of cost between two positions."""
        return float(self.loss[start] - self.loss[end]) / int(self.cost[end] - self.cost[start])


def solve(fronts: Sequence[Front], room: int, starts: Sequence[list[int]] = ()) -> list[int]:
    """A selection of small loss that costs at most `room` more than the cheapest one.

    Args:
        fronts: The choices of every site, at least one site.
        room: What may be spent above the cheapest choices, >= 0.
        starts: Selections within `room`; the result is not worse than any of them.

    Returns:
        One position per front. No single position can be raised within `room`.
    """
    # More than everything is never needed, and keeps the numbers small.
    room = min(room, sum(int(front.cost[-1]) for front in fronts))
    raised, rate = _raise_along_hulls(fronts, room)
    best = min((_fill(fronts, start, room) for start in (raised, *starts)), key=lambda picks: _loss(fronts, picks))
    if (searched := _search(fronts, room, rate, best)) is not None:
        best = min(best, _fill(fronts, searched, room), key=lambda picks: _loss(fronts, picks))
    return best


def _loss(fronts: Sequence[Front], picks: list[int]) -> float:
    return fsum(float(front.loss[pick]) for front, pick in zip(fronts, picks, strict=True))


def _raise_along_hulls(fronts: Sequence[Front], room: int) -> tuple[list[int], float]:
    """Positions up to the first raise that does not fit, and the rate of that one (0 when all fit)."""
    raises: list[tuple[float, int, int]] = []
    for site, front in enumerate(fronts):
        rate = inf
        for start, end in pairwise(front.hull()):
            # Rounding must not let a later raise of a site come before an earlier one.
            rate = min(rate, front.rate(start, end))
            raises.append((-rate, site, end))
    picks = [0] * len(fronts)
    for minus_rate, site, end in sorted(raises):
        extra = int(fronts[site].cost[end] - fronts[site].cost[picks[site]])
        if extra > room:
            return picks, -minus_rate
        picks[site] = end
        room -= extra
    return picks, 0.0


def _fill(fronts: Sequence[Front], start: list[int], room: int) -> list[int]:
    """Single raises, steepest fall of the loss per unit of cost first, until none fits."""
    width = max(len(front.cost) for front in fronts)
    costs = np.zeros((len(fronts), width), np.int64)
    losses = np.full((len(fronts), width), inf)
    for site, front in enumerate(fronts):
        costs[site, : len(front.cost)] = front.cost
        losses[site, : len(front.loss)] = front.loss
    rows = np.arange(len(fronts))
    picks = np.array(start)
    room -= int(costs[rows, picks].sum())
    while True:
        extra = costs - costs[rows, picks][:, None]
        gain = losses[rows, picks][:, None] - losses
        fits = (gain > 0) & (extra <= room)
        if not fits.any():
            return [int(pick) for pick in picks]
        rates = np.divide(gain, extra, out=np.full_like(gain, -1.0), where=fits)
        site, pick = divmod(int(rates.argmax()), width)
        room -= int(extra[site, pick])
        picks[site] = pick


def _search(fronts: Sequence[Front], room: int, rate: float, best: list[int]) -> list[int] | None:
    """A selection at least as good as `best`, or None when the bound shows or the search finds that there is none.

    With the multiplier `rate`, the loss of a selection is a constant (the bound) plus the excess of every pick's
    `loss + rate * cost` over its site's smallest, plus `rate` times the room left over. No term is negative, so a
    partial selection whose excess is above that of `best` cannot lead to anything better.
    """
    weighed = [front.loss + rate * front.cost for front in fronts]
    excess = [values - values.min() for values in weighed]
    spent = sum(int(front.cost[pick]) for front, pick in zip(fronts, best, strict=True))
    gap = fsum(float(values[pick]) for values, pick in zip(excess, best, strict=True)) + rate * (room - spent)
    if gap <= 0:
        return None
    gap *= 1 + 1e-9
    kept = [np.flatnonzero(values <= gap) for values in excess]
    most_states = max(MAX_WORK // sum(at.size for at in kept), 16)

    # Sites with small raises come last: they fill the room the others leave.
    order = sorted(range(len(fronts)), key=lambda site: (-int(fronts[site].cost[kept[site][-1]]), site))
    least_to_come = sum(int(front.cost[at[0]]) for front, at in zip(fronts, kept, strict=True))
    most_to_come = sum(int(front.cost[at[-1]]) for front, at in zip(fronts, kept, strict=True))
    cost, loss, over = np.zeros(1, np.int64), np.zeros(1), np.zeros(1)
    trail: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] = []
    for site in order:
        front, at = fronts[site], kept[site]
        least_to_come -= int(front.cost[at[0]])
        most_to_come -= int(front.cost[at[-1]])
        cost = np.add.outer(cost, front.cost[at]).ravel()
        loss = np.add.outer(loss, front.loss[at]).ravel()
        over = np.add.outer(over, excess[site][at]).ravel()
        wasted = rate * np.maximum(room - cost - most_to_come, 0)
        alive = np.flatnonzero((cost + least_to_come <= room) & (over + wasted <= gap))
        alive = alive[_undominated(cost[alive], loss[alive])]
        alive = alive[_thinned(cost[alive], over[alive], most_states)]
        if not alive.size:
            return None
        cost, loss, over = cost[alive], loss[alive], over[alive]
        trail.append((alive // at.size, at[alive % at.size]))
    picks = [0] * len(fronts)
    state = int(loss.argmin())
    for site, (parents, positions) in zip(reversed(order), reversed(trail), strict=True):
        picks[site] = int(positions[state])
        state = int(parents[state])
    return picks


def _undominated(cost: npt.NDArray[np.int64], loss: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Where loss is below that of everything as cheap, in the order of rising cost."""
    order = np.lexsort((loss, cost))
    ordered = loss[order]
    before = np.concatenate(([inf], np.minimum.accumulate(ordered)[:-1])) if order.size else ordered
    return order[ordered < before]


def _thinned(cost: npt.NDArray[np.int64], over: npt.NDArray[np.float64], most: int) -> npt.NDArray[np.int64]:
    """At most `most` of the states, the one of smallest excess of each interval of cost."""
    if cost.size <= most:
        return np.arange(cost.size)
    # Costs rise strictly here, so the span is not zero.
    interval = ((cost - cost[0]) / (cost[-1] - cost[0]) * (most - 1)).astype(np.int64)
    order = np.lexsort((over, interval))
    _, first = np.unique(interval[order], return_index=True)
    return np.sort(order[first])
