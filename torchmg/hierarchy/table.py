"""The printed hierarchy, after pyamg's, and its complexities. No torch."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torchmg.hierarchy.cost import Cost, LevelCost
from torchmg.hierarchy.cycle import Cycle

if TYPE_CHECKING:
    from torchmg.hierarchy.levels import Hierarchy


def operator_complexity(costs: Sequence[LevelCost], transfers: bool = False) -> float:
    """Parameters of all levels over the finest relaxation's; with `transfers`, theirs are added on top."""
    return sum((c.total if transfers else c.relax).parameters for c in costs) / max(costs[0].relax.parameters, 1)


def cycle_complexity(costs: Sequence[LevelCost]) -> float:
    """MACs of one cycle over MACs of one finest relaxation; all levels have the same resolution."""
    return sum(c.total.macs(1) for c in costs) / max(costs[0].relax.weights, 1)


def format_table(
    hierarchy: "Hierarchy",
    costs: Sequence[LevelCost],
    dense: Cost | None = None,
    macs_known: bool = True,
    cycle: Cycle = Cycle(),  # noqa: B008 (a frozen value)
    title: str = "MGIC",
) -> str:
    """The printed hierarchy: totals, complexities, and a row for each level.

    Args:
        hierarchy: the levels.
        costs: what each level costs, finest first.
        dense: cost of the block that it replaces; None leaves the comparison out.
        macs_known: whether `weights` times pixels are the MACs, so that the cycle complexity can be given.
        cycle: what the costs are of.
        title: what kind of hierarchy it is.
    """
    total = sum(c.total.parameters for c in costs)
    parameters = f"parameters {total:,}"
    if dense is not None:
        parameters += f"   fully coupled {dense.parameters:,}   ratio {dense.parameters / max(total, 1):.2f}"
    complexities = (
        f"operator complexity {operator_complexity(costs):.2f} ({operator_complexity(costs, True):.2f} with transfers)"
        f"   grid complexity {hierarchy.grid_complexity:.2f}"
    )
    if macs_known:
        complexities += f"   cycle complexity {cycle_complexity(costs):.2f}"
    count, coupled = len(hierarchy.levels), "in groups" if hierarchy.cut_coarsest else "fully coupled"
    lines = [
        f"{title} hierarchy: {count} level{'s' if count > 1 else ''}, {cycle} cycle, coarsest level {coupled}",
        parameters,
        complexities,
        " level  channels  groups  group size       relax    restrict     prolong",
    ]
    for index, (level, cost) in enumerate(zip(hierarchy.levels, costs, strict=True)):
        transfers = (cost.restrict.parameters, cost.prolong.parameters)
        shown = (f"{t:,}" for t in transfers) if index < count - 1 else ("-", "-")
        row = f"{index:6}  {level.channels:8}  {level.groups:6}  {level.group_size:10}  {cost.relax.parameters:10,}"
        lines.append("  ".join([row, *(f"{t:>10}" for t in shown)]))
    return "\n".join(lines)
