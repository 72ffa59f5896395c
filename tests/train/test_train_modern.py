"""Runs that mix their pictures, hold training samples out, begin at zero, or are scored with mirror images too."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from training_runs import STEPS, Stop, assert_same_run, log, outcome, small_set, stop_at, tiny_recipe

import torchmg
from torchmg import cli
from torchmg.comparison import compare
from torchmg.data.holdout import hold_out
from torchmg.data.images import ImageSet
from torchmg.errors import CheckpointError, UsageError
from torchmg.models.options import ModelOptions
from torchmg.paper import TABLES
from torchmg.paper.measured import Measured, load, of_row
from torchmg.plot import curves
from torchmg.train.evaluate import Mirrored
from torchmg.train.folder import RunFolder
from torchmg.train.loop import fit
from torchmg.train.model import data_for, model_for
from torchmg.train.recipe import Recipe, recipe
from torchmg.train.records import read_record
from torchmg.train.tasks import Classification


def held(*_: Any, holdout: int = 0, **__: Any) -> ImageSet:
    """The small set, as `load` would give it."""
    whole = small_set()
    return hold_out(whole.name, whole.classes, whole.train, holdout) if holdout else whole


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchmg.train.model.load", held)


MIXED: dict[str, Any] = {
    "augment": "crop",
    "cutmix": 0.5,
    "mixup": 1.0,
    "erase": 0.5,
    "label_smoothing": 0.1,
    "ema": 0.9,
}


@pytest.mark.parametrize("more", [{}, {"accumulate": 2}])
def test_a_run_that_mixes_continues_bit_for_bit_in_mid_epoch(
    more: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    what = tiny_recipe(tmp_path, **MIXED, **more)
    whole = fit(what, folder=tmp_path / "whole", quiet=True)
    for stop in (3, STEPS + 2):
        with monkeypatch.context() as patch:
            stop_at(patch, "torchmg.train.loop.order_hash", stop)
            with pytest.raises(Stop):
                fit(what, folder=tmp_path / "run", checkpoint_seconds=0, quiet=True)
    fit(what, folder=tmp_path / "run", quiet=True)
    assert_same_run(tmp_path / "run", whole.folder)
    plain = fit(replace(what, cutmix=0.0, mixup=0.0), folder=tmp_path / "plain", quiet=True)
    assert log(plain.folder) != log(whole.folder)


@pytest.mark.slow
def test_two_processes_train_on_mixtures(tmp_path: Path) -> None:
    """Real digits, because other processes do not see what a test has replaced."""
    pytest.importorskip("sklearn")
    what = recipe("digits_resnet20", options=ModelOptions(width=0.25), epochs=1, batch_size=512, **MIXED)
    record = fit(what, folder=tmp_path / "run", devices=2, device="cpu", quiet=True).record
    assert record["steps"] == 3
    assert 0 < record["test_accuracy"] < 100


def test_the_loss_of_shares_is_the_shares_of_the_losses() -> None:
    logits, labels, others = torch.randn(9, 4), torch.arange(9) % 4, (torch.arange(9) + 1) % 4
    share = torch.linspace(0, 0.9, 9)[:, None]
    certain = [F.one_hot(which, 4).float() for which in (labels, others)]
    task = Classification()
    for smoothing in (0.0, 0.2):
        mixed = task.loss(logits, (1 - share) * certain[0] + share * certain[1], smoothing)
        each = [F.cross_entropy(logits, w, reduction="none", label_smoothing=smoothing) for w in (labels, others)]
        expected = ((1 - share[:, 0]) * each[0] + share[:, 0] * each[1]).mean()
        assert mixed.item() == pytest.approx(expected.item(), rel=1e-5)
    sums = torch.zeros(3, dtype=torch.float64)
    task.measure(sums, logits, (1 - share) * certain[0] + share * certain[1])
    right = torch.where(share[:, 0] < 0.5, labels, others)
    assert sums[1:].tolist() == [9, int((logits.argmax(1) == right).sum())]


# ---- held-out samples


def test_a_run_with_hold_out_has_no_test_score_anywhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    what = tiny_recipe(tmp_path, holdout=60, subset=80, flip_test=True)
    run = fit(what, folder=tmp_path / "run")
    assert "holdout" in capsys.readouterr().err
    record = run.record
    assert {key for key in record if key.startswith(("test", "holdout"))} == {
        *("holdout_loss", "holdout_accuracy", "holdout_flip_loss", "holdout_flip_accuracy")
    }
    assert not [key for key in record["data"] if key.startswith("test")]
    assert not [key for row in log(run.folder) for key in row if key.startswith("test")]
    assert float(log(run.folder)[-1]["holdout_accuracy"]) == record["holdout_accuracy"]
    data = data_for(what)
    assert (len(data.train), len(data.test)) == (80, 60)
    model = model_for(what, data)
    RunFolder(run.folder).read_weights(model)
    found = torchmg.evaluate(model, data)
    assert record["holdout_accuracy"] == found.accuracy

    with pytest.raises(CheckpointError, match=r"no test score.* 60 training samples"):
        read_record(run.folder / "record.json")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "one.json").write_text((run.folder / "record.json").read_text())
    with pytest.raises(CheckpointError, match="no test score"):
        load(tmp_path / "results")
    with pytest.raises(UsageError, match="held-out training samples"):
        curves([run.folder], tmp_path / "curves")
    with pytest.raises(UsageError, match="leave holdout=60 out"):
        compare(["resnet20"], recipe("digits", holdout=60))


def test_hold_out_is_part_of_the_recipe(tmp_path: Path) -> None:
    one = fit(tiny_recipe(tmp_path, holdout=60, epochs=1), folder=tmp_path / "one", quiet=True)
    other = fit(tiny_recipe(tmp_path, holdout=60, epochs=1, seed=1), folder=tmp_path / "two", quiet=True)
    assert one.record["data"] == other.record["data"]
    more = fit(tiny_recipe(tmp_path, holdout=40, epochs=1), folder=tmp_path / "three", quiet=True)
    assert more.record["data"] != one.record["data"]


# ---- first values


def test_a_run_begins_at_zero_where_it_can(tmp_path: Path) -> None:
    what = Recipe(model="resnet20", options=ModelOptions(width=0.25), zero_init=True, epochs=1, batch_size=40)
    run = fit(what, folder=tmp_path / "run", quiet=True)
    plain = fit(replace(what, zero_init=False), folder=tmp_path / "plain", quiet=True)
    assert outcome(run.folder)["train_loss"] != outcome(plain.folder)["train_loss"]
    with pytest.raises(UsageError, match="mgnet20 has none"):
        fit(replace(what, model="mgnet20"), folder=tmp_path / "none", quiet=True)
    assert not (tmp_path / "none").exists()


# ---- mirror images


def test_mirror_images_are_a_score_beside_the_plain_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    what = tiny_recipe(tmp_path, epochs=1)
    plain = fit(what, folder=tmp_path / "plain", quiet=True)
    both = fit(replace(what, flip_test=True), folder=tmp_path / "both", quiet=True)
    without = {key: value for key, value in outcome(both.folder).items() if key not in ("recipe", "command")}
    flipped = {key: without.pop(key) for key in ("test_flip_accuracy", "test_flip_loss")}
    expected = outcome(plain.folder)
    assert without == {key: value for key, value in expected.items() if key not in ("recipe", "command")}
    data = small_set()
    model = model_for(what, data)
    RunFolder(both.folder).read_weights(model)
    model.eval()
    images, labels = data.preparation()(data.test.images, data.test.labels, None)
    with torch.no_grad():
        logits = (model(images) + model(torch.from_numpy(images.numpy()[..., ::-1].copy()))) / 2
    assert flipped["test_flip_accuracy"] == pytest.approx(100 * (logits.argmax(1) == labels).double().mean().item())
    assert flipped["test_flip_loss"] == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)
    assert torchmg.evaluate(Mirrored(model), data).accuracy == flipped["test_flip_accuracy"]
    assert cli.run(["eval", str(plain.folder), "--flip", "--json", "--device", "cpu"]) == 0
    train, test = json.loads(capsys.readouterr().out)["rows"]
    assert test["accuracy %"] == pytest.approx(expected["test_accuracy"], abs=1e-4)
    assert test["accuracy with mirror image %"] == pytest.approx(flipped["test_flip_accuracy"], abs=1e-4)
    mirrored = torchmg.evaluate(Mirrored(model), data, "train").accuracy
    assert train["accuracy with mirror image %"] == pytest.approx(mirrored, abs=1e-4)


def test_mirror_images_are_for_labelled_pictures(tmp_path: Path) -> None:
    RunFolder.open(recipe("functions"), tmp_path / "run")
    with pytest.raises(UsageError, match="not for functions"):
        cli.run(["eval", str(tmp_path / "run"), "--flip"])


# ---- recipes


@pytest.mark.parametrize("name", ["cutmix", "mixup", "erase", "whiten", "flip_test", "holdout"])
def test_what_is_for_labelled_pictures_is_refused_elsewhere(name: str) -> None:
    value = {"whiten": True, "flip_test": True, "holdout": 5}.get(name, 0.5)
    assert getattr(recipe("digits", **{name: value}), name) == value
    for data in ("camvid", "modelnet10", "functions", "imagenet"):
        with pytest.raises(UsageError, match=rf"{name} is for labelled pictures in memory \(digits, .*not for {data}"):
            recipe(data, **{name: value})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"cutmix": 1.5}, "cutmix must be in"),
        ({"erase": -0.1}, "erase must be in"),
        ({"mixup": -1.0}, "mixup must be a finite number"),
        ({"mixup": float("inf")}, "mixup must be a finite number"),
        ({"holdout": -1}, "holdout must be a whole number"),
        ({"holdout": 0.5}, "holdout must be a whole number"),
    ],
)
def test_values_that_make_no_sense(change: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        recipe("digits", **change)


def test_a_papers_row_shows_a_run_with_our_settings_only_where_there_is_no_other() -> None:
    table = TABLES["mgiad-4"]
    paper = Recipe(model="mgnet20", data="fashion_mnist", epochs=12)
    ours = replace(paper, epochs=40, cutmix=0.5, whiten=True, nesterov=True)
    results = [Measured(made, (90.0,), (91.0,)) for made in (paper, ours)]
    row = next(row for row in table.rows if of_row(row, table, results))
    assert of_row(row, table, results) == results[0]
    assert of_row(row, table, results[1:]) == results[1]
    told = results[1].differences(table.training)
    assert {"cutmix 0.5", "whiten True", "nesterov True"} <= set(told)
    assert json.loads(json.dumps(ours.to_json()))["cutmix"] == 0.5
