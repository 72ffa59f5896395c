"""The one table type: what people read, and the same rows for programs."""

import csv
import io
import json

import pytest

from torchmg.tables import Cell, Table, show

TABLE = Table(
    ["model", "parameters", "accuracy"],
    [["resnet20", 269_722, 0.98765], ['a, "quoted"\nname', 1_234_567, None]],
    title="Two models",
    note="Counted exactly.",
)


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (None, "-"),
        ("name", "name"),
        (True, "True"),
        (0, "0"),
        (1_234_567, "1,234,567"),
        (-1_000, "-1,000"),
        (0.123456, "0.1235"),
        (98.76543, "98.77"),
    ],
)
def test_cells_for_people(cell: Cell, text: str) -> None:
    assert show(cell) == text


def test_text_has_title_header_rows_and_note() -> None:
    table = Table(["model", "parameters"], [["resnet20", 269_722], ["x", 5]], "Title", "Note.")
    lines = str(table).splitlines()
    assert lines[0] == "Title"
    assert lines[1].split() == ["model", "parameters"]
    assert lines[3].split() == ["resnet20", "269,722"]
    assert lines[4].split() == ["x", "5"]
    assert lines[-1] == "Note."
    ends = [len(line) for line in lines[3:5]]
    assert ends[0] == ends[1], "numbers are right-aligned"
    assert lines[3].startswith("resnet20")
    assert all(line == line.rstrip() for line in lines)


def test_text_does_not_depend_on_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table(["c" * 30] * 8, [["[bold]v" + "x" * 40] * 8])
    wide = str(table)
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert str(table) == wide
    assert "\x1b" not in wide
    assert wide.count("[bold]v") == 8, "no markup, nothing cut off"


def test_title_and_note_are_optional() -> None:
    assert str(Table(["a"], [[1]])).splitlines()[0].strip() == "a"


def test_markdown_has_one_line_a_row_whatever_the_cells_hold() -> None:
    rows = [["a|b\nc", 1_234], ["x", None]]
    assert Table(["model", "parameters"], rows, "Title", "One.\nTwo.").markdown().splitlines() == [
        "**Title**",
        "",
        "| model | parameters |",
        "| --- | ---: |",
        "| a\\|b c | 1,234 |",
        "| x | - |",
        "",
        "One.",
        "",
        "Two.",
    ]
    assert Table(["a"], [["b"]]).markdown() == "| a |\n| --- |\n| b |"
    assert Table([], [], "Title", "Why.").markdown() == "**Title**\n\nWhy.", "no columns: no empty table"


def test_csv_reads_back() -> None:
    rows = list(csv.reader(io.StringIO(TABLE.csv(), newline="")))
    assert rows == [
        ["model", "parameters", "accuracy"],
        ["resnet20", "269722", "0.98765"],
        ['a, "quoted"\nname', "1234567", ""],
    ]
    assert "\r" not in TABLE.csv()


def test_json_reads_back_with_more_keys() -> None:
    assert json.loads(TABLE.json(version=1)) == {
        "title": "Two models",
        "note": "Counted exactly.",
        "version": 1,
        "rows": [
            {"model": "resnet20", "parameters": 269_722, "accuracy": 0.98765},
            {"model": 'a, "quoted"\nname', "parameters": 1_234_567, "accuracy": None},
        ],
    }


def test_a_row_of_the_wrong_length_is_not_silently_cut() -> None:
    with pytest.raises(ValueError, match="zip"):
        Table(["a", "b"], [[1]]).json()
