"""`torchmg table` in this process."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from torchmg import cli
from torchmg.errors import UnknownNameError, UsageError
from torchmg.paper import TABLES


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_without_a_name_the_tables_are_listed_without_torch() -> None:
    code = "import sys; from torchmg.cli import run; run(['table']); assert 'torch' not in sys.modules"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert [line.split()[0] for line in out.splitlines()[2:-1]] == list(TABLES)


def test_a_table_with_its_notes_below(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["table", "mgiad-7"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "MGiaD, Table VII (mgiad-7): Channel scale, CIFAR-10"
    (misprint,) = [line for line in lines if "misprint (" in line]
    assert "698,506" in misprint
    assert "not yet" in misprint
    number = misprint.split()[-1]
    assert any(line.startswith(f"{number} Misprint: ") for line in lines)
    heads = lines[1].split("  ")
    assert "MACs printed" not in heads, "a column that nothing stands in"


def test_markdown_of_two_tables(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["table", "mgic-1", "mgic-13", "--markdown"]) == 0
    text = capsys.readouterr().out
    assert "| s_g=32 | 3,300 | 3,328 | exact | [1] |" in text
    row = next(line for line in text.splitlines() if line.startswith("| MGIC-MobileNetV3, s_c=64, s_g=2 |"))
    assert "| mgic_mobilenetv3_large --group-size 2 --coarsest 64 --preset table13 | 4.2M | 4,257,644 |" in row
    assert "exact if truncated" in row


@pytest.mark.parametrize("names", [["mgiad-1", "mgic-1"], pytest.param(["--all"], marks=pytest.mark.slow)])
def test_tables_as_json_and_csv_hold_every_row(names: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["table", *names, "--json", "--csv", "all.csv"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert len(rows) == sum(len(table.rows) for name, table in TABLES.items() if name in names or names == ["--all"])
    with open("all.csv", newline="") as file:
        assert [row["configuration"] for row in csv.DictReader(file)] == [row["configuration"] for row in rows]
    first = rows[0]
    assert (first["table"], first["source"], first["printed_parameters"]) == ("mgiad-1", "MGiaD, Table I", 270_000)
    assert (first["effective"], first["verdict"], first["printed_gap"]) == (269_722, "exact", 1.1)


def test_runs_are_looked_for_in_results_or_where_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from torchmg.train.recipe import recipe

    made = recipe("cifar10_resnet20", epochs=7)
    record = {"recipe": made.to_json(), "parameters": 1, "macs": 1, "train_accuracy": 81.0, "test_accuracy": 80.0}
    for folder in ("results", "other"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.json").write_text(json.dumps({**record, "test_accuracy": float(len(folder))}))
    for arguments, accuracy in ((["mgiad-1"], "7.00"), (["mgiad-1", "--results", "other"], "5.00")):
        assert cli.run(["table", *arguments]) == 0
        assert f"{accuracy} (7 of 400 epochs, lr 0.1)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mgiad-22"], "Unknown table 'mgiad-22'.* Did you mean mgiad-2"),
        (["mgiad-1", "--all"], "Either --all or names"),
        (["mgiad-1", "--markdown", "--json"], "Either --markdown or --json"),
        (["mgiad-1", "--results", "nowhere"], "nowhere is not a folder"),
    ],
)
def test_bad_arguments(arguments: list[str], message: str) -> None:
    with pytest.raises((UsageError, UnknownNameError), match=message):
        cli.run(["table", *arguments])
