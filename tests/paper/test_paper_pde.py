"""Numbers of Ruthotto and Haber's networks and of IMEXnet against our models and against closed forms."""

from dataclasses import replace
from itertools import pairwise

import pytest

from torchmg.models.options import ModelOptions
from torchmg.paper import TABLES
from torchmg.paper.counts import Counts, by_the_text, counts
from torchmg.paper.measured import Measured, of_row, resolved
from torchmg.paper.rows import Network, Row
from torchmg.train.recipe import recipe

WIDTHS = {
    "cifar10": ((32, 64, 112, 112), 10),
    "cifar100": ((32, 64, 128, 256), 100),
    "stl10": ((16, 32, 64, 128, 128), 10),
}
"""Of the public drivers: opening and behind each block, and classes."""
ROWS = [(data, row) for data in WIDTHS for row in TABLES[f"pde-{data}"].rows]


def counted(row: Row) -> Counts:
    result = counts(row)
    assert result is not None
    return result


def closed_form(data: str, halves: bool) -> int:
    """3x3 opening, three steps a block of one kernel and a norm, 1x1 connections, classifier with bias."""
    widths, classes = WIDTHS[data]
    steps = sum(9 * n * n // (2 if halves else 1) + 2 * n for n in widths[:-1])
    return 29 * widths[0] + 3 * steps + sum((n + 2) * m for n, m in pairwise(widths)) + (widths[-1] + 1) * classes


@pytest.mark.parametrize(("data", "row"), ROWS, ids=lambda value: getattr(value, "label", value))
def test_weights_are_printed_counted_and_derived_alike(data: str, row: Row) -> None:
    assert row.parameters.unit == 1, "known to the last weight"
    assert row.parameters.value == counted(row).published == closed_form(data, row.label == "hamiltonian")
    assert row.verdict(counted(row).published) == "exact"
    assert row.verdict(counted(row).published + 1) == "not matched (+0.0 %)", "the verdict is computed"
    assert by_the_text(row) is None, "only MGIC has rules of a text"


def test_every_network_is_on_every_set_and_what_is_remembered_says_so() -> None:
    for data in WIDTHS:
        table = TABLES[f"pde-{data}"]
        assert [row.label for row in table.rows] == ["parabolic", "hamiltonian", "second order"]
        assert "remembered" in table.note
        assert all(row.accuracy and row.accuracy.train is None for row in table.rows)


@pytest.mark.parametrize("data", WIDTHS)
def test_recipes_train_as_the_drivers_but_for_what_they_say(data: str) -> None:
    """A whole run of the recipe differs in nothing that the table knows; a default preset may be named."""
    table = TABLES[f"pde-{data}"]
    row = table.rows[0]
    assert isinstance(row.ours, Network)
    options = replace(row.ours.options, preset=data)
    run = Measured(recipe(f"pde_{data}_parabolic", options=options), (50.0,), (60.0,))
    assert of_row(row, table, [run]) is run
    assert run.differences(table.training) == []
    short = replace(run, recipe=replace(run.recipe, epochs=2))
    assert short.differences(table.training) == [f"2 of {table.training['epochs']} epochs"]
    assert of_row(table.rows[1], table, [run]) is None
    assert resolved("parabolic", ModelOptions()) == resolved("parabolic", ModelOptions(preset="cifar10"))


def test_released_imexnet_is_counted_as_its_script_counts() -> None:
    """Openings 9 (64 + 64 128 + 128 256), three steps of 9 c^2 a width; a stencil of 9 c each, the last left out."""
    baseline, implicit = TABLES["imexnet-code"].rows
    widths = (64, 128, 256)
    kernels = 9 * sum(a * b for a, b in pairwise((1, *widths))) + 27 * sum(c * c for c in widths)
    stencils = 9 * (3 * sum(widths) - 256)
    norms, classifier = 2 * 4 * sum(widths), 257 * 4
    for row, count, kept in ((baseline, kernels, 0), (implicit, kernels + stencils, 9 * 256)):
        assert row.parameters.value == count == counted(row).published
        assert counted(row).effective == count + norms + classifier + kept
        assert row.verdict(counted(row).published) == "exact"
    assert stencils == 9_792
