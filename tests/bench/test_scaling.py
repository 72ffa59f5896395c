"""Counts over width against closed forms, and exponents of sequences whose growth is known."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchmg.bench.scaling import FAMILIES, Growth, exponent_table, scaling, scaling_table
from torchmg.errors import UnknownNameError, UsageError
from torchmg.hierarchy import Cycle, Hierarchy, Level
from torchmg.hierarchy.cost import Cost, relaxation_cost
from torchmg.hierarchy.data_feature import relation_cost, sic_costs
from torchmg.hierarchy.transforms import fft_macs

PIXELS = 32 * 32
BLOCKS = ("dense", "mgic", "mgnet", "mgiad", "mlp", "mgic_mlp")


def coupling_weights(family: str, c: int, s: int, coarsest: int) -> int:
    """Weights of one 3x3 coupling c -> c, from the definition of each."""
    rows = max(d for d in range(1, math.isqrt(c) + 1) if c % d == 0)
    return {
        "full": 9 * c**2,
        "pointwise": c**2,
        "separable": c**2 + 9 * c,
        "union": c**2 + 8 * c,
        "lean": c**2 + 4 * c,
        "grouped": 9 * s * c,
        "shuffle": 9 * s * c,
        "depthwise": 9 * c,
        "chain": 9 * (3 * c - 2),
        "block_chain": 9 * s**2 * (3 * c // s - 2),
        "lattice": 9 * (5 * c - 2 * (rows + c // rows)),
        "multigrid": sum(c.total.weights for c in Hierarchy(c, s, coarsest).costs("conv", transfer_norm="none")),
        "circulant": 9 * c,
        "circulant_fft": 9 * c,
    }[family]


def coupling_macs(family: str, c: int, s: int, coarsest: int) -> int:
    """Of maps of 32 x 32: a MAC a weight and pixel, but for shared weights."""
    if family == "circulant":
        return 9 * c**2 * PIXELS
    if family == "circulant_fft":  # four real products a complex one; maps there and back, nine taps of weights there
        return 4 * 9 * (c // 2 + 1) * PIXELS + fft_macs([c], 2 * PIXELS + 9)
    return coupling_weights(family, c, s, coarsest) * PIXELS


def closed_form(family: str, channels: int, group_size: int, coarsest: int) -> Cost:
    whole = Level(channels, channels, 1)
    if family == "dense":
        return relaxation_cost("residual", whole)
    if family == "mgnet":
        return relation_cost(whole, steps=2)
    if family == "mlp":
        return relaxation_cost("mlp", whole, dims=0)
    if family == "mgic":
        costs = Hierarchy(channels, group_size, coarsest).costs()
    elif family == "mgic_mlp":
        costs = Hierarchy(channels, group_size, coarsest).costs("mlp", dims=0)
    else:
        levels = Hierarchy(channels, group_size, coarsest, stop="ge", transfer_groups="pair")
        costs = sic_costs(levels, Cycle("V", 1, 1, solve=2))
    return sum((cost.total for cost in costs), Cost(0))


@pytest.mark.parametrize(("group_size", "coarsest"), [(8, 16), (4, 32), (16, 8)])
def test_counts_are_the_closed_form_s(group_size: int, coarsest: int) -> None:
    for found in scaling(BLOCKS, (16, 64, 192), group_size=group_size, coarsest=coarsest):
        costs = [closed_form(found.family, channels, group_size, coarsest) for channels in (16, 64, 192)]
        assert found.parameters.counts == tuple(cost.parameters for cost in costs)
        assert found.macs.counts == tuple(cost.macs(PIXELS) for cost in costs)


@pytest.mark.parametrize(("group_size", "coarsest"), [(8, 16), (4, 32)])
def test_counts_of_couplings_are_the_closed_form_s(group_size: int, coarsest: int) -> None:
    widths = (16, 64, 192)
    families = [family for family in FAMILIES if family not in BLOCKS]
    assert len(families) == 14
    for found in scaling(families, widths, group_size=group_size, coarsest=coarsest):
        sizes = (group_size, coarsest)
        assert found.parameters.counts == tuple(coupling_weights(found.family, c, *sizes) for c in widths)
        assert found.macs.counts == tuple(coupling_macs(found.family, c, *sizes) for c in widths)


def test_exponents_of_couplings_on_a_wide_range() -> None:
    expected = dict.fromkeys(("full", "pointwise", "separable", "union", "lean"), (2, 2))
    linear = ("grouped", "shuffle", "depthwise", "chain", "block_chain", "lattice", "multigrid", "mgic")
    expected |= dict.fromkeys(linear, (1, 1)) | {"circulant": (1, 2)}
    for found in scaling(tuple(expected), [2**n for n in range(8, 17)]):
        fits = found.parameters.fit(), found.macs.fit()
        assert tuple(round(fit.exponent, 2) for fit in fits) == expected[found.family], found.family
        assert all(fit.settled for fit in fits), found.family


def test_the_logarithm_of_channel_transforms_never_settles_and_the_table_says_so() -> None:
    (found,) = scaling(["circulant_fft"], [2**n for n in range(8, 17)])
    assert (found.parameters.fit().exponent, found.parameters.fit().settled) == (pytest.approx(1), True)
    assert not found.macs.fit().settled
    assert 1 < found.macs.fit().exponent < 1.07
    assert all(wide < narrow for narrow, wide in pairwise(found.macs.slopes))
    assert "c log2 c" in exponent_table([found]).note
    assert "log2" not in exponent_table(scaling(["circulant"])).note


def test_terms_of_other_powers_do_not_pass_for_settled() -> None:
    widths = [2**n for n in range(6, 13)]
    lattice, union = scaling(["lattice", "union"], widths)  # of 2^n channels, sides double in turn
    assert lattice.parameters.slopes[-1] == pytest.approx(lattice.parameters.slopes[-2], abs=1e-4)
    assert not lattice.parameters.fit().settled
    assert union.macs.fit().settled
    assert not scaling(["union"], widths[:5])[0].macs.fit().settled
    assert not Growth((64, 128, 256), (64, 128, 256)).settled  # too few
    growths = (lambda c: c * math.log2(c), lambda c: c + math.sqrt(c) / 2)
    doublings = tuple(64 * 2**n for n in range(6))
    for widths in (doublings, (100, 150, 400, 700, 1500, 2400)):
        for grows in growths:
            growth = Growth(tuple(widths), tuple(round(1e6 * grows(c)) for c in widths))
            assert abs(growth.slopes[-1] - 1) > 0.005
            assert not growth.settled
        assert Growth(widths, tuple(1000 * c + 2000 for c in widths)).settled


def test_exponents_of_the_default_range() -> None:
    exponents = {s.family: (s.parameters.fit(), s.macs.fit()) for s in scaling(BLOCKS)}
    for family, expected in {"dense": 2, "mgnet": 2, "mlp": 2, "mgic": 1, "mgiad": 1, "mgic_mlp": 1}.items():
        assert [round(fit.exponent, 2) for fit in exponents[family]] == [expected, expected]
        assert all(fit.settled and fit.end == 1024 for fit in exponents[family])


def test_a_wide_coarsest_level_hides_the_slope_and_the_fit_says_so() -> None:
    (narrow,) = scaling(["mgiad"], coarsest=64)
    assert not narrow.parameters.fit().settled
    assert not narrow.macs.fit().settled
    assert "Not settled" in exponent_table([narrow]).note
    (wide,) = scaling(["mgiad"], [2**n for n in range(6, 17)], coarsest=64)
    assert wide.parameters.fit().settled
    assert wide.parameters.fit().exponent == pytest.approx(1, abs=0.005)


@given(
    power=st.floats(0.5, 3),
    lower=st.floats(-20, 20),
    widths=st.lists(st.integers(4, 2000), min_size=2, max_size=8, unique=True).map(sorted),
)
def test_slopes_and_the_fit_are_those_of_the_logarithms(power: float, lower: float, widths: list[int]) -> None:
    counts = [round(1e6 * c**power * math.exp(lower / c)) for c in widths]
    growth = Growth(tuple(widths), tuple(counts))
    x, y = np.log(np.array(widths, float)), np.log(np.array(counts, float))
    assert growth.slopes == pytest.approx(np.diff(y) / np.diff(x), abs=1e-9)
    fit = growth.fit()
    part = slice(widths.index(fit.start), None)
    assert fit.exponent == pytest.approx(np.polyfit(x[part], y[part], 1)[0], abs=1e-8)
    assert (fit.end, widths.index(fit.start) <= len(widths) - 2) == (widths[-1], True)


@given(power=st.sampled_from((1, 2)), lower=st.integers(-40, 40))
def test_a_fit_that_has_settled_is_right_to_half_a_unit_of_the_second_decimal(power: int, lower: int) -> None:
    widths = tuple(64 * 2**n for n in range(6))
    fit = Growth(widths, tuple(100 * c**power + 100 * lower * c ** (power - 1) for c in widths)).fit()
    # The widest slope is off by lower (1/1024 - 1/2048) / log 2, which is 0.005 at 7.1.
    if abs(lower) not in (7, 8):
        assert fit.settled == (abs(lower) < 7)
    if fit.settled:
        assert fit.exponent == pytest.approx(power, abs=0.0055)


def test_the_asymptotic_part_ends_where_slopes_part() -> None:
    widths = tuple(2**n for n in range(4, 12))
    pure = Growth(widths, tuple(7 * c**2 for c in widths))
    assert (pure.fit().start, pure.fit().settled) == (16, True)
    bent = Growth(widths, tuple(c * max(c, 256) for c in widths))  # exponent 1 up to 256, then 2
    assert (bent.fit().start, bent.fit().exponent) == (256, pytest.approx(2))
    pair = Growth((64, 128), (10, 40))
    assert (pair.fit().exponent, pair.fit().settled) == (pytest.approx(2), False)


def test_tables() -> None:
    found = scaling(["dense", "dense"], [128, 64, 64])
    table = scaling_table(found)
    assert [row[:3] for row in table.rows] == [("dense", 64, 73_984), ("dense", 128, 295_424)]
    assert table.rows[0][4:] == (None, None)
    assert table.rows[1][4:] == (pytest.approx(math.log2(295_424 / 73_984)), pytest.approx(2))
    assert exponent_table(found).rows[1] == ("dense", "MACs", "2.00", 64, 128, "no")


@pytest.mark.parametrize(
    ("families", "widths", "message"),
    [
        (["dense"], [64], r"at least two different widths; got 64"),
        (["dense"], [], r"got none"),
        (["dense"], [0, 64], r"1 to 65,536; got 0"),
        (["dense"], [64, 2**17], r"got 131072"),
        ([], [64, 128], r"at least one family: dense, mgic, mgnet, mgiad, mlp, mgic_mlp, full"),
        (["mgic"], [64, 128], r"group_size must be"),
    ],
)
def test_mistakes(families: list[str], widths: list[int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        scaling(families, widths, group_size=0)
    with pytest.raises(UnknownNameError, match="mgiad"):
        scaling(["mgiat"])
