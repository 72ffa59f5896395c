"""Smoothing in channels: the data-feature relation solved by a multigrid cycle over widths."""

from collections.abc import Iterator
from functools import partial
from itertools import pairwise, repeat
from typing import cast, get_args

from torch import Tensor, nn

from torchmg.hierarchy import (
    Correction,
    CouplingName,
    Cycle,
    CycleKind,
    Dims,
    Hierarchy,
    Level,
    LevelCost,
    NormUses,
    Share,
    SmootherKind,
    TransferInit,
    TransferNorm,
    check_choice,
    check_dims,
    format_table,
)
from torchmg.hierarchy.data_feature import relation_cost, sic_costs
from torchmg.nn.conv import ConvBuilder
from torchmg.nn.coupling import IN_GROUPS
from torchmg.nn.cycle import Operator, fas_cycle
from torchmg.nn.mgic import Part
from torchmg.nn.mgnet import DataFeature, RelationCost, RelationOptions, coarsen
from torchmg.nn.norm import all_uses, later_uses
from torchmg.nn.transfer import Prolongation, Restriction


class SiCOptions(RelationOptions, total=False):
    """What MGiaD models pass on to `SiC`; meanings and defaults there."""

    group_size: int
    coarsest: int
    eta_pre: int
    eta_post: int
    cycle: CycleKind
    correction: Correction
    correction_act: bool
    channel_fas: bool
    coarsest_coupling: CouplingName | ConvBuilder
    transfer_norm: TransferNorm
    transfer_init: TransferInit


