"""The multigrid-in-channels block: hierarchy + transfers + relaxations + cycle."""

from collections.abc import Iterator
from typing import NamedTuple, TypedDict, get_args

from torch import Tensor, nn

from torchmg.errors import UsageError
from torchmg.hierarchy import (
    Cost,
    GroupBy,
    GroupRule,
    Hierarchy,
    LevelCost,
    RelaxationKind,
    StopRule,
    TransferNorm,
    check_choice,
    format_table,
)
from torchmg.nn.conv import check_images
from torchmg.nn.cycle import v_cycle
from torchmg.nn.relax import RELAXATIONS, RelaxationFactory, RelaxationName, middle_width
from torchmg.nn.transfer import Prolongation, Restriction, TransferGroups, TransferInit, TransferWeights


class Part(NamedTuple):
    """A submodule's place in a network: its dotted path, its role, and its level where it has one."""

    path: str
    role: str
    level: int | None = None


class MGICOptions(TypedDict, total=False):
    """The options that every MGIC model passes on to its blocks; meanings and defaults in `MGICBlock`."""

    group_size: int
    coarsest: int
    stop: StopRule
    group_rule: GroupRule
    group_by: GroupBy
    transfer_init: TransferInit
    transfer_weights: TransferWeights
    transfer_groups: TransferGroups
    transfer_norm: TransferNorm


class MGICBlock(nn.Module):
    """A CNN block whose channels are coupled through a hierarchy (MGIC paper, Algorithm 1).

    (batch, channels, H, W) -> the same shape. Relaxations are grouped on every level but the coarsest, so
    parameters and MACs are linear in `channels` for fixed `group_size` and `coarsest`. With one level it *is*
    the plain block. `print(block)` shows the hierarchy.

    Args:
        channels: width of the tensor.
        relax: `"residual"`, `"bottleneck"`, or a factory `(channels, groups) -> nn.Module` that keeps shapes.
        group_size: channels per group, 8 in the paper's CIFAR networks.
        coarsest: width at which coupling is full, 16 in the paper's CIFAR networks.
        stop, group_rule: see `StopRule` and `GroupRule`; the defaults follow the paper's text.
        group_by: for bottlenecks, measure sizes on the middle (default) or on the outer width.
        transfer_init, transfer_weights, transfer_groups: see `torchmg.nn.transfer`.
        transfer_norm: normalise after P (default), after both, or not at all; the paper's equations leave it open.

    Raises:
        UsageError: sizes below 1, bottleneck widths not divisible by 4, a factory that returns no module.
        UnknownNameError: an unknown choice; the message names the nearest.

    Warns:
        HierarchyWarning: see `Hierarchy`.
    """

    def __init__(
        self,
        channels: int,
        *,
        relax: RelaxationName | RelaxationFactory = "residual",
        group_size: int = 8,
        coarsest: int = 16,
        stop: StopRule = "le",
        group_rule: GroupRule = "ceil",
        group_by: GroupBy = "mid",
        transfer_init: TransferInit = "random",
        transfer_weights: TransferWeights = "own",
        transfer_groups: TransferGroups = "neighbour",
        transfer_norm: TransferNorm = "prolong",
    ) -> None:
        super().__init__()
        check_choice("transfer_init", transfer_init, get_args(TransferInit))
        check_choice("transfer_weights", transfer_weights, get_args(TransferWeights))
        check_choice("transfer_groups", transfer_groups, get_args(TransferGroups))
        check_choice("transfer_norm", transfer_norm, get_args(TransferNorm))
        if not callable(relax):
            check_choice("relax", relax, tuple(RELAXATIONS))
        hidden = middle_width(channels) if relax == "bottleneck" else None
        self.kind: RelaxationKind | None = None if callable(relax) else relax
        self.transfer_norm: TransferNorm = transfer_norm
        self.hierarchy = Hierarchy(channels, group_size, coarsest, stop, group_rule, hidden, group_by)
        factory = relax if callable(relax) else RELAXATIONS[relax]
        self.relax = nn.ModuleList(_build(factory, level.channels, level.groups) for level in self.hierarchy.levels)

        shared = transfer_weights == "transpose"
        self.restrict, self.prolong = nn.ModuleList(), nn.ModuleList()
        for level in self.hierarchy.levels[:-1]:
            restriction = Restriction(
                level.channels,
                level.groups,
                init=transfer_init,
                order=transfer_groups,
                norm=transfer_norm == "both",
                balanced=shared,
            )
            norm = transfer_norm != "none"
            self.restrict.append(restriction)
            self.prolong.append(
                Prolongation.transpose_of(restriction, norm=norm)
                if shared
                else Prolongation(level.channels, level.groups, init=transfer_init, order=transfer_groups, norm=norm)
            )

    def forward(self, x: Tensor) -> Tensor:
        """One cycle."""
        check_images(x, self.hierarchy.channels)
        return v_cycle(x, [*self.restrict], [*self.relax], [*self.prolong])

    def parts(self) -> Iterator[Part]:
        """Where each operator stands in the hierarchy, for counting and reports."""
        coarsest = len(self.relax) - 1
        for level in range(len(self.relax)):
            yield Part(f"relax.{level}", "coarsest" if level == coarsest else "relax", level)
        for level in range(coarsest):
            yield Part(f"restrict.{level}", "restrict", level)
            yield Part(f"prolong.{level}", "prolong", level)

    def costs(self) -> list[LevelCost]:
        """What each level really has, finest first; a tensor that P shares with R is counted at R."""
        seen: set[int] = set()
        levels = []
        for level, relax in enumerate(self.relax):
            if level == len(self.relax) - 1:
                levels.append(LevelCost(_cost(relax, seen)))
            else:
                costs = [_cost(m, seen) for m in (relax, self.restrict[level], self.prolong[level])]
                levels.append(LevelCost(*costs))
        return levels

    def __repr__(self) -> str:
        dense = self.hierarchy.dense_cost(self.kind) if self.kind else None
        known = self.kind is not None and not any(isinstance(p, Prolongation) and p.shared for p in self.prolong)
        return format_table(self.hierarchy, self.costs(), dense, macs_known=known)


def _build(factory: RelaxationFactory, channels: int, groups: int) -> nn.Module:
    module = factory(channels, groups)
    if not isinstance(module, nn.Module):
        raise UsageError(
            f"relax(channels={channels}, groups={groups}) returned {type(module).__name__}; "
            "a relaxation factory must return an nn.Module that keeps the shape (batch, channels, H, W)."
        )
    return module


def _cost(module: nn.Module, seen: set[int]) -> Cost:
    """Parameters of `module` not in `seen` yet, those of norms apart."""
    weights = norms = 0
    for part in module.modules():
        for parameter in part.parameters(recurse=False):
            if id(parameter) in seen:
                continue
            seen.add(id(parameter))
            if isinstance(part, nn.BatchNorm2d):
                norms += parameter.numel()
            else:
                weights += parameter.numel()
    return Cost(weights, norms)
