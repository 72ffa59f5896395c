"""Places for labels at the ends of lines."""

import itertools

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from torchmg.plot.labels import apart

WISHES = st.lists(st.floats(0, 1), max_size=9)


@given(WISHES)
def test_apart_keeps_gap_order_and_limits(wished: list[float]) -> None:
    placed = apart(wished, 0.1, 0.0, 1.0)
    ordered = [place for _, place in sorted(zip(wished, placed, strict=True))]
    assert all(high - low >= 0.1 - 1e-9 for low, high in itertools.pairwise(ordered))
    assert all(-1e-9 <= place <= 1 + 1e-9 for place in placed)


@given(WISHES)
def test_apart_leaves_alone_what_is_apart(wished: list[float]) -> None:
    ordered = sorted(wished)
    assume(all(high - low >= 0.1 for low, high in itertools.pairwise(ordered)))
    assert apart(wished, 0.1, 0.0, 1.0) == pytest.approx(wished)


def test_too_many_reach_below() -> None:
    assert apart([0.5, 0.5, 0.5], 1.0, 0.0, 1.0) == [-1.0, 0.0, 1.0]
    assert apart([], 1.0, 0.0, 1.0) == []
