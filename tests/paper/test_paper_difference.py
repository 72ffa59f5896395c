"""When our accuracy counts as the printed one."""

from dataclasses import replace
from decimal import Decimal
from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchmg.paper import TABLES
from torchmg.paper.difference import difference
from torchmg.paper.measured import Measured
from torchmg.paper.rows import Accuracy
from torchmg.train.recipe import recipe

WHOLE = recipe("mgiad_cifar10_mgiad18")
TRAINING = TABLES["mgiad-2"].training


def runs(*test: float, **changes: object) -> Measured:
    return Measured(replace(WHOLE, **changes), test, test)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("printed", "ours", "limit", "verdict"),
    [
        (Accuracy(Decimal("94.58")), runs(94.28), 0.3, "agrees"),
        (Accuracy(Decimal("94.58")), runs(94.27), 0.3, "differs"),
        (Accuracy(Decimal("94.58")), runs(94.89), 0.3, "differs"),
        (Accuracy(Decimal("94.58"), spread=Decimal("0.25")), runs(94.08), 0.5, "agrees"),
        (Accuracy(Decimal("94.58"), spread=Decimal("0.25")), runs(94.07), 0.5, "differs"),
        (Accuracy(Decimal("94.58"), spread=Decimal("0.3")), runs(93.2, 94.0), 2 * sqrt(0.09 + 0.32), "agrees"),
        (Accuracy(Decimal("94.58")), runs(94.58, epochs=12), 0.3, "shortened"),
        (Accuracy(Decimal("94.58")), runs(94.58, epochs=399), 0.3, "shortened"),
        (Accuracy(Decimal("94.58")), runs(94.58, subset=40_000), 0.3, "shortened"),
        (Accuracy(Decimal("94.58")), runs(94.58, epochs=800), 0.3, "agrees"),
    ],
)
def test_verdicts(printed: Accuracy, ours: Measured, limit: float, verdict: str) -> None:
    found = difference(printed, ours, TRAINING)
    assert found is not None
    assert found.limit == pytest.approx(limit)
    assert found.verdict == verdict


@given(st.lists(st.floats(50, 100), min_size=2, max_size=6), st.integers(5000, 10_000), st.integers(0, 300))
def test_the_limit_is_that_of_the_issue(test: list[float], printed: int, spread: int) -> None:
    accuracy = Accuracy(Decimal(printed) / 100, spread=Decimal(spread) / 100)
    found = difference(accuracy, runs(*test), TRAINING)
    assert found is not None
    center = sum(test) / len(test)
    variance = sum((value - center) ** 2 for value in test) / (len(test) - 1)
    joint = (variance + (spread / 100) ** 2) ** 0.5
    assert found.points == pytest.approx(center - printed / 100, abs=1e-9)
    assert found.limit == pytest.approx(max(0.3, 2 * joint), rel=1e-6)
    if abs(abs(found.points) - found.limit) > 1e-6:
        assert (found.verdict == "differs") == (abs(found.points) > found.limit)


def test_unknown_lengths_are_compared_with_our_recipe_and_nothing_with_nothing() -> None:
    mgic = TABLES["mgic-3"]
    printed, whole = Accuracy(Decimal("93.0")), recipe("cifar10_resnet56")
    for epochs, verdict in ((whole.epochs, "agrees"), (whole.epochs - 1, "shortened")):
        found = difference(printed, Measured(replace(whole, epochs=epochs), (93.1,), (99.0,)), mgic.training)
        assert found is not None
        assert found.verdict == verdict
    assert difference(None, runs(94.0), TRAINING) is None
    assert difference(printed, None, TRAINING) is None
