"""A run that stops anywhere, in any way, and is continued equals the unbroken run bit for bit."""

from dataclasses import replace
from pathlib import Path

import pytest
from training_runs import SMALL_MGIC, STEPS, Stop, assert_same_run, equal, log, outcome, stop_at, tiny_recipe
from training_runs import weights as final

from torchmg.data.images import ImageSet
from torchmg.train.checkpoint import read_checkpoint
from torchmg.train.loop import fit
from torchmg.train.recipe import Recipe

pytestmark = pytest.mark.usefixtures("data")

LOOP = "torchmg.train.loop"
PLACES = [
    *[(f"{LOOP}.order_hash", n) for n in range(1, 2 * STEPS + 1)],  # after every step, the last included
    *[(f"{LOOP}.learning_rate", n) for n in (1, STEPS, STEPS + 1)],
    *[(f"{LOOP}.evaluate_batches", n) for n in (1, 2, 3)],  # each epoch's, then the record's of the training samples
    *[(f"{LOOP}.RunFolder.{name}", n) for name in ("write_log", "write_weights") for n in (1, 2)],
    *[("torchmg.train.keeper.Checkpointer.stage", n) for n in (1, 2, STEPS + 1, 2 * STEPS + 2)],
    *[("torchmg.train.keeper.Checkpointer.commit", n) for n in (1, 2, STEPS + 2)],
    (f"{LOOP}.RunFolder.write_record", 1),
    ("torchmg.train.checkpoint.torch.save", 3),
    ("torchmg.train.folder.save_model", 2),
]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("exactness")


@pytest.fixture(scope="module")
def recipe(shared: Path) -> Recipe:
    return tiny_recipe(shared, nesterov=True, augment="crop", label_smoothing=0.1, warmup_epochs=0.5, decay="weights")


@pytest.fixture
def unbroken(shared: Path, recipe: Recipe, data: ImageSet) -> Path:
    return fit(recipe, folder=shared / "unbroken", quiet=True).folder


@pytest.mark.parametrize(
    ("place", "number", "seconds"),
    [
        pytest.param(place, number, seconds, id=f"{place.rpartition('.')[2]}-{number}-{'epoch' if seconds else 'step'}")
        for place, number in PLACES
        for seconds in (0.0, 3600.0)
        if not (seconds and place.endswith(("stage", "torch.save")) and number > 3)  # of one an epoch there are three
    ],
)
def test_a_run_that_broke_off_continues_exactly(
    place: str,
    number: int,
    seconds: float,
    recipe: Recipe,
    unbroken: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        stop_at(patch, place, number)
        with pytest.raises(Stop):
            fit(recipe, folder=tmp_path / "run", checkpoint_seconds=seconds, quiet=True)
    assert not (tmp_path / "run" / "record.json").exists()
    fit(recipe, folder=tmp_path / "run", checkpoint_seconds=seconds, quiet=True)
    assert_same_run(tmp_path / "run", unbroken)


def test_a_run_that_breaks_off_after_every_single_step(
    recipe: Recipe, unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, reached = tmp_path / "run", []
    for _ in range(2 * STEPS):
        with monkeypatch.context() as patch:
            # every attempt does two steps; the checkpoint before the second is the one that the second approves
            stop_at(patch, f"{LOOP}.order_hash", 2)
            try:
                fit(recipe, folder=folder, checkpoint_seconds=0, quiet=True)
                break
            except Stop:
                reached.append(read_checkpoint(folder / "last.ckpt").progress.step)
    assert reached == list(range(1, 2 * STEPS))
    fit(recipe, folder=folder, quiet=True)
    assert_same_run(folder, unbroken)


@pytest.mark.parametrize(
    "changes",
    [
        {
            "model": "mgic_resnet20",
            "options": SMALL_MGIC,
            "augment": "crop_flip",
            "schedule": "step",
            "milestones": (1,),
        },
        {"precision": "bf16", "layout": "channels_first"},
        {"momentum": 0.0, "weight_decay": 0.0},
        {"ema": 0.9, "accumulate": 3, "clip": 0.5, "warmup_epochs": 0.5},
        {"precision": "fp16", "clip": 0.5},
    ],
    ids=["mgic", "bf16", "plain-sgd", "ema", "fp16"],
)
def test_other_recipes_continue_exactly(
    changes: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(tiny_recipe(tmp_path), **changes)
    whole = fit(recipe, folder=tmp_path / "whole", quiet=True)
    with monkeypatch.context() as patch:
        stop_at(patch, f"{LOOP}.order_hash", STEPS + 2)
        with pytest.raises(Stop):
            fit(recipe, folder=tmp_path / "broken", checkpoint_seconds=0, quiet=True)
    assert read_checkpoint(tmp_path / "broken" / "last.ckpt").progress.step == STEPS + 1
    fit(recipe, folder=tmp_path / "broken", quiet=True)
    assert_same_run(tmp_path / "broken", whole.folder)


def test_same_seed_same_run_another_seed_another(recipe: Recipe, unbroken: Path, tmp_path: Path) -> None:
    again = fit(recipe, folder=tmp_path / "again", quiet=True).folder
    assert_same_run(again, unbroken)
    other = fit(replace(recipe, seed=1), folder=tmp_path / "other", quiet=True).folder
    assert not equal(final(other), final(unbroken))
    assert log(other) != log(unbroken)


def test_progress_changes_nothing(
    recipe: Recipe, unbroken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loud = fit(recipe, folder=tmp_path / "loud", quiet=False).folder
    assert "epoch   2/2" in capsys.readouterr().err
    assert_same_run(loud, unbroken)


def test_the_checkpoint_interval_changes_nothing(recipe: Recipe, unbroken: Path, tmp_path: Path) -> None:
    assert_same_run(fit(recipe, folder=tmp_path / "often", checkpoint_seconds=0, quiet=True).folder, unbroken)


def test_what_happens_around_a_run_changes_nothing(recipe: Recipe, unbroken: Path, tmp_path: Path) -> None:
    import random

    import numpy as np
    import torch

    torch.manual_seed(99)
    np.random.seed(99)
    random.seed(99)
    assert_same_run(fit(recipe, folder=tmp_path / "run", quiet=True).folder, unbroken)


def test_the_record_says_what_was_trained(recipe: Recipe, unbroken: Path, data: ImageSet) -> None:
    record = outcome(unbroken)
    assert record["recipe"] == recipe.to_json()
    assert record["command"] == recipe.command()
    assert record["steps"] == 2 * STEPS == int(log(unbroken)[-1]["step"])
    assert record["data"] == data.hashes()
    assert record["input"] == [1, 16, 16]
    assert record["parameters"] == sum(value.numel() for key, value in final(unbroken).items() if _trained(key))
    assert record["environment"]["threads"] == 1
    assert record["test_accuracy"] == float(log(unbroken)[-1]["test_accuracy"])


def _trained(key: str) -> bool:
    return "running" not in key and "num_batches" not in key
