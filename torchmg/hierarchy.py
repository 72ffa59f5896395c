r"""Which levels a multigrid-in-channels block has, and what everything on them costs. No torch.

A `Hierarchy` is decided once, from numbers alone. Level 0 is the finest; every coarser level has half the
channels at the same resolution; every level but the coarsest is cut into groups; the coarsest is coupled
fully. With widths c_l = c / 2^l, group size s and k x k kernels, one relaxation convolution a level costs

    total = (k^2 + 1) s \sum_{l=0}^{L-2} c_l  +  k^2 c_{L-1}^2          (MGIC paper, Eq. 8)

parameters, and as many multiply-accumulates (MACs) for each pixel: linear in c for fixed s and coarsest width.
The `+ 1` is the pair of transfers, which cost c_l s together.

Source: Eliasof, Ephrath, Ruthotto, Treister, "MGIC", SIAM J. Sci. Comput. 2023, sections 3.1 to 3.4.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil, gcd
from typing import Literal, get_args

from torchmg.errors import GroupError, HierarchyWarning, UnknownNameError, UsageError, did_you_mean

StopRule = Literal["le", "le1", "lt1"]
"""When to stop halving a width w against `coarsest` s: `le` at w <= s, possibly at once (the paper's text);
`le1` at w <= s after at least one coarsening (fits the counts of the paper's Table 5); `lt1` at w < s after
at least one (what the authors' published code does)."""

GroupRule = Literal["ceil", "floor", "ceil_down"]
"""How many groups when c / group_size does not divide the widths involved. Of their common divisors, `ceil`
takes the smallest that is at least c / group_size, so that groups are never larger than asked unless nothing
else divides; `floor` the largest not above floor(c / group_size) (the published code: groups may be larger);
`ceil_down` the largest not above ceil(c / group_size)."""

GroupBy = Literal["mid", "outer"]
"""Which width `group_size` and `coarsest` are measured on in a bottleneck: its middle (only this reproduces
the parameters of the paper's Table 5) or the tensor that enters and leaves it."""

TransferNorm = Literal["prolong", "both", "none"]
"""Where a batch normalisation follows a transfer: the prolongation only (the published ResNet code), both (its
MobileNet code), or neither (the equations as printed)."""

TransferInit = Literal["random", "uniform"]
"""`random`: rows u / sum(u), u uniform in [0.5, 1.5); the default, because under `uniform` (plain averages) all
coarse channels of one group start out equal."""
TransferGroups = Literal["neighbour", "interleaved"]
"""Which fine channels share a group: `neighbour`, the same ones as in the relaxation's groups (default, the
published code); `interleaved`, every (c / size)-th one, so that a coarse channel averages over different groups of
the relaxation, as the paper's introduction puts it."""
TransferWeights = Literal["own", "transpose"]
"""`own`: P has weights of its own (the paper); `transpose`: P is R transposed, scaled to unit row sums."""

ShortcutKind = Literal["depthwise", "pointwise"]
"""`depthwise`: 3x3 with gcd(in, out) groups (the paper; its code needs in to divide out); `pointwise`: a dense 1x1,
which the paper mentions as the alternative."""

RelaxationKind = Literal["conv", "residual", "bottleneck"]
"""Relaxations with a closed-form cost: one bare k x k convolution (Eq. 8), the basic residual block (two k x k
convolutions), the bottleneck (1x1, k x k, 1x1); each convolution of the last two has a batch normalisation."""


def check_choice(option: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise `UnknownNameError` with the nearest choice unless `value` is one of `choices`."""
    if value not in choices:
        near = did_you_mean(str(value), choices)
        raise UnknownNameError(f"{option}={value!r} is not a choice.{near} Choices: {', '.join(choices)}.")


def divisors(number: int) -> list[int]:
    """The positive divisors of `number` in ascending order."""
    return [d for d in range(1, number + 1) if number % d == 0]


def check_groups(channels: int, groups: int, where: str = "a grouped convolution") -> None:
    """Raise `GroupError` unless `channels` can be cut into `groups` equal parts."""
    if groups >= 1 and channels % groups == 0:
        return
    near = sorted(sorted(divisors(channels), key=lambda d: abs(d - groups))[:6])
    raise GroupError(
        f"{channels} channels cannot be cut into {groups} equal groups ({where}). "
        f"Nearest group counts that divide {channels}: {', '.join(map(str, near))}."
    )


@dataclass(frozen=True)
class Level:
    """One level: the width of its tensor, the inner width of its relaxation, and the number of groups."""

    channels: int
    hidden: int
    groups: int

    @property
    def group_size(self) -> int:
        """Tensor channels in each group."""
        return self.channels // self.groups


@dataclass(frozen=True)
class Cost:
    """Parameters of one operator, and through its weights its MACs."""

    weights: int
    norms: int = 0

    @property
    def parameters(self) -> int:
        """All trainable numbers: convolution weights, and scale and shift of the norms."""
        return self.weights + self.norms

    def macs(self, pixels: int) -> int:
        """Multiply-accumulates on a map of `pixels` (height times width): every weight meets every pixel once."""
        return self.weights * pixels

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.weights + other.weights, self.norms + other.norms)


@dataclass(frozen=True)
class LevelCost:
    """What one level costs; the coarsest has no transfers (both zero)."""

    relax: Cost
    restrict: Cost = Cost(0)
    prolong: Cost = Cost(0)

    @property
    def total(self) -> Cost:
        """Relaxation and both transfers."""
        return self.relax + self.restrict + self.prolong


def _convolutions(kind: RelaxationKind, level: Level, kernel_size: int) -> list[tuple[int, int, int]]:
    """(in channels, out channels, kernel size) of each convolution of a relaxation on `level`."""
    c, h, k = level.channels, level.hidden, kernel_size
    return {
        "conv": [(c, c, k)],
        "residual": [(c, c, k), (c, c, k)],
        "bottleneck": [(c, h, 1), (h, h, k), (h, c, 1)],
    }[kind]


def relaxation_cost(kind: RelaxationKind, level: Level, kernel_size: int = 3) -> Cost:
    """Closed-form cost of one relaxation: c_in c_out k^2 / groups a convolution, 2 c_out a norm."""
    convolutions = _convolutions(kind, level, kernel_size)
    weights = sum(a * b * k * k // level.groups for a, b, k in convolutions)
    return Cost(weights, 0 if kind == "conv" else sum(2 * b for _, b, _ in convolutions))


@dataclass(frozen=True)
class Hierarchy:
    """The levels of one MGIC block, finest first, as a value.

    Raises:
        UsageError: a width, group size or coarsest width below 1.
        UnknownNameError: an unknown rule; the message names the nearest.

    Warns:
        HierarchyWarning: an odd width stopped the coarsening above twice `coarsest`, so that the "coarsest"
            level is large and fully coupled; the message names the nearest widths that coarsen all the way.
    """

    channels: int
    """Width of the tensor that enters and leaves the block."""
    group_size: int = 8
    """Channels per group on every level but the coarsest; 8 in the paper's CIFAR networks. Parameters and MACs
    are proportional to it; time on real devices is not (small groups leave vector units idle)."""
    coarsest: int = 16
    """Width at which coupling is full; the paper uses the group size or twice it."""
    stop: StopRule = "le"
    group_rule: GroupRule = "ceil"
    hidden: int | None = None
    """Inner width of the finest relaxation, where it has one; halves with `channels`. None: the same."""
    group_by: GroupBy = "outer"

    def __post_init__(self) -> None:
        for name in ("channels", "group_size", "coarsest", "hidden"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise UsageError(f"{name} must be a whole number of channels, at least 1; got {value!r}.")
        check_choice("stop", self.stop, get_args(StopRule))
        check_choice("group_rule", self.group_rule, get_args(GroupRule))
        check_choice("group_by", self.group_by, get_args(GroupBy))
        self._warn_if_stuck()

    @cached_property
    def levels(self) -> tuple[Level, ...]:
        """Level 0 (finest) to the coarsest; a single level is the plain, fully coupled block."""
        widths = self._widths
        fine = [Level(c, h, self._groups(c, h)) for c, h in widths[:-1]]
        return (*fine, Level(*widths[-1], groups=1))

    @cached_property
    def _widths(self) -> list[tuple[int, int]]:
        """(channels, hidden) of every level; coarsening ends early at a width that has no half."""
        widths = [(self.channels, self.hidden or self.channels)]
        while not self._stops(*widths[-1], coarsenings=len(widths) - 1):
            channels, hidden = widths[-1]
            if channels % 2 or hidden % 2:
                break
            widths.append((channels // 2, hidden // 2))
        return widths

    def _measured(self, channels: int, hidden: int) -> int:
        return hidden if self.group_by == "mid" else channels

    def _stops(self, channels: int, hidden: int, coarsenings: int) -> bool:
        width = self._measured(channels, hidden)
        if self.stop == "le":
            return width <= self.coarsest
        return coarsenings >= 1 and (width < self.coarsest or (self.stop == "le1" and width == self.coarsest))

    def _groups(self, channels: int, hidden: int) -> int:
        """Group count of a level that has a coarser one; it must divide that level's width too."""
        width = self._measured(channels, hidden)
        allowed = divisors(gcd(channels, hidden, channels // 2))
        if self.group_rule == "ceil":
            return next((d for d in allowed if d * self.group_size >= width), allowed[-1])
        nominal = width // self.group_size if self.group_rule == "floor" else ceil(width / self.group_size)
        return max(d for d in allowed if d <= max(nominal, 1))

    def _warn_if_stuck(self) -> None:
        last, last_hidden = self._widths[-1]
        if self._measured(last, last_hidden) <= 2 * self.coarsest:
            return
        inner = "which is odd" if self.hidden is None else f"or {last_hidden} inside, one of them odd"
        near = ", ".join(map(str, self._nearest_widths())) or "none with this ratio of inner width"
        warnings.warn(
            f"Width {self.channels} halves only to {last}, {inner} and above twice coarsest={self.coarsest}: that "
            f"level stays fully coupled and dominates the cost. Nearest widths that coarsen all the way: {near}.",
            HierarchyWarning,
            stacklevel=4,
        )

    def _nearest_widths(self) -> list[int]:
        """The next `channels` below and above whose halves reach the stop rule, `hidden` in proportion."""
        below = next((w for w in range(self.channels - 1, 0, -1) if self._reaches(w)), None)
        above = next((w for w in range(self.channels + 1, 4 * self.channels) if self._reaches(w)), None)
        return [w for w in (below, above) if w is not None]

    def _reaches(self, channels: int) -> bool:
        hidden, rest = divmod(channels * (self.hidden or self.channels), self.channels)
        if rest or not hidden:
            return False
        while self._measured(channels, hidden) > self.coarsest and channels % 2 == hidden % 2 == 0:
            channels, hidden = channels // 2, hidden // 2
        return self._measured(channels, hidden) <= self.coarsest

    def costs(
        self,
        relax: RelaxationKind = "residual",
        kernel_size: int = 3,
        transfer_norm: TransferNorm = "prolong",
    ) -> list[LevelCost]:
        """Closed-form cost of every level, finest first; equals the counted tensors exactly.

        Transfers are grouped 1x1 convolutions without bias: c_l c_{l+1} / G_l weights each.
        """
        costs = []
        for fine, coarse in zip(self.levels, self.levels[1:], strict=False):
            weights = fine.channels * coarse.channels // fine.groups
            restrict = Cost(weights, 2 * coarse.channels if transfer_norm == "both" else 0)
            prolong = Cost(weights, 2 * fine.channels if transfer_norm != "none" else 0)
            costs.append(LevelCost(relaxation_cost(relax, fine, kernel_size), restrict, prolong))
        return [*costs, LevelCost(relaxation_cost(relax, self.levels[-1], kernel_size))]

    def dense_cost(self, relax: RelaxationKind = "residual", kernel_size: int = 3) -> Cost:
        """Cost of the ordinary block that this hierarchy replaces: one level, fully coupled."""
        return relaxation_cost(relax, Level(self.channels, self.hidden or self.channels, 1), kernel_size)

    @property
    def grid_complexity(self) -> float:
        """Channels of all levels over channels of the finest."""
        return sum(level.channels for level in self.levels) / self.channels

    def table(
        self,
        relax: RelaxationKind = "residual",
        kernel_size: int = 3,
        transfer_norm: TransferNorm = "prolong",
    ) -> str:
        """The hierarchy as pyamg prints one, with the closed-form costs of the given relaxation."""
        return format_table(self, self.costs(relax, kernel_size, transfer_norm), self.dense_cost(relax, kernel_size))

    def __str__(self) -> str:
        return self.table()


def operator_complexity(costs: Sequence[LevelCost], transfers: bool = False) -> float:
    """Parameters of all levels over the finest relaxation's; with `transfers`, theirs are added on top."""
    return sum((c.total if transfers else c.relax).parameters for c in costs) / max(costs[0].relax.parameters, 1)


def cycle_complexity(costs: Sequence[LevelCost]) -> float:
    """MACs of one cycle over MACs of one finest relaxation; all levels have the same resolution."""
    return sum(c.total.weights for c in costs) / max(costs[0].relax.weights, 1)


def format_table(
    hierarchy: Hierarchy, costs: Sequence[LevelCost], dense: Cost | None = None, macs_known: bool = True
) -> str:
    """The printed hierarchy: totals, complexities, and a row for each level.

    Args:
        hierarchy: the levels.
        costs: what each level costs, finest first.
        dense: cost of the block that it replaces; None leaves the comparison out.
        macs_known: whether `weights` times pixels are the MACs, so that the cycle complexity can be given.
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
    count = len(hierarchy.levels)
    lines = [
        f"MGIC hierarchy: {count} level{'s' if count > 1 else ''}, V(0,1) cycle, coarsest level fully coupled",
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
