"""tools/ship.py copies a run's weights, record and card, and refuses what does not ship."""

import base64
import hashlib
import json
import shutil
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from shipping import SMALL, finished_run, ship_tool

from torchmg.card import finished, run_card
from torchmg.errors import CheckpointError, TorchmgError, UsageError
from torchmg.models import shipped
from torchmg.train.model import data_for, model_for
from torchmg.train.recipe import Recipe, recipe

ship = ship_tool()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the small network."""
    return finished_run(tmp_path_factory.mktemp("ship") / "run")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where weights ship from, empty."""
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "weights")
    return tmp_path / "weights"


def test_all_three_files_are_those_of_the_run(whole: Path, folder: Path) -> None:
    file = ship.ship(whole, "digits_w025_r1")
    assert file == folder / "mgiad20" / "digits_w025_r1.safetensors"
    assert sorted(path.name for path in file.parent.iterdir()) == [
        f"digits_w025_r1.{ending}" for ending in ("json", "md", "safetensors")
    ]
    assert file.read_bytes() == (whole / "last.safetensors").read_bytes()
    values = json.loads(file.with_suffix(".json").read_text())
    assert values["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert values["record"] == json.loads((whole / "record.json").read_text())
    card = run_card(finished(file.with_suffix(".json")), license="apache-2.0")
    assert file.with_suffix(".md").read_text() == card


def test_predictions_and_right_answers_are_those_of_the_network(whole: Path, folder: Path) -> None:
    values = json.loads(ship.ship(whole, "digits_r1").with_suffix(".json").read_text())
    data = data_for(SMALL)
    model = model_for(SMALL, data)
    model.load_state_dict(load_file(whole / "last.safetensors"))
    mean, std = (torch.tensor(values[key])[:, None, None] for key in ("mean", "std"))
    pixels, labels = data.test.take(torch.arange(len(data.test)), None)
    with torch.no_grad():
        expected = model.eval()((pixels / 255 - mean) / std).argmax(1)
    found = torch.tensor(list(zlib.decompress(base64.b64decode(values["test"]["predictions"]))))
    assert int((found != expected).sum()) <= 1  # rounding
    right = int((found == labels).sum())
    assert (values["test"]["samples"], values["test"]["right"]) == (len(labels), right)
    assert values["slice"] == {"samples": len(labels), "right": right}  # fewer than 1,000 in all
    assert values["record"]["test_accuracy"] == pytest.approx(100 * right / len(labels), abs=100 / len(labels) + 1e-9)
    assert values["classes"] == list("0123456789")


def test_what_ships_is_never_overwritten(whole: Path, folder: Path) -> None:
    before = ship.ship(whole, "digits_r1").read_bytes()
    with pytest.raises(UsageError, match=r"digits_r1\.safetensors ships already.* next revision"):
        ship.ship(whole, "digits_r1")
    assert (folder / "mgiad20" / "digits_r1.safetensors").read_bytes() == before
    ship.ship(whole, "digits_r2")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("digits", "digits[_WORDS]_r1"),
        ("digits_r0", "no name"),
        ("digits_r1_", "no name"),
        ("../digits_r1", "no name"),
        ("fashion_mnist_r1", "no name"),
        ("digit_r1", "no name"),
        ("digits2_r1", "no name"),
        ("digits_s20_r1", "does not say how the run was shortened"),
    ],
)
def test_names_against_the_rules(name: str, said: str, whole: Path, folder: Path) -> None:
    with pytest.raises(UsageError) as caught:
        ship.ship(whole, name)
    assert said in str(caught.value)
    assert not folder.exists()


def test_a_shortened_run_says_so_in_its_name(tmp_path: Path, folder: Path) -> None:
    run = finished_run(tmp_path / "run", replace(SMALL, epochs=3))
    for name in ("digits_r1", "digits_s2_r1"):
        with pytest.raises(UsageError, match=r"digits\[_WORDS\]_s3_r1"):
            ship.ship(run, name)
    ship.ship(run, "digits_s3_r1")


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (replace(SMALL, seed=1), "Only seed 0"),
        (replace(SMALL, subset=100), "trained on all samples"),
        (recipe("qtips", epochs=100), "is no classifier"),
    ],
    ids=["another seed", "a part of the data", "masks"],
)
def test_runs_that_do_not_ship(made: Recipe, said: str, tmp_path: Path, folder: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text(json.dumps(made.to_json()))
    with pytest.raises(UsageError) as caught:
        ship.ship(run, f"{made.data}_r1")
    assert said in str(caught.value)
    assert not folder.exists()


def unfinished(run: Path) -> None:
    (run / "record.json").unlink()


def flipped(run: Path) -> None:
    content = bytearray((run / "last.safetensors").read_bytes())
    content[-5] ^= 1
    (run / "last.safetensors").write_bytes(content)


def edited(run: Path) -> None:
    path = run / "record.json"
    path.write_text(path.read_text().replace('"steps": 900', '"steps": 901'))


def of_another_seed(run: Path) -> None:
    finished_run(run.with_name("other"), replace(SMALL, lr=0.2))
    shutil.copy(run.with_name("other") / "record.json", run)


def too_large(run: Path) -> None:
    with (run / "last.safetensors").open("ab") as file:
        file.truncate(5_000_001)


@pytest.mark.parametrize(
    ("harm", "error", "said"),
    [
        (unfinished, UsageError, "not finished"),
        (flipped, CheckpointError, "sha256"),
        (edited, CheckpointError, "record.json is damaged"),
        (of_another_seed, UsageError, "no record of its recipe"),
        (too_large, UsageError, "5,000,001 bytes; at most 5,000,000"),
    ],
)
def test_damaged_runs(
    harm: Callable[[Path], Any], error: type[TorchmgError], said: str, whole: Path, tmp_path: Path, folder: Path
) -> None:
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    harm(run)
    with pytest.raises(error) as caught:
        ship.ship(run, "digits_r1")
    assert said in str(caught.value)
    assert not folder.exists()


@pytest.mark.parametrize(("change", "said"), [("accuracy", "right answers"), ("data", "not those that")])
def test_records_that_do_not_hold(change: str, said: str, tmp_path: Path, folder: Path) -> None:
    changes: dict[str, Any] = {"test_accuracy": 99.0} if change == "accuracy" else {"data": {"test_pixels": "0" * 64}}
    run = finished_run(tmp_path / "run", **changes)
    with pytest.raises(TorchmgError, match=said):
        ship.ship(run, "digits_r1")
    assert not folder.exists()


def test_the_command(
    whole: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["ship.py", str(whole), "digits_r1"])
    assert ship.main() == 0
    assert capsys.readouterr().out == f"{folder / 'mgiad20' / 'digits_r1.safetensors'}\n"
    assert ship.main() == 2
    assert capsys.readouterr().err.startswith("ship: ")


def test_cards_are_written_anew(whole: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = ship.ship(whole, "digits_r1").with_suffix(".md")
    before = card.read_text()
    card.write_text("edited")
    monkeypatch.setattr("sys.argv", ["ship.py", "--cards"])
    assert ship.main() == 0
    assert card.read_text() == before
