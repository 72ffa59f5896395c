"""What a reader of the MGIC paper's text would build, beside the preset that comes nearest; notes of whole tables."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from torchmg import cli
from torchmg.models.options import ModelOptions, Preset
from torchmg.paper import TABLES
from torchmg.paper.counts import by_the_text, counts
from torchmg.paper.rows import Network, Row
from torchmg.paper.show import TEXT, for_people, for_programs

RESNETS = [row for name in ("mgic-3", "mgic-12") for row in TABLES[name].rows if row.label.startswith("MGIC")]


def sizes(row: Row) -> tuple[int, int]:
    """(s_c, s_g) as printed."""
    found = re.fullmatch(r"MGIC-ResNet-56, s_c=(\d+), s_g=(\d+)", row.label)
    assert found is not None
    return int(found[1]), int(found[2])


def closed_form(coarsest: int, group_size: int) -> int:
    """Weights of MGIC-ResNet-56 on three channels and ten classes, halving until a width is at most `coarsest`."""
    total = (27 + 2) * 16 + 11 * (32 + 64) + (64 + 1) * 10
    for width in (16, 32, 64):
        block, c = 0, width
        while c > coarsest:
            block += (2 * 9 + 1) * c * min(group_size, c) + (4 + 2) * c
            c //= 2
        total += 9 * (block + 18 * c * c + 4 * c)
    return total


@pytest.mark.parametrize("row", RESNETS, ids=lambda row: f"{row.label} {row.parameters.text}")
def test_the_texts_rules_are_applied_to_the_printed_sizes(row: Row) -> None:
    assert by_the_text(row) == closed_form(*sizes(row))


def test_the_preset_of_a_row_is_no_farther_from_what_is_printed_than_the_texts() -> None:
    for row in RESNETS:
        ours, text = counts(replace(row, macs=None)), by_the_text(row)
        assert ours is not None
        assert text is not None
        assert abs(ours.effective - row.parameters.value) <= abs(text - row.parameters.value), row.label


def under(row: Row, preset: Preset) -> Row:
    """The row counted with another preset and the sizes of its label, of which `two_level` has no s_c."""
    coarsest, group_size = sizes(row)
    options = ModelOptions(preset=preset, group_size=group_size, coarsest=None if preset == "two_level" else coarsest)
    assert isinstance(row.ours, Network)
    return replace(row, ours=replace(row.ours, options=options), departs="")


def verdicts(row: Row) -> tuple[str, str | None]:
    ours = counts(row)
    assert ours is not None
    return row.verdict(ours.effective), row.verdict_of_macs(ours.macs)


@pytest.mark.slow
def test_no_preset_has_both_the_printed_parameters_and_macs() -> None:
    """What the notes of the tables claim; MACs are counted only where parameters fit."""
    fitting = []
    for row in RESNETS:
        for preset in get_args(Preset):
            candidate = under(row, preset)
            parameters = counts(replace(candidate, macs=None))
            if parameters and row.parameters.agrees(parameters.effective):
                fitting.append(verdicts(candidate))
    assert len(fitting) >= 3
    assert all((macs or "").startswith("not matched (+") for _, macs in fitting)


def test_one_printed_number_of_macs_is_met_with_too_few_parameters() -> None:
    assert sizes(RESNETS[-1]) == (16, 4)
    parameters, macs = verdicts(under(RESNETS[-1], "table5"))
    assert macs == "exact"
    assert parameters.startswith("not matched (-")


def test_the_texts_rules_are_only_asked_for_where_there_are_presets() -> None:
    assert by_the_text(TABLES["mgic-3"].rows[0]) is None, "dense"
    assert by_the_text(TABLES["mgic-1"].rows[0]) is None, "transfers alone"
    assert by_the_text(TABLES["mgic-9"].rows[1]) is None, "sizes that are not printed"
    assert TEXT not in for_people(TABLES["mgiad-2"], []).columns
    shown = for_people(TABLES["mgic-12"], [])
    assert TEXT in shown.columns
    assert f"{TEXT}: parameters with --preset paper" in shown.note


def test_what_is_said_of_a_whole_table_reaches_programs_too() -> None:
    tables = list(TABLES.values())
    note = for_programs([replace(table, rows=()) for table in tables], []).note
    for table in tables:
        assert not table.note or f"{table.source}: {table.note}" in note


def test_a_table_without_rows_says_why_in_every_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for form in ([], ["--markdown"], ["--json"]):
        assert cli.run(["table", "mgic-8", *form]) == 0
        out = capsys.readouterr().out
        assert "The printed values of this table are not available to us." in out
        assert "|" not in out
        if form == ["--json"]:
            assert json.loads(out)["rows"] == []
