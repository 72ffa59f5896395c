"""One setting per site so that a budget is met at the smallest total estimated loss.

Every site (a layer or block that may be replaced) has a menu of choices, each with a cost and an estimated loss, and
exactly one choice of each menu is taken: a multiple-choice knapsack, which `torchmg.conversion.knapsack` solves.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import fsum, inf, isfinite
from typing import Literal, NamedTuple

from torchmg.conversion.knapsack import Front, solve
from torchmg.errors import BudgetError, UsageError

Measure = Literal["params", "macs"]


@dataclass(frozen=True)
class Choice:
    """One way to build one site.

    Attributes:
        params: Parameters the site has with this choice.
        macs: Multiply-accumulates of one forward pass of the site on one example.
        loss: Estimated loss added when this choice is taken, finite and >= 0; the dense original has 0. Losses of
            different sites are added up, so all must be on one scale.
        label: The settings this choice stands for; only compared for equality, by `best_uniform`.
    """

    params: int
    macs: int
    loss: float
    label: Hashable

    def cost(self, by: Measure) -> int:
        """The parameters or the multiply-accumulates, whichever the budget counts."""
        return self.params if by == "params" else self.macs


class Total(NamedTuple):
    """What a selection of choices comes to.

    Attributes:
        cost: Parameters or multiply-accumulates of the whole network, the fixed part included.
        loss: Sum of the estimated losses.
    """

    cost: int
    loss: float


def minimum(menus: Sequence[Sequence[Choice]], by: Measure = "params", fixed: int = 0) -> int:
    """The least cost that can be reached: the cheapest choice everywhere, plus what is fixed.

    Args:
        menus: The choices of every site; no menu may be empty.
        by: What is counted.
        fixed: Cost of everything that is not up for choice.

    Raises:
        UsageError: For an empty menu, a negative cost, a loss that is negative or not finite, or an unknown measure.
    """
    _check(menus, by, fixed)
    return fixed + sum(min(choice.cost(by) for choice in menu) for menu in menus)


def total(menus: Sequence[Sequence[Choice]], picks: Sequence[int], by: Measure = "params", fixed: int = 0) -> Total:
    """Cost and loss of taking choice `picks[i]` of menu `i`.

    Args:
        menus: The choices of every site.
        picks: One index into each menu.
        by: What is counted.
        fixed: Cost of everything that is not up for choice.

    Raises:
        UsageError: When there are not as many picks as menus, or one lies outside its menu.
    """
    if len(picks) != len(menus):
        raise UsageError(f"{len(picks)} picks for {len(menus)} menus; give one index per menu.")
    for site, (menu, pick) in enumerate(zip(menus, picks, strict=True)):
        if not 0 <= pick < len(menu):
            raise UsageError(f"Pick {pick} of site {site} is outside its menu; it has {len(menu)} choices, from 0.")
    taken = [menu[pick] for menu, pick in zip(menus, picks, strict=True)]
    return Total(fixed + sum(choice.cost(by) for choice in taken), fsum(choice.loss for choice in taken))


def best_uniform(
    menus: Sequence[Sequence[Choice]], limit: int, by: Measure = "params", fixed: int = 0
) -> list[int] | None:
    """The best selection within the limit that uses one label everywhere.

    Every label that occurs is tried. A site takes its first choice with that label, or the last choice of its menu
    when it has none, so menus should list the dense original last.

    Args:
        menus: The choices of every site; no menu may be empty.
        limit: The most the whole network may cost.
        by: What is counted.
        fixed: Cost of everything that is not up for choice.

    Returns:
        One index per menu with the smallest total loss, among equals the cheapest, among these the label that comes
        first; None when no label meets the limit.

    Raises:
        UsageError: For an empty menu, a negative cost, a loss that is negative or not finite, or an unknown measure.
    """
    _check(menus, by, fixed)
    if not menus:
        return [] if fixed <= limit else None
    sites_with: dict[Hashable, dict[int, int]] = {}
    for site, menu in enumerate(menus):
        for index, choice in enumerate(menu):
            sites_with.setdefault(choice.label, {}).setdefault(site, index)
    last = [len(menu) - 1 for menu in menus]
    last_cost = fixed + sum(menu[-1].cost(by) for menu in menus)
    last_losses = [menu[-1].loss for menu in menus]
    best: tuple[float, int] = (inf, 0)
    best_label = None
    for label, where in sites_with.items():
        cost = last_cost + sum(menus[s][i].cost(by) - menus[s][-1].cost(by) for s, i in where.items())
        if cost > limit:
            continue
        losses = last_losses.copy()
        for site, index in where.items():
            losses[site] = menus[site][index].loss
        if (value := (fsum(losses), cost)) < best:
            best, best_label = value, label
    if best[0] == inf:
        return None
    return [sites_with[best_label].get(site, index) for site, index in enumerate(last)]


def choose(
    menus: Sequence[Sequence[Choice]],
    limit: int,
    *,
    by: Measure = "params",
    fixed: int = 0,
    names: Sequence[str] | None = None,
) -> list[int]:
    """One choice per site with a total loss as small as can be found within the limit.

    The result is within the limit, never worse than `best_uniform`, and maximal: no single site has a choice of
    smaller loss that would still fit. It is optimal (up to rounding) wherever `MAX_WORK` of the solver suffices, which
    is a matter of sites and choices; where it does not, the best that was found is given. Ties go to the lower index.

    Args:
        menus: The choices of every site, in any order; no menu may be empty.
        limit: The most the whole network may cost.
        by: What is counted.
        fixed: Cost of everything that is not up for choice.
        names: What the sites are called, for the message of an error; default: their indices.

    Returns:
        The index of the chosen entry of each menu.

    Raises:
        BudgetError: When even the cheapest choices exceed the limit.
        UsageError: For an empty menu, a negative cost, a loss that is negative or not finite, or an unknown measure.
    """
    least = minimum(menus, by, fixed)
    if least > limit:
        raise BudgetError(_too_small(menus, limit, by, fixed, least, names))
    if not menus:
        return []
    fronts = [Front.of([(choice.cost(by), choice.loss) for choice in menu]) for menu in menus]
    starts: list[list[int]] = []
    if (uniform := best_uniform(menus, limit, by, fixed)) is not None:
        taken = [menu[index] for menu, index in zip(menus, uniform, strict=True)]
        starts.append([front.at_most(choice.cost(by)) for front, choice in zip(fronts, taken, strict=True)])
    best = solve(fronts, limit - least, starts)
    return [front.index[pick] for front, pick in zip(fronts, best, strict=True)]


def _check(menus: Sequence[Sequence[Choice]], by: Measure, fixed: int) -> None:
    if by not in ("params", "macs"):
        raise UsageError(f"A budget counts 'params' or 'macs', not {by!r}.")
    if fixed < 0:
        raise UsageError(f"The fixed cost is {fixed}; it must be 0 or more.")
    for site, menu in enumerate(menus):
        if not menu:
            raise UsageError(f"The menu of site {site} is empty; list at least the dense original.")
        for index, choice in enumerate(menu):
            if choice.cost(by) < 0:
                raise UsageError(f"Choice {index} of site {site} has {choice.cost(by)} {by}; give 0 or more.")
            if not (isfinite(choice.loss) and choice.loss >= 0):
                raise UsageError(f"Choice {index} of site {site} has the loss {choice.loss}; give a finite one >= 0.")


def _too_small(
    menus: Sequence[Sequence[Choice]], limit: int, by: Measure, fixed: int, least: int, names: Sequence[str] | None
) -> str:
    text = (
        f"No choice meets the limit of {limit:,} {by}: the least that can be reached is {least:,}. "
        f"Of these, {fixed:,} are fixed because they lie outside the {len(menus)} sites up for choice"
    )
    if menus:
        at_least = [min(choice.cost(by) for choice in menu) for menu in menus]
        most = max(range(len(menus)), key=lambda site: at_least[site])
        where = f"site {most}" if names is None else f"'{names[most]}'" if names[most] else "the root"
        text += f", and the cheapest choices need {least - fixed:,} (most at {where}: {at_least[most]:,})"
    way_out = "put more layers up for choice" if fixed > limit else "offer cheaper settings"
    return f"{text}. Raise the limit to {least:,} or {way_out}."
