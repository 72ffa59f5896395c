"""Channels coupled through a hierarchy: multigrid in channels as one linear operator."""

from collections.abc import Iterator
from functools import cached_property, partial
from math import ceil, prod
from typing import Any, ClassVar, get_args

import torch
from torch import Tensor, nn

from torchmg.hierarchy import GroupRule, Hierarchy, LevelCost, StopRule, TransferGroups, TransferInit, check_choice
from torchmg.nn.coupling.base import ChannelCoupling, Growth, Scheme
from torchmg.nn.coupling.grouped import Grouped
from torchmg.nn.coupling.local import check_square
from torchmg.nn.cycle import additive_cycle
from torchmg.nn.transfer import Prolongation, Restriction


class Multigrid(ChannelCoupling):
    """W = K_0 + P_1 (K_1 + P_2 (K_2 + ...) R_2) R_1: a convolution on every level of a channel hierarchy, added up.

    Restrictions R_l and prolongations P_l are learned 1x1 maps between half as many channels; K_l is grouped, and full
    on the coarsest level. So all channels are coupled at once, with weights that are linear in the width for fixed
    group size and coarsest width: (k^dims + 1) s sum_l c_l + k^dims c_L^2, those of one MGIC relaxation a level
    without norms (MGIC paper, Eq. 8). MGIC's own cycle has activations in between and corrects level after level
    (Algorithm 1); this additive form is linear and ours, after additive multigrid preconditioners.

    Restrictions come first and prolongations last, at the input's and the output's resolution; every K_l has the
    stride.

    Args:
        in_channels, out_channels, kernel_size: as in `ChannelCoupling`; the widths must agree.
        group_size: channels of a group on all levels but the coarsest; 8 as in `MGICBlock`.
        coarsest: width at which coupling is full; 16 as in `MGICBlock`.
        stop, group_rule, transfer_groups: see `Hierarchy`.
        transfer_init: see `TransferInit`.
        **options: those of `ChannelCoupling`.

    Raises:
        UsageError: different widths, sizes below 1.
        UnknownNameError: an unknown choice.

    Warns:
        HierarchyWarning: see `Hierarchy`.
    """

    name: ClassVar[str] = "multigrid"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        *,
        group_size: int = 8,
        coarsest: int = 16,
        stop: StopRule = "le",
        group_rule: GroupRule = "ceil",
        transfer_groups: TransferGroups = "neighbour",
        transfer_init: TransferInit = "random",
        **options: Any,
    ) -> None:
        check_square(self.name, in_channels, out_channels)
        super().__init__(in_channels, out_channels, kernel_size, **options)
        self.hierarchy = Hierarchy(in_channels, group_size, coarsest, stop, group_rule, transfer_groups=transfer_groups)
        levels = self.hierarchy.levels
        same = {"stride": self.stride, "padding": self.padding, "dims": self.dims}
        self.levels = nn.ModuleList(
            Grouped(level.channels, level.channels, self.kernel_size, group_size=level.group_size, **same)
            for level in levels
        )
        sizes, how = self._transfer_sizes()
        self._init: TransferInit = transfer_init
        self.restrict = nn.ModuleList(Restriction(*size, init=transfer_init, **how) for size in sizes)
        self.prolong = nn.ModuleList(Prolongation(*size, init=transfer_init, **how) for size in sizes)
        self.reset_parameters()

    @property
    def growth(self) -> Growth:
        """Linear: group size and coarsest width are fixed."""
        return "linear"

    def num_weights(self) -> int:
        """Sum over levels of k^dims s_l c_l and of both transfers."""
        return sum(cost.total.weights for cost in self._costs())

    def macs_per_pixel(self) -> int:
        """Of each output pixel; restrictions work at all the input's pixels that a stride makes one of."""
        return self.macs(*(self.stride,) * self.dims)

    def macs(self, *size: int) -> int:
        """Restrictions at the input's pixels, the rest at the output's."""
        inside, outside = prod(size), prod(ceil(n / self.stride) for n in size)
        return sum(
            cost.restrict.weights * inside + (cost.relax.weights + cost.prolong.weights) * outside
            for cost in self._costs()
        )

    def variances(self) -> Iterator[tuple[nn.Parameter, float]]:
        """Of the K_l: so that each of L levels adds 2 / L to the variance of the output, with uniform transfers.

        Drawn at random, transfers keep a little more: of 64 channels in groups of 8, 5 % in all, 14 % if interleaved.
        """
        for level, gain in zip(self._operators(), self._gains, strict=True):
            yield level.weight, 2 / (len(self._gains) * self.taps * gain)

    @torch.no_grad()
    def reset_parameters(self, scheme: Scheme = "he") -> None:
        """Draw the weights anew, see `Scheme`; the transfers' rows stay positive with sum 1 in either.

        Raises:
            UnknownNameError: an unknown scheme.
        """
        if self._operators()[0].weight.is_meta:
            check_choice("scheme", scheme, get_args(Scheme))
            return  # there are no numbers to draw, and the gains cost products of dense matrices
        super().reset_parameters(scheme)
        for restrict, prolong in self._transfers():
            restrict.reset_parameters()
            prolong.reset_parameters()

    def dense_weight(self) -> Tensor:
        """W itself, from the coarsest level up."""
        *fine, coarsest = self._operators()
        dense = coarsest.dense_weight()
        for level, (restrict, prolong) in reversed(list(zip(fine, self._transfers(), strict=True))):
            down, up = restrict.dense_weight(), prolong.dense_weight()
            dense = level.dense_weight() + torch.einsum("oi,ijt,jm->omt", up, dense.flatten(2), down).unflatten(
                2, dense.shape[2:]
            )
        return dense

    def _map(self, x: Tensor) -> Tensor:
        return additive_cycle(x, list(self.restrict), list(self.levels), list(self.prolong))

    def _map_adjoint(self, z: Tensor, size: tuple[int, ...]) -> Tensor:
        transfers = self._transfers()
        down = [prolong.group_adjoint for _, prolong in transfers]
        up = [restrict.group_adjoint for restrict, _ in transfers]
        return additive_cycle(z, down, [partial(level.adjoint, size=size) for level in self._operators()], up)

    @cached_property
    def _gains(self) -> list[float]:
        """See `_gains`; of transfers with uniform weights, which are the variances of gaussian ones."""
        sizes, how = self._transfer_sizes()
        with torch.device("cpu"), torch.no_grad():
            down = [Restriction(*size, init="uniform", **how).dense_weight() for size in sizes]
            up = [Prolongation(*size, init="uniform", **how).dense_weight() for size in sizes]
            groups = [level.groups for level in self.hierarchy.levels]
            return _gains(self.in_channels, down, up, groups, averages=self._init != "gaussian")

    def _transfer_sizes(self) -> tuple[list[tuple[int, int]], dict[str, Any]]:
        """Width and groups of the transfers below each level, and what they have in common."""
        fine = self.hierarchy.levels[:-1]
        sizes = [(level.channels, self.hierarchy.groups_of_transfer(i)) for i, level in enumerate(fine)]
        return sizes, {"order": self.hierarchy.transfer_groups, "norm": False}

    def _costs(self) -> list[LevelCost]:
        return self.hierarchy.costs("conv", self.kernel_size, "none", dims=self.dims)

    def _operators(self) -> list[Grouped]:
        return [level for level in self.levels if isinstance(level, Grouped)]

    def _transfers(self) -> list[tuple[Restriction, Prolongation]]:
        pairs = zip(self.restrict, self.prolong, strict=True)
        return [(r, p) for r, p in pairs if isinstance(r, Restriction) and isinstance(p, Prolongation)]


