"""The study of functions: table, CSV and picture of tiny runs, by hand from the records."""

import csv
import json
import sys
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest

from torchmg.data.arrays import ArraySet
from torchmg.data.functions import load_functions
from torchmg.errors import InterruptedRunError, MissingExtraError, ResumeError, UnknownNameError, UsageError
from torchmg.plot.functions import FunctionError, draw_functions
from torchmg.study import FunctionStudy, study_functions
from torchmg.train import loop

TINY: dict[str, Any] = {"models": ["function_mgic", "function_ghost"], "channels": (32, 16), "folds": 2, "epochs": 1}


@pytest.fixture(scope="module", autouse=True)
def _small():
    with pytest.MonkeyPatch.context() as patch:
        small: ArraySet = load_functions(points=60)
        patch.setattr("torchmg.train.model.load", lambda *_, **__: small)
        yield


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, _small: None) -> FunctionStudy:
    return study_functions(**TINY, out=tmp_path_factory.mktemp("study") / "out", device="cpu", quiet=True)


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "functions.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_table_is_what_the_records_say(study: FunctionStudy) -> None:
    rows = rows_of(study.folder)
    assert [(row["model"], row["channels"]) for row in rows] == [
        (model, width) for model in TINY["models"] for width in ("16", "32")
    ]
    text = str(study.table())
    for row in rows:
        runs = [study.folder / f"{row['model']}_c{row['channels']}_f{fold}" / "record.json" for fold in range(2)]
        records = [json.loads(run.read_text()) for run in runs]
        assert [record["recipe"]["fold"] for record in records] == [0, 1]
        assert records[0]["data"] != records[1]["data"]
        for split in ("train", "test"):
            values = [record[f"{split}_loss"] for record in records]
            assert float(row[f"{split}_mean"]) == mean(values)
            assert float(row[f"{split}_std"]) == stdev(values)
            assert f"{mean(values):.4g} ± {stdev(values):.2g}" in text
        assert int(row["parameters"]) == records[0]["parameters"]
        assert int(row["macs"]) == records[0]["macs"]
    assert "functions, 1 epochs, 2 of 10 folds" in text
    assert json.loads((study.folder / "functions.json").read_text())["rows"][0]["model"] == "function_mgic"
    assert {f"functions.{ending}" for ending in ("png", "svg", "csv")} == {f.name for f in study.picture.files}


def test_a_finished_study_is_not_trained_again(study: FunctionStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchmg.train.model.load", lambda *_, **__: pytest.fail("it trains"))
    again = study_functions(**TINY, out=study.folder, device="cpu", quiet=True)
    assert again.rows == study.rows
    with pytest.raises(ResumeError, match=r"lr 0\.\d+ \(you asked for 0\.5\)"):
        study_functions(**TINY, lr=0.5, out=study.folder, device="cpu", quiet=True)


def test_an_interrupted_study_continues_to_the_same_table(study: FunctionStudy, tmp_path: Path) -> None:
    rate, calls = loop.learning_rate, 0

    def stopping(*args: Any) -> float:
        nonlocal calls
        calls += 1
        if calls == 5:  # a step of the second run
            raise KeyboardInterrupt
        return rate(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "learning_rate", stopping)
        with pytest.raises(InterruptedRunError, match=f"1 of 8 runs .* the same command with --out {tmp_path}"):
            study_functions(**TINY, out=tmp_path, device="cpu", quiet=True)
    assert len(list(tmp_path.glob("*/record.json"))) == 1
    assert study_functions(**TINY, out=tmp_path, device="cpu", quiet=True).rows == study.rows
    assert (tmp_path / "functions.csv").read_bytes() == (study.folder / "functions.csv").read_bytes()


def test_one_fold_has_no_deviation(study: FunctionStudy, capsys: pytest.CaptureFixture[str]) -> None:
    one = study_functions("functions", ["function_mgic"], [16], folds=1, epochs=1, out=study.folder, device="cpu")
    assert "±" not in str(one.table()).splitlines()[3]
    assert rows_of(study.folder)[0]["test_std"] == ""
    assert capsys.readouterr().err == "1 of 1 runs, last function_mgic_c16_f0\n"


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"data": "function"}, UnknownNameError, ["'function'", "Did you mean functions"]),
        ({"data": "digits"}, UnknownNameError, ["no data 'digits'", "It is no function", "signed_distance"]),
        ({"models": ["function_mgik"]}, UnknownNameError, ["'function_mgik'", "function_mgic"]),
        ({"models": ["mgic_transfers"]}, UnknownNameError, ["no model 'mgic_transfers'"]),
        ({"models": []}, UsageError, ["at least one model"]),
        ({"channels": []}, UsageError, ["one width"]),
        ({"channels": [16, 48]}, UsageError, ["got 48", "Nearest: 32, 64"]),
        ({"folds": 0}, UsageError, ["1 to 10; got 0"]),
        ({"folds": 11}, UsageError, ["1 to 10; got 11"]),
        ({"epochs": 0}, UsageError, ["epochs must be"]),
        ({"device": "gpu"}, UsageError, ["no device 'gpu'"]),
    ],
)
def test_what_is_wrong_is_named(change: dict, error: type[Exception], words: list[str], tmp_path: Path) -> None:
    with pytest.raises(error) as caught:
        study_functions(**{**TINY, "out": tmp_path / "out", "quiet": True, **change})
    for word in words:
        assert word in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_without_matplotlib_it_says_so_before_it_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"torchmg\[plot\]"):
        study_functions(**TINY, out=tmp_path / "out", quiet=True)
    assert not (tmp_path / "out").exists()


def test_the_picture_has_a_line_for_each_network(tmp_path: Path) -> None:
    points = [FunctionError(m, c, c * c, 1 / c, d) for m in ("wide", "lean") for c, d in ((16, 0.01), (32, 0.5))]
    picture = draw_functions(points, tmp_path / "drawn", title="of <two>")
    svg = (tmp_path / "drawn.svg").read_text()
    assert all(f">{word}<" in svg for word in ("wide", "lean", "16", "32", "of &lt;two&gt;"))
    assert picture.rows.rows[1] == ("wide", 32, 1024, 1 / 32, 0.5)
    again = draw_functions(points, tmp_path / "drawn", title="of <two>")
    assert again.files == picture.files
    assert (tmp_path / "drawn.svg").read_text() == svg
    with pytest.raises(UsageError, match="at least one point"):
        draw_functions([], tmp_path / "drawn")
    for wrong in (FunctionError("m", 16, 0, 0.1), FunctionError("m", 16, 9, 0.0), FunctionError("m", 16, 9, 1e999)):
        with pytest.raises(UsageError, match="above 0"):
            draw_functions([wrong], tmp_path / "drawn")
