"""What the hierarchy says: warnings, errors, the printed table."""

import re
import warnings

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from torchmg.errors import HierarchyWarning, UnknownNameError, UsageError
from torchmg.hierarchy import Hierarchy, divisors, format_table

STOPS = ("le", "le1", "lt1")
sizes = st.integers(1, 40)


# The warning ---------------------------------------------------------------------------------------------------------


def suggested(message: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", message.split("all the way:")[1])]


@given(
    c=st.integers(1, 700),
    coarsest=sizes,
    stop=st.sampled_from(STOPS),
    ratio=st.sampled_from([(1, 4), (1, 1), (3, 1), (23, 10)]),
    by=st.sampled_from(["mid", "outer"]),
)
def test_a_stuck_hierarchy_warns_and_names_widths_that_work(
    c: int, coarsest: int, stop: str, ratio: tuple[int, int], by: str
) -> None:
    assume(c * ratio[0] % ratio[1] == 0)

    def build(channels: int) -> tuple[Hierarchy, list[str]]:
        hidden = channels * ratio[0] // ratio[1]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            built = Hierarchy(channels, 4, coarsest, stop, "ceil", hidden, by)
        return built, [str(warning.message) for warning in caught]

    hierarchy, messages = build(c)
    last = hierarchy.levels[-1]
    measured = last.hidden if by == "mid" else last.channels
    assert bool(messages) == (measured > 2 * coarsest)
    if not messages:
        return
    assert last.channels % 2 or last.hidden % 2
    assert f"Width {c} " in messages[0]
    assert f"coarsest={coarsest}" in messages[0]
    near = suggested(messages[0])
    assert near or ratio != (1, 1)
    assert near == sorted(near)
    for width in near:
        assert width * ratio[0] % ratio[1] == 0
        works, complaints = build(width)
        end = works.levels[-1].hidden if by == "mid" else works.levels[-1].channels
        assert complaints == []
        assert end <= coarsest


@pytest.mark.parametrize(("c", "coarsest", "near"), [(150, 8, [128, 160]), (37, 16, [36, 40]), (33, 16, [32, 36])])
def test_the_suggested_widths_are_the_nearest(c: int, coarsest: int, near: list[int]) -> None:
    with pytest.warns(HierarchyWarning) as caught:
        Hierarchy(c, 4, coarsest)
    assert suggested(str(caught[0].message)) == near
    assert caught[0].filename == __file__


@pytest.mark.parametrize("c", [17, 31, 34, 62, 124, 1, 16])
@pytest.mark.parametrize("stop", STOPS)
def test_an_odd_end_up_to_twice_coarsest_does_not_warn(c: int, stop: str) -> None:
    Hierarchy(c, 8, 16, stop)


# Wrong requests, printing --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"channels": 0}, UsageError, ["channels", "at least 1", "0"]),
        ({"channels": -64}, UsageError, ["channels", "-64"]),
        ({"channels": 64.0}, UsageError, ["channels", "whole number", "64.0"]),
        ({"group_size": 0}, UsageError, ["group_size", "at least 1"]),
        ({"group_size": -1}, UsageError, ["group_size", "-1"]),
        ({"group_size": 2.5}, UsageError, ["group_size", "whole number", "2.5"]),
        ({"group_size": "8"}, UsageError, ["group_size", "'8'"]),
        ({"coarsest": 0}, UsageError, ["coarsest", "at least 1"]),
        ({"hidden": 0}, UsageError, ["hidden", "at least 1"]),
        ({"stop": "lt"}, UnknownNameError, ["stop", "'lt'", "lt1", "le1"]),
        ({"stop": None}, UnknownNameError, ["stop", "None"]),
        ({"group_rule": "cel"}, UnknownNameError, ["group_rule", "Did you mean ceil", "floor"]),
        ({"group_by": "middle"}, UnknownNameError, ["group_by", "Did you mean mid", "outer"]),
    ],
)
def test_impossible_hierarchies_say_what_and_what_works(
    options: dict[str, object], error: type[Exception], words: list[str]
) -> None:
    with pytest.raises(error) as caught:
        Hierarchy(**{"channels": 64, **options})
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_the_printed_table_shows_every_level_and_the_totals() -> None:
    text = str(Hierarchy(64, 8, 16))
    lines = text.splitlines()
    assert "3 levels" in lines[0]
    assert "parameters 19,840" in lines[1]
    assert f"fully coupled {2 * 9 * 64 * 64 + 4 * 64:,}" in lines[1]
    assert f"ratio {(2 * 9 * 64 * 64 + 256) / 19_840:.2f}" in lines[1]
    assert "grid complexity 1.75" in lines[2]
    rows = [line.split() for line in lines[4:]]
    assert rows[0] == ["0", "64", "8", "8", "9,472", "256", "384"]
    assert rows[1] == ["1", "32", "4", "8", "4,736", "128", "192"]
    assert rows[2] == ["2", "16", "1", "16", "4,672", "-", "-"]
    assert "1 level," in str(Hierarchy(16))


def test_the_table_leaves_out_what_is_not_known() -> None:
    hierarchy = Hierarchy(64)
    text = format_table(hierarchy, hierarchy.costs(), dense=None, macs_known=False)
    assert "fully coupled 1" not in text
    assert "ratio" not in text
    assert "cycle complexity" not in text
    assert "cycle complexity" in str(hierarchy)


@given(number=st.integers(1, 500))
def test_divisors(number: int) -> None:
    found = divisors(number)
    assert found == sorted(set(found))
    assert [d for d in range(1, number + 1) if number / d == number // d] == found
