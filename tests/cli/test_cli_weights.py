"""Weights that ship, and cards, on the command line."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from shipping import SMALL, finished_run, ship_tool

from torchmg import cli
from torchmg.data.images import ImageSet, ImageSplit
from torchmg.models import shipped
from torchmg.train.model import data_for


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, and weights made of it."""
    folder = tmp_path_factory.mktemp("cli_weights")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shipped, "FOLDER", folder / "weights")
        ship_tool().ship(finished_run(folder / "run"), "digits_r1")
    return folder


@pytest.fixture(autouse=True)
def about(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is known of digits_r1 of mgiad20, in a copy of the weights' folder beside which the commands run."""
    monkeypatch.setattr(shipped, "FOLDER", Path(shutil.copytree(made / "weights", tmp_path / "weights")))
    shutil.copytree(made / "run", tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    return shipped.FOLDER / "mgiad20" / "digits_r1.json"


def main(arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["torchmg", *arguments.split()])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert isinstance(caught.value.code, int)
    return caught.value.code


def said(arguments: str, capsys: pytest.CaptureFixture[str], code: int = 0) -> Any:
    assert cli.run([*arguments.split(), "--json"]) == code
    return json.loads(capsys.readouterr().out)


EVAL = "eval mgiad20 --weights digits_r1"


@pytest.mark.parametrize("more", ["", " --fast", " --batch-size 7"])
def test_eval_reproduces_the_record(more: str, about: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = said(EVAL + more, capsys)
    record = json.loads(about.read_text())["record"]
    assert (found["samples"], found["allowed"], found["reproduced"], found["other_data"]) == (359, 1, True, [])
    assert found["different"] <= 1
    accuracy, loss = found["rows"]
    assert accuracy["recorded"] == pytest.approx(record["test_accuracy"], abs=1e-4)
    assert accuracy["reached"] == pytest.approx(record["test_accuracy"], abs=100 / 359 + 1e-4)
    assert loss["reached"] == pytest.approx(record["test_loss"], rel=1e-4)


@pytest.mark.parametrize(("flips", "code"), [(0, 0), (1, 0), (2, 1), (359, 1)])
def test_eval_counts_predictions_that_differ(
    flips: int, code: int, about: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said(EVAL, capsys)["different"] == 0  # the same processor as a moment ago
    values = json.loads(about.read_text())
    predictions = list(shipped.find("mgiad20", "digits_r1").predictions)
    predictions[:flips] = [(label + 1) % 10 for label in predictions[:flips]]
    values["test"]["predictions"] = shipped.packed(predictions)
    about.write_text(json.dumps(values))
    assert said(EVAL, capsys, code)["different"] == flips
    assert cli.run(EVAL.split()) == code
    text = capsys.readouterr().out
    assert f"{flips} of 359 predictions differ from those recorded; rounding explains up to 1." in text
    assert ("mgiad20 with digits_r1 does not reproduce its record here." in text) == bool(code)


def test_eval_says_when_the_data_are_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    digits = data_for(SMALL)
    assert isinstance(digits, ImageSet)
    images = digits.train.images.clone()
    images[0, 0, 0, 0] ^= 1
    train = ImageSplit(images, digits.train.labels)
    other = ImageSet(digits.name, digits.classes, train, digits.test)
    monkeypatch.setattr("torchmg.train.model.load", lambda *_, **__: other)
    found = said(EVAL, capsys)
    assert found["other_data"] == ["train_pixels"]
    assert found["reproduced"]  # one grey level of one pixel moves the mean by next to nothing
    cli.run(EVAL.split())
    assert "The data are not those of the record: train_pixels differ." in capsys.readouterr().out


def test_fewer_samples_than_recorded_are_differences(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    digits = data_for(SMALL)
    assert isinstance(digits, ImageSet)
    test = ImageSplit(digits.test.images[:100], digits.test.labels[:100])
    other = ImageSet(digits.name, digits.classes, digits.train, test)
    monkeypatch.setattr("torchmg.train.model.load", lambda *_, **__: other)
    assert said(EVAL, capsys, 1)["different"] == 359


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        ("eval mgiad20 --weights digits_r2", 2, ["no weights 'digits_r2' of mgiad20", "Did you mean digits_r1?"]),
        ("eval mgiad2 --weights digits_r1", 2, ["Unknown model 'mgiad2'"]),
        ("eval mgiad20", 2, ["mgiad20 is a model", "--weights digits_r1"]),
        ("count mgiad20 --weights digits_r2", 2, ["no weights 'digits_r2'"]),
        ("count mgiad20 --weights digits_r1 --coarsest 8", 2, ["leave out coarsest=8 (theirs: 4)"]),
        ("export run --weights digits_r1 --out net.pt2", 2, ["leave away weights"]),
        ("card nothing.json", 1, ["nothing.json"]),
        ("card run --out nowhere/card.md", 2, ["nowhere/card.md cannot be written"]),
    ],
)
def test_bad_arguments(
    command: str, code: int, words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command, monkeypatch) == code
    text = capsys.readouterr().err
    assert text.startswith("torchmg: ")
    assert "Traceback" not in text
    assert all(word in text for word in words), text


def test_damaged_weights_are_one_sentence(
    about: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = about.with_suffix(".safetensors")
    file.write_bytes(file.read_bytes()[:-1])
    assert main(EVAL, monkeypatch) == 1
    assert "digits_r1.safetensors is damaged" in capsys.readouterr().err


def test_list_and_info_name_them(capsys: pytest.CaptureFixture[str]) -> None:
    rows = {row["model"]: row["weights"] for row in said("list", capsys)["rows"]}
    assert {model: names for model, names in rows.items() if names} == {"mgiad20": "digits_r1"}
    assert said("info mgiad20", capsys)["weights"] == ["digits_r1"]
    assert said("info mgiad18", capsys)["weights"] == []
    cli.run(["info", "mgiad20"])
    assert 'torchmg.create("mgiad20", weights="digits_r1")' in capsys.readouterr().out


def test_counts_are_those_of_the_trained_network(about: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = json.loads(about.read_text())["record"]
    found = said("count mgiad20 --weights digits_r1", capsys)
    assert (found["parameters"], found["macs"], found["input"]) == (record["parameters"], record["macs"], [1, 16, 16])


def test_export_gives_the_trained_network_and_what_feeds_it(about: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known = said("export mgiad20 --weights digits_r1 --out net.pt2", capsys)["about"]
    values = json.loads(about.read_text())
    assert known["weights"] == "digits_r1"
    assert (known["classes"], known["mean"], known["std"]) == (values["classes"], values["mean"], values["std"])
    assert known["options"] == {
        "num_classes": 10,
        "in_channels": 1,
        "width": 0.25,
        "group_size": 2,
        "coarsest": 4,
    }
    import torchmg

    x = torch.randn(3, 1, 16, 16)
    with torch.no_grad():
        expected = torchmg.create("mgiad20", weights="digits_r1").eval()(x)
        assert torch.allclose(torch.export.load("net.pt2").module()(x), expected, atol=1e-4)


def test_bench_times_another_network_on_the_same_samples(capsys: pytest.CaptureFixture[str]) -> None:
    command = "bench mgiad20 --weights digits_r1 --against resnet20 --engines eager --rounds 1"
    assert {row["model"] for row in said(command, capsys)["rows"]} == {"mgiad20", "resnet20"}


def test_card_of_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["card", "run", "--license", "mit"]) == 0
    text = capsys.readouterr().out
    assert text.startswith('---\nlicense: "mit"\n')
    assert "# digits_mgiad20, seed 0\n" in text
    assert cli.run(["card", "run", "--license", "mit", "--out", "card.md"]) == 0
    assert capsys.readouterr().out == "card.md\n"
    assert Path("card.md").read_text() == text


def test_card_of_weights(about: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["card", str(about), "--license", "apache-2.0"]) == 0
    assert capsys.readouterr().out == about.with_suffix(".md").read_text()
