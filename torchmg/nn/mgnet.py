"""MgNet's data-feature relation: one level's maps A and B, the smoothing step, and the way to the next level.

The relation A u = f between features u and data f is solved approximately by residual corrections (He and Xu, "MgNet",
2019; MGiaD paper, section III). The same relation serves between resolutions (MgNet) and between widths (SiC).
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import TypedDict, get_args

import torch
from torch import Tensor, nn

from torchmg.errors import UsageError
from torchmg.hierarchy import CouplingName, Dims, NormUses, Share, SmootherKind, check_choice
from torchmg.nn.adjoint_feature import AdjointFeature
from torchmg.nn.conv import ConvBuilder
from torchmg.nn.conv_norm import conv_norm, conv_norm_later, value_of
from torchmg.nn.coupling import ChannelCoupling, as_builder
from torchmg.nn.norm import batch_norm
from torchmg.nn.polynomial import PolynomialFeature


class RelationCost(TypedDict, total=False):
    """What decides how many maps and norms a relation has and how often it calls them."""

    share: Share
    norms: NormUses
    smoother: SmootherKind
    degree: int


class RelationOptions(RelationCost, total=False):
    """What every model of data-feature relations passes on to them; meanings and defaults in `DataFeature`."""

    coupling: CouplingName | ConvBuilder


class DataFeature(nn.Module):
    """The relation A u = f of one level, and its smoothing steps.

    u and f are (batch, channels, *spatial). Step i is

        u <- u + relu(N_B^i(B^i(relu(N_A^i(f - A^i u)))))        (MGiaD paper, Eq. 3 with its norms and activations)

    with 3x3 convolutions A and B without bias and batch norms N.

    Args:
        channels: width of u and f.
        groups: into how many groups A and B are cut; 1 couples all channels.
        steps: how many smoothing steps there are (the papers' nu; eta_pre + eta_post on a level in channels).
        share: see `Share`. With `none`, what passes between levels uses the first step's A.
        norms: see `NormUses`.
        smoother: see `SmootherKind`; a polynomial has one set of coefficients for each B that `share` asks for.
        degree: of the polynomial, 1 to 4.
        coupling: what A and B are: `"grouped"`, convolutions in `groups` groups (the papers'), or another channel
            coupling by name or builder (`torchmg.nn.coupling.conv_builder`), which `groups` does not change.
        dims: spatial axes, 0 for vectors.

    Raises:
        GroupError: `groups` does not divide the width.
        UsageError: no steps, or a degree outside 1 to 4.
        UnknownNameError: an unknown choice; the message names the nearest.
    """

    def __init__(
        self,
        channels: int,
        groups: int = 1,
        *,
        steps: int = 2,
        share: Share = "level",
        norms: NormUses = "use",
        smoother: SmootherKind = "conv",
        degree: int = 1,
        coupling: CouplingName | ConvBuilder = "grouped",
        dims: Dims = 2,
    ) -> None:
        super().__init__()
        if not isinstance(steps, int) or steps < 1:
            raise UsageError(f"steps must be a whole number of smoothing steps, at least 1; got {steps!r}.")
        check_choice("share", share, get_args(Share))
        check_choice("norms", norms, get_args(NormUses))
        check_choice("smoother", smoother, get_args(SmootherKind))
        self.channels, self.groups, self.steps = channels, groups, steps

        build = as_builder(coupling)

        def conv() -> nn.Module:
            return build(channels, channels, 3, groups=groups, dims=dims)

        def feature() -> nn.Module:
            if smoother == "adjoint":
                return AdjointFeature()
            return conv() if smoother == "conv" else PolynomialFeature(smoother, degree)

        own = {"level": (1, 1), "A": (1, steps), "none": (steps, steps)}[share]
        uses = steps if norms == "use" else 1
        self.data_maps = nn.ModuleList(conv() for _ in range(own[0]))
        self.feature_maps = nn.ModuleList(feature() for _ in range(own[1]))
        self.data_norms = nn.ModuleList(batch_norm(channels, dims) for _ in range(uses))
        self.feature_norms = nn.ModuleList(batch_norm(channels, dims) for _ in range(uses))
        self.act = nn.ReLU()

    @property
    def finest(self) -> "DataFeature":
        """The relation that passes between resolutions: this one."""
        return self

    def data(self, u: Tensor) -> Tensor:
        """A u."""
        return self.data_maps[0](u)

    def map_cost(self) -> tuple[int, int]:
        """Weights and MACs for each pixel of one map A."""
        a = self.data_maps[0]
        weights = sum(p.numel() for p in a.parameters())
        return weights, a.macs_per_pixel() if isinstance(a, ChannelCoupling) else weights

    def zero(self, f: Tensor) -> Tensor | None:
        """U = 0 to start from, for data f: None, so that A(0) is not computed, where other steps use that A."""
        return None if len(self.data_maps) == 1 < self.steps else torch.zeros_like(f)

    def residual(self, u: Tensor | None, f: Tensor) -> Tensor:
        """F - A u; None is u = 0."""
        return f if u is None else f - self.data(u)

    def step(self, i: int, u: Tensor | None, f: Tensor) -> Tensor:
        """Smoothing step i, counted from 0; None is u = 0."""
        data_map, feature_map = _at(self.data_maps, i), _at(self.feature_maps, i)
        data_norm, norm = _at(self.data_norms, i), _at(self.feature_norms, i)
        act = self.act
        r = act(data_norm(f)) if u is None else conv_norm_later(data_map, data_norm, u, act=act, minuend=f)
        if isinstance(feature_map, PolynomialFeature | AdjointFeature):
            y = self.act(norm(feature_map(value_of(r), data_map)))
            return y if u is None else u + y
        return conv_norm(feature_map, norm, r, act=self.act, after=u)

    def uses(self) -> Iterator[Callable[[Tensor | None, Tensor], Tensor]]:
        """The smoothing steps in order, (u, f) -> u each."""
        return (partial(self.step, i) for i in range(self.steps))

    def forward(self, u: Tensor | None, f: Tensor) -> Tensor:
        """All steps, one after the other; None is u = 0."""
        first, *others = self.uses()
        u = first(u, f)
        for step in others:
            u = step(u, f)
        return u


def _at(modules: nn.ModuleList, i: int) -> nn.Module:
    """The i-th use's module, where one may serve all uses."""
    return modules[i % len(modules)]


def coarsen(
    u: Tensor | None,
    f: Tensor,
    fine: DataFeature,
    coarse: DataFeature,
    restrict: Callable[[Tensor], Tensor],
    project: Callable[[Tensor], Tensor] | None,
) -> tuple[Tensor | None, Tensor]:
    """Features and data of the next level (MGiaD paper, Eqs. 6 and 7, between resolutions as between widths).

        u_c = Pi u,    f_c = R(f - A u) + A_c u_c        with the full approximation scheme
        u_c = 0,       f_c = R(f - A u)                  without (`project` None)

    Returns:
        (u_c, f_c); None is u_c = 0, see `DataFeature.zero`.
    """
    data = restrict(fine.residual(u, f))
    if project is None:
        return coarse.zero(data), data
    features = project(torch.zeros_like(f) if u is None else u)
    return features, data + coarse.data(features)
