"""The hierarchy against the published vectors, closed forms written here, and brute force."""

import warnings
from itertools import pairwise
from math import ceil, log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchmg.errors import HierarchyWarning
from torchmg.hierarchy import (
    Cost,
    Hierarchy,
    LevelCost,
    cycle_complexity,
    operator_complexity,
)

STOPS = ("le", "le1", "lt1")
RULES = ("ceil", "floor", "ceil_down")
sizes = st.integers(1, 40)


def quiet(*args: object, **options: object) -> Hierarchy:
    """A hierarchy whose warning is not the point of the test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HierarchyWarning)
        hierarchy = Hierarchy(*args, **options)
        assert hierarchy.levels
        return hierarchy


def total(hierarchy: Hierarchy, *args: object) -> Cost:
    return sum((cost.total for cost in hierarchy.costs(*args)), Cost(0))


def widths(hierarchy: Hierarchy) -> list[int]:
    return [level.channels for level in hierarchy.levels]


def groups(hierarchy: Hierarchy) -> list[int]:
    return [level.groups for level in hierarchy.levels]


# Published vectors (Table 1, Eq. 8, blocks of the published code) ----------------------------------------------------

BASIC = [  # c, s_c, s_g; `le` widths, groups, total, weights; `lt1` total
    (64, 16, 8, [64, 32, 16], [8, 4, 1], 19_840, 19_200, 18_880),
    (64, 16, 16, [64, 32, 16], [4, 2, 1], 34_432, 33_792, 35_904),
    (128, 64, 64, [128, 64], [2, 1], 230_400, 229_376, 253_184),
    (256, 64, 32, [256, 128, 64], [8, 4, 1], 309_760, 307_200, 293_632),
    (256, 64, 64, [256, 128, 64], [4, 2, 1], 543_232, 540_672, 566_016),
    (512, 64, 64, [512, 256, 128, 64], [8, 4, 2, 1], 1_168_896, 1_163_264, 1_191_680),
]


@pytest.mark.parametrize(("c", "coarsest", "size", "expected", "cut", "parameters", "weights", "lt1"), BASIC)
def test_basic_block_has_the_published_counts(
    c: int, coarsest: int, size: int, expected: list[int], cut: list[int], parameters: int, weights: int, lt1: int
) -> None:
    hierarchy = Hierarchy(c, size, coarsest)
    assert widths(hierarchy) == expected
    assert groups(hierarchy) == cut
    assert total(hierarchy) == Cost(weights, parameters - weights)
    assert total(Hierarchy(c, size, coarsest, stop="lt1")).parameters == lt1


@pytest.mark.parametrize(
    ("stop", "middle", "parameters"),
    [
        *zip(["le1"] * 4, [64, 128, 256, 512], [86_656, 208_128, 483_584, 1_034_496], strict=True),
        *zip(["lt1"] * 4, [64, 128, 256, 512], [86_656, 224_384, 499_840, 1_050_752], strict=True),
    ],
)
def test_bottleneck_has_the_published_counts(stop: str, middle: int, parameters: int) -> None:
    hierarchy = Hierarchy(4 * middle, 32, 64, stop, hidden=middle, group_by="mid")
    assert total(hierarchy, "bottleneck").parameters == parameters


@pytest.mark.parametrize(("size", "parameters"), [(32, 3_328), (16, 1_792), (8, 896), (4, 448)])
def test_transfers_alone_sum_to_table_1(size: int, parameters: int) -> None:
    hierarchy = Hierarchy(64, size, 8)
    costs = hierarchy.costs(transfer_norm="none")
    assert widths(hierarchy) == [64, 32, 16, 8]
    assert sum((cost.restrict + cost.prolong).parameters for cost in costs) == parameters


@pytest.mark.parametrize(
    ("c", "multigrid", "dense"),
    [
        (128, 118_784, 147_456),
        (256, 282_624, 589_824),
        (512, 610_304, 2_359_296),
        (1024, 1_265_664, 9_437_184),
        (2048, 2_576_384, 37_748_736),
    ],
)
def test_one_convolution_a_level_costs_equation_8(c: int, multigrid: int, dense: int) -> None:
    hierarchy = Hierarchy(c, 64, 64)
    assert total(hierarchy, "conv", 3, "none") == Cost(multigrid)
    assert hierarchy.dense_cost("conv") == Cost(dense)
    levels = round(log2(c / 64)) + 1
    assert multigrid == 2 * c * 64 * 10 * (1 - 2 ** (1 - levels)) + 9 * (c / 2 ** (levels - 1)) ** 2


# Stop rules ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stop", "at_16", "at_64"),
    [("le", [64, 32, 16], [64]), ("le1", [64, 32, 16], [64, 32]), ("lt1", [64, 32, 16, 8], [64, 32])],
)
def test_stop_rules_end_where_they_should(stop: str, at_16: list[int], at_64: list[int]) -> None:
    assert widths(Hierarchy(64, 8, 16, stop)) == at_16
    assert widths(Hierarchy(64, 8, 64, stop)) == at_64


@pytest.mark.parametrize("c", [1, 3, 5, 7, 15])
@pytest.mark.parametrize("stop", STOPS)
def test_an_odd_width_is_the_coarsest_level(c: int, stop: str) -> None:
    assert widths(Hierarchy(c, 4, 16, stop)) == [c]
    assert widths(Hierarchy(4 * c, 4, 1000, stop)) == ([4 * c] if stop == "le" else [4 * c, 2 * c])
    assert widths(quiet(4 * c, 1, 1, stop)) == (  # odd widths end it, except that 1 already is the end
        [4 * c, 2 * c, c] if c > 1 or stop != "le" else [4, 2, 1]
    )


@given(odd=st.integers(1, 13), power=st.integers(0, 7), coarsest=sizes, stop=st.sampled_from(STOPS))
def test_widths_halve_until_the_rule_or_an_odd_width_stops_them(odd: int, power: int, coarsest: int, stop: str) -> None:
    c = odd * 2**power
    found = widths(quiet(c, 4, coarsest, stop))
    assert found == [c // 2**level for level in range(len(found))]
    last, before = found[-1], found[:-1]
    small = {"le": last <= coarsest, "le1": last <= coarsest, "lt1": last < coarsest}[stop]
    forced = stop != "le" and not before
    assert last % 2 == 1 or (small and not forced)
    for index, width in enumerate(before):
        if stop == "le" or index > 0:
            assert width >= coarsest if stop == "lt1" else width > coarsest


@given(power=st.integers(0, 12), s=st.integers(0, 12))
def test_depth_of_powers_of_two_is_the_papers(power: int, s: int) -> None:
    c, coarsest = 2**power, 2**s
    depth = max(0, ceil(log2(c / coarsest))) + 1
    assert len(Hierarchy(c, 8, coarsest, "le").levels) == depth
    assert len(Hierarchy(c, 8, coarsest, "le1").levels) == (max(depth, 2) if c > 1 else 1)
    if c > coarsest > 1:
        assert len(Hierarchy(c, 8, coarsest, "lt1").levels) == depth + 1


def test_hidden_widths_halve_along_and_an_odd_one_ends_the_hierarchy() -> None:
    assert [(level.channels, level.hidden) for level in Hierarchy(80, 8, 16, hidden=200).levels] == [
        (80, 200),
        (40, 100),
        (20, 50),
        (10, 25),
    ]
    assert [(level.channels, level.hidden) for level in Hierarchy(80, 8, 20, hidden=100).levels] == [
        (80, 100),
        (40, 50),
        (20, 25),
    ]
    with pytest.warns(HierarchyWarning):
        stuck = Hierarchy(64, 8, 8, hidden=50)
    assert [(level.channels, level.hidden) for level in stuck.levels] == [(64, 50), (32, 25)]


def test_sizes_are_measured_on_the_width_asked_for() -> None:
    outer = Hierarchy(256, 16, 64, hidden=64, group_by="outer")
    middle = Hierarchy(256, 16, 64, hidden=64, group_by="mid")
    assert [(level.channels, level.groups) for level in outer.levels] == [(256, 16), (128, 8), (64, 1)]
    assert [(level.channels, level.groups) for level in middle.levels] == [(256, 1)]
    finer = Hierarchy(256, 16, 16, hidden=64, group_by="mid")
    assert [(level.hidden, level.groups, level.group_size) for level in finer.levels] == [
        (64, 4, 64),
        (32, 2, 64),
        (16, 1, 64),
    ]


# Group rules ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("c", "hidden", "size", "expected"),
    [
        (40, 120, 64, {"ceil": 1, "floor": 1, "ceil_down": 1}),  # the paper's example: groups of 40
        (80, 184, 64, {"ceil": 2, "floor": 1, "ceil_down": 2}),
        (112, 480, 16, {"ceil": 8, "floor": 4, "ceil_down": 4}),
        (112, 480, 64, {"ceil": 2, "floor": 1, "ceil_down": 2}),
        (160, 672, 32, {"ceil": 8, "floor": 4, "ceil_down": 4}),
        (160, 672, 64, {"ceil": 4, "floor": 2, "ceil_down": 2}),
        (160, None, 64, {"ceil": 4, "floor": 2, "ceil_down": 2}),
        (64, None, 8, {"ceil": 8, "floor": 8, "ceil_down": 8}),
        (64, None, 100, {"ceil": 1, "floor": 1, "ceil_down": 1}),
        (64, None, 1, {"ceil": 32, "floor": 32, "ceil_down": 32}),  # the next level has 32 channels
    ],
)
def test_group_counts_of_widths_that_do_not_divide(
    c: int, hidden: int | None, size: int, expected: dict[str, int]
) -> None:
    for rule, count in expected.items():
        level = quiet(c, size, 8, "le1", rule, hidden).levels[0]
        assert (level.groups, level.group_size) == (count, c // count), rule


@given(half=st.integers(1, 200), hidden_half=st.integers(1, 200), size=sizes, rule=st.sampled_from(RULES))
def test_group_rules_equal_brute_force(half: int, hidden_half: int, size: int, rule: str) -> None:
    c, hidden = 2 * half, 2 * hidden_half
    level = quiet(c, size, 1, "le1", rule, hidden).levels[0]
    possible = [g for g in range(1, c + 1) if c % g == 0 and hidden % g == 0 and half % g == 0]
    if rule == "ceil":
        expected = min((g for g in possible if c / g <= size), default=max(possible))
    elif rule == "floor":
        expected = max(g for g in possible if g <= max(c // size, 1))
    else:
        expected = max(g for g in possible if g <= ceil(c / size))
    assert level.groups == expected


@given(
    c=st.integers(1, 600),
    ratio=st.sampled_from([1, 2, 3, 6]),
    size=sizes,
    coarsest=sizes,
    stop=st.sampled_from(STOPS),
    rule=st.sampled_from(RULES),
)
def test_groups_divide_every_width_they_cut(c: int, ratio: int, size: int, coarsest: int, stop: str, rule: str) -> None:
    hierarchy = quiet(c, size, coarsest, stop, rule, ratio * c)
    assert hierarchy.levels[-1].groups == 1
    for fine, coarse in zip(hierarchy.levels, hierarchy.levels[1:], strict=False):
        assert coarse.channels * 2 == fine.channels
        assert coarse.hidden * 2 == fine.hidden
        assert fine.channels % fine.groups == fine.hidden % fine.groups == coarse.channels % fine.groups == 0
        allowed = [g for g in range(1, coarse.channels + 1) if coarse.channels % g == 0 and fine.channels % g == 0]
        if rule == "ceil" and any(fine.channels // g <= size for g in allowed):
            assert fine.group_size <= size
    assert hierarchy.grid_complexity == sum(widths(hierarchy)) / c
    assert 1 <= hierarchy.grid_complexity < 2


# Cost ----------------------------------------------------------------------------------------------------------------


@given(c0=st.integers(1, 24), size=st.integers(2, 24), extra=st.integers(0, 24), convs=st.sampled_from([1, 2]))
def test_parameters_are_affine_in_width(c0: int, size: int, extra: int, convs: int) -> None:
    coarsest = c0 + extra
    kind = ("conv", "residual")[convs - 1]
    wide = [quiet(c0 * 2**j, size, coarsest) for j in range(9, 14)]
    parameters = [total(h, kind).parameters for h in wide]
    excess = {double - 2 * single for single, double in pairwise(parameters)}
    assert len(excess) == 1, "P(2c) - 2 P(c) must not depend on c"
    group = max(m for m in range(2, size + 1, 2) if wide[0].channels % m == 0)  # even: its half must be whole too
    slope = (9 * convs + 1) * group + 2 + 4 * (convs - 1)
    assert parameters[1] - parameters[0] == slope * wide[1].channels
    for hierarchy, count in zip(wide, parameters, strict=True):
        c = hierarchy.channels
        bound = 2 * c * size * (9 * convs + 1) + 9 * convs * coarsest**2
        assert count <= bound + 2 * c * (2 + 4 * (convs - 1)) + 4 * coarsest
        assert hierarchy.dense_cost("conv").weights == 9 * c * c


@given(c=st.integers(1, 200), kernel=st.sampled_from([1, 3, 5]))
def test_dense_weights_quadruple(c: int, kernel: int) -> None:
    for kind, scale in (("conv", 1), ("residual", 2)):
        single, double = (quiet(w, 8, 1000).dense_cost(kind, kernel).weights for w in (c, 2 * c))
        assert double == 4 * single == 4 * scale * kernel**2 * c**2


@given(
    j=st.integers(0, 8), coarsest=st.sampled_from([4, 8, 16]), size=st.sampled_from([2, 4]), k=st.sampled_from([1, 3])
)
def test_equation_8_with_norms(j: int, coarsest: int, size: int, k: int) -> None:
    c, levels = coarsest * 2**j, j + 1
    fine = c * (2 - 2.0 ** (2 - levels))  # sum of the widths above the coarsest
    hierarchy = Hierarchy(c, size, coarsest)
    weights = (2 * k * k + 1) * size * fine + 2 * k * k * coarsest**2
    relax_norms = 4 * (fine + coarsest)
    assert total(hierarchy, "residual", k, "none") == Cost(round(weights), round(relax_norms))
    assert total(hierarchy, "residual", k, "prolong") == Cost(round(weights), round(relax_norms + 2 * fine))
    assert total(hierarchy, "residual", k, "both") == Cost(round(weights), round(relax_norms + 3 * fine))


def test_complexities_are_ratios_to_the_finest_relaxation() -> None:
    costs = [LevelCost(Cost(100, 10), Cost(7), Cost(7, 6)), LevelCost(Cost(80, 4))]
    assert operator_complexity(costs) == (110 + 84) / 110
    assert operator_complexity(costs, transfers=True) == (110 + 84 + 7 + 13) / 110
    assert cycle_complexity(costs) == (100 + 80 + 7 + 7) / 100
