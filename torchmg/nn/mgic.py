"""The multigrid-in-channels block: hierarchy + transfers + relaxations + cycle."""

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain
from typing import NamedTuple, TypedDict, cast, get_args

from torch import Tensor, nn

from torchmg.errors import UsageError
from torchmg.hierarchy import (
    Correction,
    Cost,
    CouplingName,
    Cycle,
    CycleKind,
    Dims,
    GroupBy,
    GroupRule,
    Hierarchy,
    LevelCost,
    RelaxationKind,
    StopRule,
    TransferNorm,
    check_choice,
    check_dims,
    format_table,
)
from torchmg.nn.conv import ConvBuilder, check_input, grouped_conv
from torchmg.nn.coupling import IN_GROUPS, as_builder
from torchmg.nn.cycle import fas_cycle
from torchmg.nn.norm import NORMS, all_uses, later_uses
from torchmg.nn.recompute import Around, again, at_once
from torchmg.nn.relax import RELAXATIONS, Bottleneck, RelaxationFactory, RelaxationName, Residual
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
    correction: Correction
    coupling: CouplingName | ConvBuilder
    coarsest_coupling: CouplingName | ConvBuilder
    cycle: CycleKind
    pre: int
    post: int
    recompute: bool


class MGICBlock(nn.Module):
    """A CNN block whose channels are coupled through a hierarchy (MGIC paper, Algorithm 1).

    (batch, channels, *spatial) -> the same shape. Relaxations are grouped on every level but the coarsest, so
    parameters and MACs are linear in `channels` for fixed `group_size` and `coarsest`. With one level it *is*
    the plain block. `print(block)` shows the hierarchy.

    Args:
        channels: width of the tensor.
        relax: `"residual"`, `"bottleneck"`, `"wide_bottleneck"`, `"resnext"`, `"mlp"` (of vectors), see
            `torchmg.nn.relax`; or a factory `(channels, groups) -> nn.Module` that keeps shapes.
        group_size: channels per group, 8 in the paper's CIFAR networks.
        coarsest: width at which coupling is full, 16 in the paper's CIFAR networks.
        stop, group_rule: see `StopRule` and `GroupRule`; the defaults follow the paper's text.
        group_by: for bottlenecks, measure sizes on the middle (default) or on the outer width.
        hidden: inner width of a factory's relaxation on the finest level, which then halves from level to level and
            whose groups divide it; named relaxations know theirs.
        transfer_init, transfer_weights, transfer_groups: see `TransferInit`, `TransferWeights` and `TransferGroups`.
        transfer_norm: normalise after P (default), after both, or not at all; the paper's equations leave it open.
        correction: what is prolonged, see `Correction`; the difference is the paper's. With `plain` a block whose
            relaxations change nothing is not the identity any more.
        coupling: what couples channels within the relaxations of all levels but the coarsest: `"grouped"` into groups
            of `group_size` (the paper's), or another channel coupling by name or builder
            (`torchmg.nn.coupling.conv_builder("chain", radius=2)`), whose cost should be linear in the width. Then
            `group_size` cuts the transfers only, and the groups of `"shuffle"`. Chain and lattice fit `transfer_groups`
            `"linear"` and `"lattice"`. The paper's introduction names chains and lattices as equally suitable.
        coarsest_coupling: the same for the coarsest level: `"full"`, or a cheaper one that reaches all channels.
            `"grouped"` and `"shuffle"` cut it into groups of `group_size` too: what is left without the full coupling,
            and with `coarsest` at least `channels` a plain grouped block.
        cycle, pre, post: see `Cycle`; V(0,1) is the paper's. An operator that a cycle uses several times has its
            weights once and a copy of its norms for every use: statistics differ from use to use. In a relaxation of
            a factory's the norms are the modules of torch's own kinds (`torchmg.nn.norm.NORMS`).
        recompute: in the backward pass compute the coarser levels again instead of keeping what they made: training
            takes little more memory than the dense block's, for one more forward pass of these levels. Gradients and
            running statistics are the same, bit for bit (`torchmg.nn.recompute`).
        dims: spatial axes: 2 for images, 1 for sequences (batch, channels, length), 3 for volumes, 0 for vectors, where
            convolutions become linear maps and any leading axes, (..., channels), are taken as one batch.

    Raises:
        UsageError: sizes below 1, bottleneck widths not divisible by 4 (wide: 2), a factory that returns no module, a
            `Cycle` without relaxations, `dims` not in 0..3.
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
        correction: Correction = "fas",
        coupling: CouplingName | ConvBuilder = "grouped",
        coarsest_coupling: CouplingName | ConvBuilder = "full",
        cycle: CycleKind = "V",
        pre: int = 0,
        post: int = 1,
        recompute: bool = False,
        hidden: int | None = None,
        dims: Dims = 2,
    ) -> None:
        super().__init__()
        check_choice("transfer_init", transfer_init, get_args(TransferInit))
        check_choice("transfer_weights", transfer_weights, get_args(TransferWeights))
        check_choice("transfer_groups", transfer_groups, get_args(TransferGroups))
        check_choice("transfer_norm", transfer_norm, get_args(TransferNorm))
        check_choice("correction", correction, get_args(Correction))
        check_dims(dims)
        if not callable(relax):
            check_choice("relax", relax, tuple(RELAXATIONS))
        named = None if callable(relax) else RELAXATIONS[relax]
        if named and hidden is not None:
            raise UsageError(f"relax={relax!r} knows its inner width; leave hidden={hidden} out.")
        if named and issubclass(named, Bottleneck):
            hidden = named.middle_width(channels)
        local = as_builder(coupling)
        # A coarsest level that is not cut is one group; a relaxation that cuts further, as ResNeXt's, is let do so.
        coarse = grouped_conv if coarsest_coupling == "full" else as_builder(coarsest_coupling)
        plain = local is grouped_conv and coarse is grouped_conv
        if not named and not plain:
            raise UsageError(
                "A relaxation of a factory chooses its own couplings; leave coupling and coarsest_coupling."
            )
        self.kind: RelaxationKind | None = named.kind if named and plain else None
        self.transfer_norm: TransferNorm = transfer_norm
        self.correction: Correction = correction
        self.dims: Dims = dims
        self.cycle = Cycle(cycle, pre, post)
        self.recompute = recompute
        cut = coarsest_coupling in IN_GROUPS
        self.hierarchy = Hierarchy(
            channels, group_size, coarsest, stop, group_rule, hidden, group_by, transfer_groups, cut_coarsest=cut
        )
        levels = self.hierarchy.levels
        if callable(relax):
            factories = [relax] * len(levels)
        else:
            convs = [local] * (len(levels) - 1) + [coarse]
            factories = [partial(RELAXATIONS[relax], dims=dims, conv=conv) for conv in convs]
        self.relax = nn.ModuleList(
            _build(factory, level.channels, level.groups) for factory, level in zip(factories, levels, strict=True)
        )

        shared, trained = transfer_weights == "transpose", transfer_weights != "fixed"
        self.restrict, self.prolong = nn.ModuleList(), nn.ModuleList()
        for index, level in enumerate(levels[:-1]):
            groups = self.hierarchy.groups_of_transfer(index)
            restriction = Restriction(
                level.channels,
                groups,
                init=transfer_init,
                order=transfer_groups,
                norm=transfer_norm == "both",
                balanced=shared,
                dims=dims,
            )
            norm = transfer_norm != "none"
            self.restrict.append(restriction)
            self.prolong.append(
                Prolongation.transpose_of(restriction, norm=norm, dims=dims)
                if shared
                else Prolongation(
                    level.channels, groups, init=transfer_init, order=transfer_groups, norm=norm, dims=dims
                )
            )
        for transfer in (*self.restrict, *self.prolong):
            transfer.get_parameter("rows").requires_grad_(trained)

        visits, relaxations = self.cycle.visits(len(levels)), self.cycle.relaxations(len(levels))
        self.relax_again = later_uses(self.relax, relaxations)
        self.restrict_again = later_uses(self.restrict, visits[:-1])
        self.prolong_again = later_uses(self.prolong, visits[:-1])

    def forward(self, x: Tensor) -> Tensor:
        """One cycle."""
        if self.dims == 0 and x.dim() > 2:
            return self(x.flatten(0, -2)).unflatten(0, x.shape[:-1])
        check_input(x, self.hierarchy.channels, self.dims)
        restrict = all_uses(self.restrict, self.restrict_again)
        relax = all_uses(self.relax, self.relax_again)
        prolong = all_uses(self.prolong, self.prolong_again)
        around = self.around_coarse()
        return fas_cycle(x, restrict, relax, prolong, self.cycle, correction=self.correction, around=around)

    def around_coarse(self) -> Around:
        """What calls the computation of the coarser levels: once, or again in the backward pass."""
        return again(self) if self.recompute else at_once

    def parts(self) -> Iterator[Part]:
        """Where each operator stands in the hierarchy, for counting and reports."""
        coarsest = len(self.relax) - 1
        for level in range(len(self.relax)):
            role = "coarsest" if level == coarsest else "relax"
            yield from (Part(path, role, level) for path in (f"relax.{level}", f"relax_again.{level}"))
        for level in range(coarsest):
            for role in ("restrict", "prolong"):
                yield from (Part(path, role, level) for path in (f"{role}.{level}", f"{role}_again.{level}"))

    def last_norms(self) -> Iterator[nn.Module]:
        """For `zero_last_norms`: of what is added on the finest level, the correction and the relaxations' residuals.

        Coarser levels keep theirs: behind a scale of 0 that is behind another, gradients are products of small numbers,
        and a coarse level that leaves alone what it is given has nothing to prolong.
        """
        for prolong in self.prolong[:1]:
            yield cast(Prolongation, prolong).norm
        for relax in chain(self.relax[:1], *cast(Iterable[nn.ModuleList], self.relax_again[:1])):
            if isinstance(relax, Residual | Bottleneck):
                yield from relax.last_norms()

    def costs(self) -> list[LevelCost]:
        """What each level really has, finest first; a tensor that P shares with R is counted at R."""
        seen: set[int] = set()
        visits, relaxations = self.cycle.visits(len(self.relax)), self.cycle.relaxations(len(self.relax))
        levels = []
        for level, relax in enumerate(self.relax):
            costs = [_cost(relax, self.relax_again, level, relaxations[level], seen)]
            if level < len(self.restrict):
                costs += [
                    _cost(self.restrict[level], self.restrict_again, level, visits[level], seen),
                    _cost(self.prolong[level], self.prolong_again, level, visits[level], seen),
                ]
            levels.append(LevelCost(*costs))
        return levels

    def __repr__(self) -> str:
        dense = self.hierarchy.dense_cost(self.kind, dims=self.dims) if self.kind else None
        known = self.kind is not None and not any(isinstance(p, Prolongation) and p.shared for p in self.prolong)
        return format_table(self.hierarchy, self.costs(), dense, macs_known=known, cycle=self.cycle)


def _build(factory: RelaxationFactory, channels: int, groups: int) -> nn.Module:
    module = factory(channels, groups)
    if not isinstance(module, nn.Module):
        raise UsageError(
            f"relax(channels={channels}, groups={groups}) returned {type(module).__name__}; "
            "a relaxation factory must return an nn.Module that keeps the shape (batch, channels, H, W)."
        )
    return module


def _cost(module: nn.Module, again: nn.ModuleList, level: int, uses: int, seen: set[int]) -> Cost:
    """Parameters of a module and its later uses that are not in `seen` yet, those of norms apart."""
    weights = norms = 0
    for part in chain(module.modules(), again[level].modules()):
        for parameter in part.parameters(recurse=False):
            if id(parameter) in seen:
                continue
            seen.add(id(parameter))
            if isinstance(part, NORMS):
                norms += parameter.numel()
            else:
                weights += parameter.numel()
    return Cost(weights, norms, weights * (uses - 1))
