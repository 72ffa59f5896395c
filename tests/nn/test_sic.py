"""Smoothing in channels against Algorithm 2 in dense matrices, its fixed points, counts and options."""

from itertools import pairwise
from math import prod
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from tests.helpers import matrix
from tests.nn.relations import RELATION_OPTIONS, linear
from torchmg.counting.macs import forward_macs
from torchmg.errors import UnknownNameError, UsageError
from torchmg.hierarchy import Cycle
from torchmg.nn.mgnet import DataFeature
from torchmg.nn.sic import SiC
from torchmg.nn.transfer import Prolongation, Restriction

ETAS = st.tuples(st.integers(0, 2), st.integers(0, 2)).filter(any)
KINDS = st.sampled_from(["V", "W", "F"])


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def algorithm_2(sic: SiC, u: Tensor, f: Tensor, *, plain: bool, kind: str = "V") -> Tensor:
    """The algorithm as printed, on column vectors with dense matrices, levels found by recursion."""

    def maps(level: int) -> tuple[Tensor, Tensor]:
        relation = sic.relax[level]
        blocks = [relation.data_maps[0].weight, relation.feature_maps[0].weight]
        return tuple(torch.block_diag(*w.chunk(relation.groups)) for w in blocks)  # pyright: ignore[reportReturnType]

    last = len(sic.relax) - 1

    def visit(level: int, u: Tensor, f: Tensor, kind: str) -> Tensor:
        a, b = maps(level)
        for _ in range(sic.cycle.pre):
            u = u + b @ (f - a @ u)
        if level < last:
            r, p = matrix(sic.restrict[level]), matrix(sic.prolong[level])
            coarse = matrix(sic.project[level]) @ u if len(sic.project) else torch.zeros(len(r), 1).double()
            data = r @ (f - a @ u) + maps(level + 1)[0] @ coarse
            v = visit(level + 1, coarse, data, kind)
            if kind != "V" and level + 1 < last:
                v = visit(level + 1, v, data, kind if kind == "W" else "V")
            u = u + p @ (v if plain else v - coarse)
        for _ in range(sic.cycle.post):
            u = u + b @ (f - a @ u)
        return u

    return visit(0, u, f, kind)


