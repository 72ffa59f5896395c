"""What a reader of the MGIC paper's text would build, beside the preset that comes nearest; notes of whole tables."""

import json
import re
from pathlib import Path

import pytest

from torchmg import cli
from torchmg.paper import TABLES
from torchmg.paper.counts import by_the_text, counts
from torchmg.paper.rows import Row
from torchmg.paper.show import TEXT, for_people, for_programs

RESNETS = [row for name in ("mgic-3", "mgic-12") for row in TABLES[name].rows if row.label.startswith("MGIC")]


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
    sizes = re.fullmatch(r"MGIC-ResNet-56, s_c=(\d+), s_g=(\d+)", row.label)
    assert sizes is not None
    assert by_the_text(row) == closed_form(*map(int, sizes.groups()))


def test_the_preset_of_a_row_is_no_farther_from_what_is_printed_than_the_texts() -> None:
    for row in RESNETS:
        ours, text = counts(row), by_the_text(row)
        assert ours is not None
        assert text is not None
        assert abs(ours.effective - row.parameters.value) <= abs(text - row.parameters.value), row.label


def test_the_texts_rules_are_only_asked_for_where_there_are_presets() -> None:
    assert by_the_text(TABLES["mgic-3"].rows[0]) is None, "dense"
    assert by_the_text(TABLES["mgic-1"].rows[0]) is None, "transfers alone"
    assert by_the_text(TABLES["mgic-13"].rows[0]) is None, "not built"
    assert TEXT not in for_people(TABLES["mgiad-2"], []).columns
    shown = for_people(TABLES["mgic-12"], [])
    assert TEXT in shown.columns
    assert f"{TEXT}: parameters with --preset paper" in shown.note


def test_what_is_said_of_a_whole_table_reaches_programs_too() -> None:
    tables = list(TABLES.values())
    note = for_programs(tables, []).note
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
