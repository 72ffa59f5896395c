"""Continuing says when it is not exact, and refuses what would be another run."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from training_runs import SMALL_MGIC, STEPS, Stop, assert_same_run, edit_checkpoint, small_set, stop_at, tiny_recipe

from torchmg.data.batches import Batches
from torchmg.data.images import ImageSet, ImageSplit
from torchmg.data.order import epoch_order, order_hash
from torchmg.errors import CheckpointError, ExactnessWarning, ResumeError, UnknownNameError, UsageError
from torchmg.train.checkpoint import Progress
from torchmg.train.loop import fit
from torchmg.train.recipe import Recipe
from torchmg.train.resume import consumed_order

pytestmark = pytest.mark.usefixtures("data")


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return tiny_recipe(tmp_path)


@pytest.fixture
def broken(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that stopped in its second epoch."""
    with monkeypatch.context() as patch:
        stop_at(patch, "torchmg.train.loop.order_hash", STEPS + 3)
        with pytest.raises(Stop):
            fit(recipe, folder=tmp_path / "broken", checkpoint_seconds=0, quiet=True)
    return tmp_path / "broken"


def test_the_same_machine_continues_without_a_word(recipe: Recipe, broken: Path) -> None:
    fit(recipe, folder=broken, quiet=True)  # a warning would be an error


@pytest.mark.parametrize(
    ("key", "then"),
    [
        ("threads", 64),
        ("torch", "2.0.1"),
        ("processor", "Some Other Processor"),
        ("device", "NVIDIA A100"),
        ("vector_units", "DEFAULT"),
    ],
)
def test_another_environment_is_named(key: str, then: Any, recipe: Recipe, broken: Path) -> None:
    now: list[Any] = []

    def change(content: dict[str, Any]) -> None:
        now.append(content["environment"][key])
        content["environment"][key] = then

    edit_checkpoint(broken / "last.ckpt", change)
    with pytest.warns(ExactnessWarning) as caught:
        fit(recipe, folder=broken, quiet=True)
    (warning,) = caught
    assert f"{key} was {then!r}, is {now[0]!r}" in str(warning.message)
    assert str(broken) in str(warning.message)
    assert str(warning.message).count(" was ") == 1


@pytest.mark.parametrize("key", ["numpy", "python", "date", "torchmg"])
def test_what_does_not_decide_the_bits_is_not_warned_about(key: str, recipe: Recipe, broken: Path) -> None:
    edit_checkpoint(broken / "last.ckpt", lambda content: content["environment"].update({key: "0.0"}))
    fit(recipe, folder=broken, quiet=True)


def test_another_sample_order_is_named(recipe: Recipe, broken: Path) -> None:
    edit_checkpoint(broken / "last.ckpt", lambda content: content["progress"].update(order="0" * 64))
    with pytest.warns(ExactnessWarning, match="sample order is drawn differently"):
        fit(recipe, folder=broken, quiet=True)


def test_the_order_hash_is_that_of_all_consumed_samples(data: ImageSet) -> None:
    train = Batches(data.train, data.preparation(), batch_size=40, seed=3)
    hashed = ""
    for batch in train.epoch(0):
        hashed = order_hash(hashed, batch.indices)
    assert consumed_order(train, Progress(epoch=1, batch=0)) == hashed
    for batch in list(train.epoch(1))[:2]:
        hashed = order_hash(hashed, batch.indices)
    assert consumed_order(train, Progress(epoch=1, batch=2)) == hashed
    assert consumed_order(train, Progress(epoch=1, batch=1)) != hashed
    assert order_hash("", epoch_order(3, 0, 200)[:40]) == consumed_order(train, Progress(batch=1))


@pytest.mark.parametrize(
    ("part", "key"), [("train", "train_pixels"), ("test", "test_pixels"), ("train", "train_labels")]
)
def test_other_data_is_refused(
    part: str, key: str, recipe: Recipe, broken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def altered(split: ImageSplit) -> ImageSplit:
        images, labels = split.images.clone(), split.labels.clone()
        if key.endswith("pixels"):
            images[3, 0, 2, 2] ^= 1
        else:
            labels[3] = 0
        return ImageSplit(images, labels)

    small = small_set()
    other = replace(small, **{part: altered(getattr(small, part))})
    monkeypatch.setattr("torchmg.train.model.load", lambda *_, **__: other)
    before = (broken / "last.ckpt").read_bytes()
    with pytest.raises(ResumeError, match=rf"differs in {key}\)") as caught:
        fit(recipe, folder=broken, quiet=True)
    assert "--data-dir" in str(caught.value)
    assert caught.value.exit_code == 2
    assert (broken / "last.ckpt").read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch_size": 20}, ["batch_size 40 (you asked for 20)"]),
        ({"seed": 7, "lr": 0.2}, ["seed 0 (you asked for 7)", "lr 0.1 (you asked for 0.2)"]),
        ({"milestones": (3,)}, ["milestones [100, 150] (you asked for [3])"]),
        ({"options": SMALL_MGIC}, ["width None (you asked for 0.25)", "group_size None (you asked for 2)"]),
    ],
)
def test_another_recipe_is_refused_with_both_values(
    changes: dict[str, Any], words: list[str], recipe: Recipe, broken: Path
) -> None:
    with pytest.raises(ResumeError) as caught:
        fit(replace(recipe, **changes), folder=broken, quiet=True)
    message = str(caught.value)
    for word in [*words, "Exact resume is impossible", f"torchmg train --resume {broken}"]:
        assert word in message
    assert message.count("you asked for") == (3 if "options" in changes else len(words))
    assert caught.value.exit_code == 2


