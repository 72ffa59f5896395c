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
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import ceil, gcd
from typing import get_args

from torchmg.errors import HierarchyWarning, UsageError
from torchmg.hierarchy.cost import Cost, Level, LevelCost, relaxation_cost
from torchmg.hierarchy.cycle import Cycle
from torchmg.hierarchy.rules import (
    Dims,
    GroupBy,
    GroupRule,
    RelaxationKind,
    StopRule,
    TransferGroups,
    TransferNorm,
    check_choice,
    divisors,
)
from torchmg.hierarchy.table import format_table


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
    transfer_groups: TransferGroups = "neighbour"
    cut_coarsest: bool = False
    """Cut the coarsest level into groups too, as the finer ones are; then no level couples all channels."""

    def __post_init__(self) -> None:
        for name in ("channels", "group_size", "coarsest", "hidden"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise UsageError(f"{name} must be a whole number of channels, at least 1; got {value!r}.")
        check_choice("stop", self.stop, get_args(StopRule))
        check_choice("group_rule", self.group_rule, get_args(GroupRule))
        check_choice("group_by", self.group_by, get_args(GroupBy))
        check_choice("transfer_groups", self.transfer_groups, get_args(TransferGroups))
        self._warn_if_stuck()

    @cached_property
    def levels(self) -> tuple[Level, ...]:
        """Level 0 (finest) to the coarsest; a single level is the plain block, fully coupled unless cut."""
        *fine, coarsest = self._widths
        groups = self._groups(*coarsest, coarsest[0]) if self.cut_coarsest else 1
        return (*(Level(c, h, self._groups(c, h, self._halved(c))) for c, h in fine), Level(*coarsest, groups=groups))

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
        if self.stop == "ge":
            return width < 2 * self.coarsest
        return coarsenings >= 1 and (width < self.coarsest or (self.stop == "le1" and width == self.coarsest))

    def _halved(self, channels: int) -> int:
        """What a level's groups must divide besides its own widths: the next coarser width, if transfers use them."""
        return channels // 2 if self.transfer_groups in ("neighbour", "interleaved") else channels

    def _groups(self, channels: int, hidden: int, coarse: int) -> int:
        """Group count of a level, which must divide `coarse` too."""
        width = self._measured(channels, hidden)
        allowed = divisors(gcd(channels, hidden, coarse))
        if self.group_rule == "ceil":
            return next((d for d in allowed if d * self.group_size >= width), allowed[-1])
        nominal = width // self.group_size if self.group_rule == "floor" else ceil(width / self.group_size)
        return max(d for d in allowed if d <= max(nominal, 1))

    def groups_of_transfer(self, level: int) -> int:
        """Groups of the transfers between `level` and the next coarser one: the level's, or one a coarse channel."""
        fine = self.levels[level]
        return fine.groups if self.transfer_groups in ("neighbour", "interleaved") else fine.channels // 2

    def transfer_weights(self, level: int) -> int:
        """Weights of either transfer between `level` and the next coarser one."""
        fine, coarse = self.levels[level].channels, self.levels[level + 1].channels
        # Three taps a coarse channel, but the first has no left neighbour.
        return 3 * coarse - 1 if self.transfer_groups == "linear" else fine * coarse // self.groups_of_transfer(level)

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
        cycle: Cycle = Cycle(),  # noqa: B008 (a frozen value)
        dims: Dims = 2,
    ) -> list[LevelCost]:
        """Closed-form cost of every level, finest first; equals the counted tensors exactly.

        Transfers are 1x1 convolutions without bias, see `transfer_weights`.
        What a cycle uses several times has its weights once and norms for every use.
        """
        visits, relaxations = cycle.visits(len(self.levels)), cycle.relaxations(len(self.levels))
        relaxed = [
            relaxation_cost(relax, level, kernel_size, dims).used(times)
            for level, times in zip(self.levels, relaxations, strict=True)
        ]
        costs = []
        for index, (fine, coarse) in enumerate(pairwise(self.levels)):
            weights = self.transfer_weights(index)
            restrict = Cost(weights, 2 * coarse.channels if transfer_norm == "both" else 0)
            prolong = Cost(weights, 2 * fine.channels if transfer_norm != "none" else 0)
            costs.append(LevelCost(relaxed[index], restrict.used(visits[index]), prolong.used(visits[index])))
        return [*costs, LevelCost(relaxed[-1])]

    def dense_cost(self, relax: RelaxationKind = "residual", kernel_size: int = 3, dims: Dims = 2) -> Cost:
        """Cost of the ordinary block that this hierarchy replaces: one level, fully coupled."""
        return relaxation_cost(relax, Level(self.channels, self.hidden or self.channels, 1), kernel_size, dims)

    @property
    def grid_complexity(self) -> float:
        """Channels of all levels over channels of the finest."""
        return sum(level.channels for level in self.levels) / self.channels

    def table(
        self,
        relax: RelaxationKind = "residual",
        kernel_size: int = 3,
        transfer_norm: TransferNorm = "prolong",
        cycle: Cycle = Cycle(),  # noqa: B008 (a frozen value)
        dims: Dims = 2,
    ) -> str:
        """The hierarchy as pyamg prints one, with the closed-form costs of the given relaxation."""
        costs = self.costs(relax, kernel_size, transfer_norm, cycle, dims)
        return format_table(self, costs, self.dense_cost(relax, kernel_size, dims), cycle=cycle)

    def __str__(self) -> str:
        return self.table()