class SiC(nn.Module):
    """Smoothing in channels (MGiaD paper, Algorithm 2): (u, f) -> u, all (batch, channels, *spatial).

    Level k has half the channels of level k - 1 and a relation A_k u = f of its own, cut into groups on all levels but
    the coarsest. A visit of a level with a coarser one:

        `eta_pre` times    u <- u + B(f - A u)                    (`DataFeature.step`)
                           u_c = Pi u,  f_c = R(f - A u) + A_c u_c
                           v = u_c after a visit of the coarser level
                           u <- u + N(P(v - u_c))
        `eta_post` times   u <- u + B(f - A u)

    and `eta_pre + eta_post` steps on the coarsest, so that a hierarchy of one level is a stationary MgNet level. R, Pi
    and P are 1x1 maps between channel pairs (2j, 2j + 1) and j.

    Args:
        channels: width of u and f.
        group_size: channels per group, the paper's g_s; 8 is one of its two main settings.
        coarsest: width of full coupling, the paper's c_K: halving goes on while the half is at least this.
        eta_pre, eta_post: smoothing steps before and after the correction. 1 and 1 fit the published counts; the
            paper does not state the first.
        cycle: V (the paper) visits each level once; W and F more often, with norms of their own for every visit.
        share: see `Share`. Without sharing every pre and post step has maps of its own, though the paper's indices
            could also mean that pre step i shares post step i's.
        norms: see `NormUses`.
        correction: see `Correction`.
        channel_fas: start the coarser level from Pi u; without, from zero, and there is no Pi.
        transfer_norm: batch norm after P, without activation (default, as counts and the authors' code have it), after
            R, Pi and P, or nowhere.
        transfer_init: first values of R, Pi and P, see `TransferInit`.
        correction_act: apply ReLU to the normalised correction, as the paper's text says of every convolution. Then no
            correction can be negative.
        smoother, degree: what B is, see `DataFeature`.
        coupling: what A and B are on all levels but the coarsest, see `DataFeature`.
        coarsest_coupling: what they are there; `"grouped"` and `"shuffle"` cut it into groups too.
        dims: spatial axes, 0 for vectors.

    Raises:
        UsageError: sizes below 1, no smoothing steps, a degree outside 1 to 4.
        UnknownNameError: an unknown choice; the message names the nearest.

    Warns:
        HierarchyWarning: see `Hierarchy`.
    """

    def __init__(
        self,
        channels: int,
        *,
        group_size: int = 8,
        coarsest: int = 64,
        eta_pre: int = 1,
        eta_post: int = 1,
        cycle: CycleKind = "V",
        share: Share = "level",
        norms: NormUses = "use",
        correction: Correction = "fas",
        channel_fas: bool = True,
        transfer_norm: TransferNorm = "prolong",
        transfer_init: TransferInit = "random",
        correction_act: bool = False,
        smoother: SmootherKind = "conv",
        degree: int = 1,
        coupling: CouplingName | ConvBuilder = "grouped",
        coarsest_coupling: CouplingName | ConvBuilder = "full",
        dims: Dims = 2,
    ) -> None:
        super().__init__()
        check_choice("correction", correction, get_args(Correction))
        check_choice("transfer_norm", transfer_norm, get_args(TransferNorm))
        check_choice("transfer_init", transfer_init, get_args(TransferInit))
        check_dims(dims)
        self.correction: Correction = correction
        self.correction_act, self.channel_fas = correction_act, channel_fas
        self.transfer_norm: TransferNorm = transfer_norm
        self.relation = RelationCost(share=share, norms=norms, smoother=smoother, degree=degree)
        self.dims: Dims = dims
        self.cycle = Cycle(cycle, eta_pre, eta_post, solve=max(eta_pre + eta_post, 1))
        cut = coarsest_coupling in IN_GROUPS
        self.hierarchy = Hierarchy(channels, group_size, coarsest, "ge", transfer_groups="pair", cut_coarsest=cut)
        levels = self.hierarchy.levels
        couplings: list[CouplingName | ConvBuilder] = [coupling for _ in levels[1:]]
        couplings.append(coarsest_coupling)
        self.relax = nn.ModuleList(
            DataFeature(level.channels, level.groups, steps=steps, coupling=kind, dims=dims, **self.relation)
            for level, steps, kind in zip(levels, self.cycle.relaxations(len(levels)), couplings, strict=True)
        )

        fine, visits = [level.channels for level in levels[:-1]], self.cycle.visits(len(levels))[:-1]

        def down(c: int) -> Restriction:
            return Restriction(c, c // 2, init=transfer_init, norm=transfer_norm == "both", dims=dims)

        self.restrict = nn.ModuleList(down(c) for c in fine)
        self.project = nn.ModuleList(down(c) for c in fine if channel_fas)
        self.prolong = nn.ModuleList(
            Prolongation(c, c // 2, init=transfer_init, norm=transfer_norm != "none", dims=dims) for c in fine
        )
        self.restrict_again = later_uses(self.restrict, visits)
        self.project_again = later_uses(self.project, visits if channel_fas else [])
        self.prolong_again = later_uses(self.prolong, visits)

    @property
    def finest(self) -> DataFeature:
        """The relation that passes between resolutions: the grouped one of the finest level."""
        relation = self.relax[0]
        assert isinstance(relation, DataFeature)
        return relation

    def forward(self, u: Tensor | None, f: Tensor) -> Tensor:
        """One cycle; None is u = 0."""
        relations = [relation for relation in self.relax if isinstance(relation, DataFeature)]
        fine_to_coarse = list(pairwise(relations))
        down = [self._down(level, *pair) for level, pair in enumerate(fine_to_coarse)]
        up = [self._up(level) for level in range(len(fine_to_coarse))]
        relax = [relation.uses() for relation in relations]
        return fas_cycle(u, down, relax, up, self.cycle, data=f, correction=self.correction)

    def _down(self, level: int, fine: DataFeature, coarse: DataFeature) -> Iterator[Operator]:
        """(u, f) -> (u_c, f_c), once for each visit of the level."""
        project = all_uses(self.project, self.project_again)[level] if len(self.project) else repeat(None)
        for r, pi in zip(all_uses(self.restrict, self.restrict_again)[level], project, strict=False):
            yield partial(coarsen, fine=fine, coarse=coarse, restrict=r, project=pi)

    def _up(self, level: int) -> Iterator[Operator]:
        """Correction -> prolonged correction, once for each visit of the level."""
        for p in all_uses(self.prolong, self.prolong_again)[level]:
            yield (lambda correction, p=p: p(correction).relu()) if self.correction_act else p

    def parts(self) -> Iterator[Part]:
        """Where each operator stands in the hierarchy, for counting and reports."""
        coarsest = len(self.relax) - 1
        for level in range(coarsest + 1):
            yield Part(f"relax.{level}", "coarsest" if level == coarsest else "relax", level)
        for level in range(coarsest):
            for name, role in (("restrict", "restrict"), ("project", "restrict"), ("prolong", "prolong")):
                yield from (Part(path, role, level) for path in (f"{name}.{level}", f"{name}_again.{level}"))

    def last_norms(self) -> Iterator[nn.Module]:
        """For `zero_last_norms`: that of the finest level's correction, the only one that keeps all coarser ones out.

        Where a ReLU follows it there is none: scale 0 would have no gradient.
        """
        for prolong in () if self.correction_act else self.prolong[:1]:
            yield cast(Prolongation, prolong).norm

    def costs(self) -> list[LevelCost]:
        """What each level costs in closed form, finest first; equals the counted tensors and MACs."""
        return sic_costs(
            self.hierarchy,
            self.cycle,
            fas=self.channel_fas,
            transfer_norm=self.transfer_norm,
            dims=self.dims,
            map_costs=[level.map_cost() for level in self.relax if isinstance(level, DataFeature)],
            **self.relation,
        )

    def __repr__(self) -> str:
        level = Level(self.hierarchy.channels, self.hierarchy.channels, 1)
        dense = relation_cost(level, self.finest.steps, dims=self.dims, **self.relation)
        return format_table(self.hierarchy, self.costs(), dense, cycle=self.cycle, title="SiC")