@settings(max_examples=40)
@given(
    levels=st.integers(1, 4),
    group_size=st.sampled_from([1, 2, 4, 32]),
    etas=ETAS,
    kind=KINDS,
    plain=st.booleans(),
    fas=st.booleans(),
)
def test_linear_cycles_are_algorithm_2(
    levels: int, group_size: int, etas: tuple[int, int], kind: Any, plain: bool, fas: bool
) -> None:
    channels = 2 ** (levels + 1)
    options: dict[str, Any] = {"group_size": group_size, "coarsest": 4, "cycle": kind, "channel_fas": fas, "dims": 0}
    correction = "plain" if plain else "fas"
    sic = linear(SiC(channels, eta_pre=etas[0], eta_post=etas[1], correction=correction, **options))
    assert [level.channels for level in sic.hierarchy.levels] == [channels // 2**k for k in range(levels)]
    u, f = draw(1, channels), draw(1, channels)
    expected = algorithm_2(sic, u.T, f.T, plain=plain, kind=kind)
    assert torch.allclose(sic(u, f).T, expected, rtol=1e-10, atol=1e-10)


@settings(max_examples=40)
@given(
    levels=st.integers(1, 4),
    group_size=st.sampled_from([2, 4, 32]),
    etas=ETAS,
    kind=KINDS,
    share=RELATION_OPTIONS["share"],
    smoother=RELATION_OPTIONS["smoother"],
    dims=st.integers(0, 3),
)
def test_what_solves_the_finest_relation_stays(
    levels: int, group_size: int, etas: tuple[int, int], kind: Any, share: Any, smoother: Any, dims: Any
) -> None:
    """Maps that the steps do not share differ, so without sharing u solves only the first step's relation."""
    channels = 2 ** (levels + 1)
    sic = linear(
        SiC(
            channels,
            group_size=group_size,
            coarsest=4,
            eta_pre=etas[0],
            eta_post=etas[1],
            cycle=kind,
            share="A" if share == "none" else share,
            smoother=smoother,
            dims=dims,
        )
    )
    u = draw(2, channels, *(3, 4, 2)[:dims])
    assert (sic(u, sic.finest.data(u)) - u).abs().max() < 1e-12


def test_the_plain_correction_does_not_keep_solutions() -> None:
    sic = linear(SiC(16, group_size=4, coarsest=4, correction="plain"))
    u = draw(2, 16, 4, 4)
    assert (sic(u, sic.finest.data(u)) - u).abs().max() > 0.1


@given(etas=ETAS, norms=RELATION_OPTIONS["norms"])
def test_one_level_is_a_stationary_mgnet(etas: tuple[int, int], norms: Any) -> None:
    sic = SiC(6, coarsest=6, eta_pre=etas[0], eta_post=etas[1], norms=norms)
    mgnet = DataFeature(6, steps=sum(etas), norms=norms)
    names = {key.removeprefix("relax.0."): value for key, value in sic.state_dict().items()}
    mgnet.load_state_dict(names, strict=True)
    u, f = torch.randn(3, 6, 5, 5), torch.randn(3, 6, 5, 5)
    assert torch.equal(sic(u, f), mgnet(u, f))
    assert "1 level" in repr(sic)


def test_groups_of_the_whole_width_are_dense() -> None:
    sic = SiC(16, group_size=16, coarsest=4)
    assert [level.groups for level in sic.hierarchy.levels] == [1, 1, 1]
    assert all(tuple(r.data_maps[0].weight.shape[:2]) == (r.channels, r.channels) for r in sic.relax)


@given(pairs=st.integers(1, 6), dims=st.integers(0, 3), norm=st.booleans())
def test_element_wise_transfers_are_the_grouped_convolutions(pairs: int, dims: Any, norm: bool) -> None:
    spatial = (3, 4, 2)[:dims] or (1,)
    convolve = (F.conv1d, F.conv1d, F.conv2d, F.conv3d)[dims]
    for kind, width in ((Restriction, 2 * pairs), (Prolongation, pairs)):
        transfer = kind(2 * pairs, pairs, dims=dims, norm=norm).double().eval()
        x = draw(2, width, *spatial)
        weight = transfer.rows.view(transfer.out_channels, -1, *(1 for _ in spatial))
        expected = convolve(x, weight, groups=pairs) / ((1 + 1e-5) ** 0.5 if norm else 1)
        assert torch.allclose(transfer(x if dims else x[..., 0]).reshape(expected.shape), expected, atol=1e-12)


@settings(max_examples=15)
@given(
    levels=st.integers(1, 3),
    coarsest=st.sampled_from([3, 4]),
    group_size=st.sampled_from([2, 3, 64]),
    etas=ETAS,
    kind=KINDS,
    fas=st.booleans(),
    norm=st.sampled_from(["prolong", "both", "none"]),
    dims=st.integers(0, 3),
    options=st.fixed_dictionaries(RELATION_OPTIONS),
)
def test_costs_are_the_closed_forms(
    levels: int,
    coarsest: int,
    group_size: int,
    etas: tuple[int, int],
    kind: Any,
    fas: bool,
    norm: Any,
    dims: Any,
    options: dict[str, Any],
) -> None:
    channels = coarsest * 2 ** (levels - 1)
    sic = SiC(
        channels,
        group_size=group_size,
        coarsest=coarsest,
        eta_pre=etas[0],
        eta_post=etas[1],
        cycle=kind,
        channel_fas=fas,
        transfer_norm=norm,
        dims=dims,
        **options,
    )
    costs = sic.costs()
    assert sum(cost.total.parameters for cost in costs) == sum(p.numel() for p in sic.parameters())

    class Solve(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.sic = sic

        def forward(self, f: Tensor) -> Tensor:
            return self.sic(torch.zeros_like(f), f)

    spatial = (5, 4, 3)[:dims]
    macs, _, _, unknown = forward_macs(Solve(), (channels, *spatial))
    assert sum(macs.values()) == sum(cost.total.macs(prod(spatial)) for cost in costs)
    assert unknown == ()


@settings(max_examples=25)
@given(
    etas=ETAS,
    kind=KINDS,
    fas=st.booleans(),
    rectify=st.booleans(),
    correction=st.sampled_from(["fas", "plain"]),
    norm=st.sampled_from(["prolong", "both", "none"]),
    options=st.fixed_dictionaries(RELATION_OPTIONS),
)
def test_every_parameter_gets_a_gradient(
    etas: tuple[int, int],
    kind: Any,
    fas: bool,
    rectify: bool,
    correction: Any,
    norm: Any,
    options: dict[str, Any],
) -> None:
    """But for the first A of a coarsest level that starts from zero (no full approximation scheme): A 0 is 0."""
    assume(fas or (sum(etas) > 1 and options["share"] != "none"))
    torch.manual_seed(0)
    sic = SiC(
        16,
        group_size=4,
        coarsest=4,
        eta_pre=etas[0],
        eta_post=etas[1],
        cycle=kind,
        channel_fas=fas,
        correction_act=rectify,
        correction=correction,
        transfer_norm=norm,
        **options,
    )
    (sic(torch.randn(4, 16, 5, 5), torch.randn(4, 16, 5, 5)) ** 2).sum().backward()
    for path, parameter in sic.named_parameters():
        assert parameter.grad is not None, path
        assert parameter.grad.isfinite().all(), path
        assert parameter.grad.any(), path


@given(eta_post=st.integers(1, 3), group_size=st.sampled_from([2, 4, 8]))
def test_one_more_step_after_adds_norms_only(eta_post: int, group_size: int) -> None:
    fewer, more = (SiC(32, group_size=group_size, coarsest=8, eta_post=eta_post + k) for k in (0, 1))
    widths = sum(level.channels for level in fewer.hierarchy.levels)
    assert widths == 32 + 16 + 8
    for key, kind in (("norms", 4 * widths), ("weights", 0)):
        of = [sum(getattr(cost.total, key) for cost in sic.costs()) for sic in (fewer, more)]
        assert of[1] - of[0] == kind
    convolutions = [sum(p.numel() for p in sic.parameters() if p.dim() > 1) for sic in (fewer, more)]
    assert convolutions[0] == convolutions[1]


def test_calls_are_those_of_the_algorithm() -> None:
    """9 K - 5 convolutions and transfers for K levels and one step before and after."""
    for levels in (1, 2, 3, 4):
        sic = SiC(4 * 2 ** (levels - 1), group_size=2, coarsest=4)
        calls = 0

        def called(*_: Any) -> None:
            nonlocal calls
            calls += 1

        for module in sic.modules():
            if isinstance(module, nn.Conv2d | Restriction | Prolongation):
                module.register_forward_hook(called)
        sic(torch.randn(2, sic.hierarchy.channels, 3, 3), torch.randn(2, sic.hierarchy.channels, 3, 3))
        assert calls == 9 * levels - 5


@pytest.mark.parametrize("coarsest", [3, 48, 64, 65, 192])
@pytest.mark.parametrize("channels", [64, 96, 192, 384, 768])
def test_the_coarsest_width_is_at_least_what_was_asked_for(channels: int, coarsest: int) -> None:
    """Levels: floor(log2(floor(c / c_K))) + 1, one where c is below c_K."""
    widths = [level.channels for level in SiC(channels, coarsest=coarsest, group_size=1).hierarchy.levels]
    assert all(a == 2 * b for a, b in pairwise(widths))
    expected = (channels // coarsest).bit_length() if channels >= coarsest else 1
    if channels % 2 ** (expected - 1) == 0:
        assert len(widths) == expected


def test_rectified_corrections_are_not_negative() -> None:
    sic = SiC(8, group_size=2, coarsest=4, correction_act=True, eta_post=0)
    caught: list[Tensor] = []
    sic.prolong[0].register_forward_hook(lambda *args: caught.append(args[2].detach()))
    zero, f = torch.zeros(2, 8, 4, 4), torch.randn(2, 8, 4, 4)
    u = sic(zero, f)
    assert (caught[0] < 0).any()
    steps = sic.relax[0].uses()
    assert torch.allclose(u, next(steps)(zero, f) + caught[0].relu())


def test_uses_have_weights_in_common_and_norms_of_their_own() -> None:
    sic = SiC(32, group_size=4, coarsest=4, cycle="W", transfer_norm="both")
    visits = Cycle("W").visits(4)
    assert visits == [1, 2, 4, 4]
    for level in range(3):
        for name in ("restrict", "project", "prolong"):
            first, later = getattr(sic, name)[level], getattr(sic, f"{name}_again")[level]
            assert len(later) == visits[level] - 1
            assert all(use.rows is first.rows and use.norm is not first.norm for use in later)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"correction": "full"}, UnknownNameError, ["correction='full'", "fas, plain"]),
        ({"transfer_norm": "all"}, UnknownNameError, ["transfer_norm='all'", "prolong, both, none"]),
        ({"cycle": "U"}, UnknownNameError, ["cycle='U'"]),
        ({"eta_pre": 0, "eta_post": 0}, UsageError, ["both 0"]),
        ({"eta_pre": -1}, UsageError, ["at least 0", "-1"]),
        ({"group_size": 0}, UsageError, ["group_size", "at least 1"]),
        ({"dims": 4}, UsageError, ["dims=4"]),
    ],
)
def test_impossible_options_are_explained(options: dict[str, Any], error: type[Exception], words: list[str]) -> None:
    with pytest.raises(error) as caught:
        SiC(16, **options)
    assert all(word in str(caught.value) for word in words), str(caught.value)