def test_a_checkpoint_of_another_recipe_is_refused(recipe: Recipe, broken: Path) -> None:
    edit_checkpoint(broken / "last.ckpt", lambda content: content["recipe"].update(lr=0.5))
    with pytest.raises(ResumeError, match="belongs to another recipe"):
        fit(recipe, folder=broken, quiet=True)


def test_a_finished_run_says_so_and_does_not_train(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = fit(recipe, folder=tmp_path / "run", quiet=True)
    before = {path.name: path.read_bytes() for path in first.folder.iterdir()}
    monkeypatch.setattr("torchmg.train.model.load", lambda *_, **__: pytest.fail("it loads data"))
    again = fit(recipe, folder=tmp_path / "run")
    written = json.loads((first.folder / "record.json").read_text())
    assert again.record == first.record == {key: written[key] for key in written if key != "sha256"}
    assert "is finished" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in first.folder.iterdir()} == before
    fit(recipe, folder=tmp_path / "run", quiet=True)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda p: (p / "config.json").write_text("{"), UsageError, ["config.json", "not a readable recipe"]),
        (lambda p: (p / "config.json").write_text("[]"), UsageError, ["config.json", "not a recipe"]),
        (lambda p: (p / "config.json").write_text('{"epoch": 3}'), UnknownNameError, ["'epoch'", "epochs"]),
        (lambda p: (p / "config.json").write_text('{"epochs": "3"}'), UsageError, ["epochs", "'3'"]),
        (lambda p: (p / "notes.txt").write_text("mine"), CheckpointError, ["no run folder", "config.json"]),
        (lambda p: (p / "record.json").write_text("{"), CheckpointError, ["record.json", "damaged"]),
    ],
    ids=["broken-config", "list", "unknown-key", "wrong-type", "someone-elses-folder", "broken-record"],
)
def test_folders_that_are_no_runs(
    make: Callable[[Path], object], error: type[Exception], words: list[str], recipe: Recipe, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    make(folder)
    if (folder / "record.json").exists():
        (folder / "config.json").write_text(json.dumps(recipe.to_json()))
    with pytest.raises(error) as caught:
        fit(recipe, folder=folder, quiet=True)
    for word in words:
        assert word in str(caught.value)


def test_a_folder_that_cannot_be_made(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot be made"):
        fit(recipe, folder=tmp_path / "file" / "run", quiet=True)
    with pytest.raises(CheckpointError, match="is no run folder"):
        fit(recipe, folder=tmp_path / "file", quiet=True)


def test_two_runs_of_one_second_get_two_folders(recipe: Recipe, tmp_path: Path) -> None:
    one, other = (fit(recipe, tmp_path / "runs", quiet=True).folder for _ in range(2))
    assert one != other
    assert_same_run(one, other)
    assert one.name.endswith("_digits_tiny_s0")


def test_leftovers_of_a_kill_do_not_disturb(recipe: Recipe, broken: Path, tmp_path: Path) -> None:
    whole = fit(recipe, folder=tmp_path / "whole", quiet=True).folder
    for name in (".last.ckpt.staged", "..last.ckpt.staged.new", ".last.safetensors.new", ".log.csv.new"):
        (broken / name).write_bytes(b"PK half of something")
    (broken / "last.safetensors").write_bytes(b"")  # never read by fit
    fit(recipe, folder=broken, quiet=True)
    assert_same_run(broken, whole)


def test_a_missing_checkpoint_starts_from_the_beginning(recipe: Recipe, broken: Path, tmp_path: Path) -> None:
    whole = fit(recipe, folder=tmp_path / "whole", quiet=True).folder
    (broken / "last.ckpt").unlink()
    (broken / "previous.ckpt").unlink()
    fit(recipe, folder=broken, quiet=True)
    assert_same_run(broken, whole)
