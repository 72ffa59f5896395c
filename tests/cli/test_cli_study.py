"""`torchmg study` from the arguments to the files."""

import csv
import json
from inspect import signature
from pathlib import Path

import pytest

from torchmg import cli
from torchmg.data.functions import load_functions
from torchmg.errors import UsageError
from torchmg.study.features import GROUP_SIZES
from torchmg.study.functions import CHANNELS, DATA, NETWORKS


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_functions(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    small = load_functions(points=60)
    monkeypatch.setattr("torchmg.train.model.load", lambda *_, **__: small)
    words = "study functions --models function_mgic --channels 16 --folds 1 --epochs 1 --out o --device cpu --quiet"
    assert cli.run([*words.split(), "--json", "--csv", "rows.csv"]) == 0
    read = json.loads(capsys.readouterr().out)
    assert [(row["model"], row["channels"], row["folds"]) for row in read["rows"]] == [("function_mgic", 16, 1)]
    assert read["folder"] == "o"
    assert all(Path(file).is_file() for file in read["files"])
    assert Path("rows.csv").read_bytes() == Path("o/functions.csv").read_bytes()
    assert cli.run(words.split()) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "functions, 1 epochs, 1 of 10 folds"
    assert lines[-3:] == read["files"]


def test_features(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn")
    words = "study features --model resnet18_cifar --images 8 --group-sizes 4 --epochs 1 --out o --device cpu --quiet"
    assert cli.run([*words.split(), "--json"]) == 0
    read = json.loads(capsys.readouterr().out)
    assert [(row["group_size"], row["parameters"]) for row in read["rows"]] == [(4, 448)]
    assert all(Path(file).is_file() for file in read["files"])
    with Path("o/features.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["relative_mse"]) == read["rows"][0]["relative_mse"]


def test_stability(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn")
    import torch

    from torchmg.models.options import ModelOptions
    from torchmg.models.registry import create
    from torchmg.train.folder import RunFolder
    from torchmg.train.recipe import recipe

    what = recipe("digits_parabolic", options=ModelOptions(width=0.25, steps=1))
    torch.manual_seed(0)
    RunFolder.open(what, Path("r")).write_weights(
        create("parabolic", num_classes=10, in_channels=1, width=0.25, steps=1)
    )
    words = "study stability r --samples 4 --calibration 4 --bits 8 --perturbations 0.01 --out o --device cpu --quiet"
    assert cli.run([*words.split(), "--json", "--csv", "rows.csv", "--record", "record.json"]) == 0
    read = json.loads(capsys.readouterr().out)
    assert [(row["quantity"], row["module"]) for row in read["rows"]][:4] == [
        *(("growth", f"stages.{i}.steps.0") for i in range(3)),
        ("growth", "logits"),
    ]
    assert read["folder"] == "o"
    assert read["files"][-1] == "record.json"
    assert all(Path(file).is_file() for file in read["files"])
    assert Path("rows.csv").read_bytes() == Path("o/stability.csv").read_bytes()
    record = json.loads(Path("record.json").read_text())
    again = ["--out", "p", "--device", "cpu", "--quiet"]
    assert cli.run([*record["command"].split()[1:], *again]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "digits, 4 test images, 1 run"
    assert lines[-4:] == [f"p/stability.{ending}" for ending in ("png", "svg", "csv", "json")]
    assert Path("p/stability.csv").read_bytes() == Path("o/stability.csv").read_bytes()


def test_hierarchy(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn")
    words = "study hierarchy --data digits --members plain --epochs 1 --subset 64 --out o --quiet"
    assert cli.run([*words.split(), "--json", "--csv", "rows.csv"]) == 0
    read = json.loads(capsys.readouterr().out)
    assert [(row["run"], row["budget"], row["seeds"]) for row in read["rows"]] == [
        ("mgic", "width", 1),
        ("plain", "width", 1),
    ]
    assert all(Path(file).is_file() for file in read["files"])
    assert Path("rows.csv").read_bytes() == Path("o/hierarchy.csv").read_bytes()
    monkeypatch.setattr("torchmg.study.plan.Steps", None)
    assert cli.run(words.split()) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "digits, 1 epochs of 64 samples, 1 seed"
    assert lines[-4:] == read["files"]


def test_defaults_are_the_functions() -> None:
    from torchmg.cli.study import Features, Functions, Hierarchy, Recipes, Stability
    from torchmg.study import hierarchy, stability, study_hierarchy, study_recipe, study_stability

    called = {"number": "candidates", "epochs": "first_epochs"}
    for name, parameter in signature(study_recipe).parameters.items():
        if name not in ("model", "options", "data_dir", "device"):
            assert getattr(Recipes, called.get(name, name)) == parameter.default

    assert (Functions.models, Functions.channels) == (NETWORKS, CHANNELS)
    assert Features.group_sizes == GROUP_SIZES
    assert Functions.__annotations__["data"].__args__ == DATA
    for name, parameter in signature(study_stability).parameters.items():
        if name not in ("runs", "data_dir", "device"):
            assert getattr(Stability, name) == parameter.default
    assert Stability.__annotations__["grid"] == stability.Grid
    for name, parameter in signature(study_hierarchy).parameters.items():
        assert getattr(Hierarchy, name) == parameter.default
    assert Hierarchy.__annotations__["data"].__args__ == hierarchy.DATA


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("functions --channels 20", "Nearest: 16, 32"),
        ("functions --models resnet20", "no model 'resnet20'"),
        ("features", "--run"),
        ("features --model resnet18_cifar --group-sizes 5", "got 5"),
        ("stability", "at least one run folder"),
        ("stability r --bits 1", "got 1"),
        ("recipe resnet20 --candidates 1", "got 1"),
        ("recipe resnet20 --data camvid", "not for camvid"),
        ("hierarchy --members groups", "Did you mean grouped"),
        ("hierarchy --seeds 0", "got 0"),
    ],
)
def test_bad_arguments(words: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        cli.run(["study", *words.split()])
    assert not list(Path().iterdir())


def test_a_study_that_does_not_exist() -> None:
    with pytest.raises(SystemExit) as caught:
        cli.run(["study", "networks"])
    assert caught.value.code == 2
