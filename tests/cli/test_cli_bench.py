"""`torchmg bench` prints what it measured, records it, and refuses what cannot be."""

import json
from pathlib import Path

import pytest

from torchmg.bench import memory
from torchmg.bench.engines import ENGINES
from torchmg.cli import run
from torchmg.cli.bench import Arguments, EngineName
from torchmg.errors import UnknownNameError, UsageError

FAST = "--input 3 8 8 --engines eager folded --rounds 1".split()


def test_a_network_against_another(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record, rows = tmp_path / "record.json", tmp_path / "rows.csv"
    more = ["--batch-size", "1", "2", "--record", str(record), "--csv", str(rows), "--json"]
    assert run(["bench", "mgic_resnet20", "--against", "resnet20", *FAST, *more]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [(r["model"], r["batch"]) for r in printed["rows"][::2]] == [
        *(("mgic_resnet20", 1), ("resnet20", 1), ("mgic_resnet20", 2), ("resnet20", 2))
    ]
    dense = [r for r in printed["rows"] if r["model"] == "resnet20" and r["batch"] == 1]
    assert max(r["ratio"] for r in dense) == 1
    assert printed["rows"][0]["MAC ratio"] == pytest.approx(40_551_040 / 25_670_272, abs=0.005)
    kept = json.loads(record.read_text())
    assert kept["command"].startswith("torchmg bench mgic_resnet20 --against resnet20")
    assert len(kept["rows"]) == len(rows.read_text().splitlines()) - 1 == 8
    assert kept["environment"]["processor"]


def test_one_network_alone_and_the_same_with_other_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "resnet20", *FAST]) == 0
    assert "fastest engine" in capsys.readouterr().out
    assert run(["bench", "mgic_resnet20", "--group-size", "4", "--against", "mgic_resnet20", *FAST]) == 0
    assert "mgic_resnet20 as asked" in capsys.readouterr().out


def test_memory(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(memory, "measured", lambda *_, **__: 5 * memory.MIB)
    assert run(["bench", "mgic_resnet20", "--against", "resnet20", "--memory", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [(r["model"], r["phase"]) for r in rows] == [
        (model, phase) for model in ("mgic_resnet20", "resnet20") for phase in ("inference", "training")
    ]
    assert {r["peak, measured"] for r in rows} == {5.0}
    assert rows[1]["kept for backward"] > rows[3]["kept for backward"]


def test_lowerings(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torchmg.kernels.measure")
    sizes = "--channels 16 --group-size 4 --size 6 --rounds 1".split()
    assert run(["bench", "--lowering", *sizes, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["conv"] for row in rows] == ["1x1", "3x3"]


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        (["mgic_resnet2"], UnknownNameError, "mgic_resnet20"),
        (["resnet20", "--against", "resnet5"], UnknownNameError, "resnet56"),
        (["resnet20", "--record", "a.txt"], UsageError, "must be a .json file"),
        (["--lowering", "--channels", "6", "--group-size", "4"], UsageError, "divides a width"),
        (["--lowering", "--kernel", "2"], UsageError, "odd"),
        (["resnet20", "--batch-size", "0", "--engines", "eager"], UsageError, "start at 1"),
    ],
)
def test_what_cannot_be_is_refused(arguments: list[str], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        run(["bench", *arguments])


def test_the_command_line_knows_all_engines() -> None:
    assert EngineName.__args__ == tuple(ENGINES)
    assert Arguments.engines == tuple(name for name in ENGINES if name != "compile")