def _gains(channels: int, down: list[Tensor], up: list[Tensor], groups: list[int], averages: bool) -> list[float]:
    """Variance that each level gives to outputs, for one tap of unit variance and inputs that are independent.

    A coarse channel has the squared length of its composed restriction's row, which grouped random weights sum over
    their inputs, and composed prolongations weigh by their squares. The mean over outputs.

    Args:
        channels: width of the finest level.
        down: dense restrictions, finest first.
        up: dense prolongations, finest first.
        groups: of each level.
        averages: whether `down` and `up` are the transfers; else the variances of their independent entries, and then
            squares of products are products of squares.
    """
    variance, weigh, gains = torch.ones(channels, dtype=torch.float64), None, []
    restricted = prolonged = None
    for index, parts in enumerate(groups):
        if index:
            r, p = down[index - 1].double(), up[index - 1].double()
            restricted = r if restricted is None else r @ restricted
            prolonged = p if prolonged is None else prolonged @ p
            squares = [m.square() if averages else m for m in (restricted, prolonged)]
            variance, weigh = squares[0].sum(1), squares[1].mean(0)
        inputs = variance.unflatten(0, (parts, -1))
        outputs = inputs.sum(1, keepdim=True).expand_as(inputs).flatten()
        gains.append((outputs.mean() if weigh is None else weigh @ outputs).item())
    return gains
