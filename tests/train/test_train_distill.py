"""Runs that imitate others: exactly, or not at all."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from training_runs import (
    SMALL_MGIC,
    STEPS,
    Stop,
    assert_same_run,
    edit_checkpoint,
    equal,
    log,
    outcome,
    stop_at,
    tiny_recipe,
)
from training_runs import weights as final

from torchmg.data.batches import Batches
from torchmg.errors import CheckpointError, ResumeError, UsageError
from torchmg.models.options import ModelOptions
from torchmg.models.weights import digest
from torchmg.train.distill import Maps, soft_target_loss
from torchmg.train.evaluate import evaluate
from torchmg.train.folder import RunFolder
from torchmg.train.loop import fit
from torchmg.train.model import model_for
from torchmg.train.recipe import Recipe, recipe
from torchmg.train.teacher import teacher_for

STUDENT = Recipe(model="mgic_resnet20", options=SMALL_MGIC, epochs=2, batch_size=40, augment="crop")
NARROW = Recipe(model="resnet20", options=ModelOptions(width=0.25), epochs=1, batch_size=40)
"""A dense teacher whose feature maps have the student's shapes."""

CALM = """
from torch import nn

def calm(num_classes, in_channels):
    return nn.Sequential(nn.Conv2d(in_channels, 4, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(4, num_classes))

class Mapped(nn.Module):
    def __init__(self, num_classes, in_channels):
        super().__init__()
        self.stem, self.body = nn.Conv2d(in_channels, 4, 3), nn.Conv2d(4, 4, 3)
        self.head = nn.Linear(4, num_classes)

    def forward_features(self, x):
        first = self.stem(x).relu()
        return [first, self.body(first).relu()]

    def forward(self, x):
        return self.head(self.forward_features(x)[-1].mean((2, 3)))

def mapped(num_classes, in_channels):
    return Mapped(num_classes, in_channels)

def wide(num_classes, in_channels):
    return calm(num_classes + 1, in_channels)

def pair(num_classes, in_channels):
    class Pair(nn.Module):
        def forward(self, x):
            return x, x
    return Pair()
"""
"""Users' networks: one that computes the same in training as in evaluation, and some that cannot be imitated."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("distill")


@pytest.fixture
def teacher(shared: Path, data: Any) -> Path:
    """A finished run."""
    return fit(NARROW, folder=shared / "teacher", quiet=True).folder


@pytest.fixture
def distilled(teacher: Path) -> Recipe:
    """All of it, and what a student may have besides."""
    return replace(STUDENT, distill_from=str(teacher), distill_features=0.5, accumulate=2, ema=0.5)


def test_a_distilled_run_is_recorded_and_nears_its_teacher(data: Any, teacher: Path, tmp_path: Path) -> None:
    alone = replace(STUDENT, epochs=4, lr=0.05)
    both = {"alone": alone, "taught": replace(alone, distill_from=str(teacher), distill_weight=1.0)}
    network = model_for(NARROW, data).eval()
    RunFolder(teacher).read_weights(network)
    pictures, *_ = next(iter(Batches(data.test, data.preparation(), batch_size=90, shuffle=False).epoch(0)))
    far = {}
    for name, chosen in both.items():
        run = fit(chosen, folder=tmp_path / name, quiet=True)
        student = model_for(chosen, data).eval()
        RunFolder(run.folder).read_weights(student)
        with torch.no_grad():
            far[name] = float(soft_target_loss(student(pictures), network(pictures), 4.0))
        assert run.record.get("teacher") == (digest(network.state_dict()) if name == "taught" else None)
        assert evaluate(student, data).loss == pytest.approx(run.record["test_loss"], rel=1e-4)
    assert far["taught"] < 0.8 * far["alone"]


def test_weight_zero_is_plain_training_bit_for_bit(teacher: Path, tmp_path: Path) -> None:
    plain = tiny_recipe(tmp_path, augment="crop")
    one = fit(plain, folder=tmp_path / "plain", quiet=True).folder
    taught = replace(plain, distill_from=str(teacher), distill_weight=0.0)
    other = fit(taught, folder=tmp_path / "taught", quiet=True).folder
    assert equal(final(one), final(other))
    assert log(one) == log(other)


def test_the_logged_loss_is_the_whole_one(teacher: Path, tmp_path: Path) -> None:
    """Of a student that stands still."""
    still = replace(STUDENT, epochs=1, lr=0.0, augment="none", distill_from=str(teacher), distill_weight=1.0)
    rows = {w: log(fit(replace(still, distill_weight=w), folder=tmp_path / str(w), quiet=True).folder) for w in (0, 1)}
    half = log(fit(replace(still, distill_weight=0.5), folder=tmp_path / "half", quiet=True).folder)
    task, imitation = (float(rows[w][0]["train_loss"]) for w in (0, 1))
    assert task != pytest.approx(imitation, rel=0.01)
    assert float(half[0]["train_loss"]) == pytest.approx((task + imitation) / 2, rel=1e-5)


@pytest.mark.parametrize("number", [1, STEPS + 3])
def test_a_run_that_broke_off_continues_exactly(
    number: int, distilled: Recipe, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbroken = fit(distilled, folder=shared / "unbroken", quiet=True).folder
    with monkeypatch.context() as patch:
        stop_at(patch, "torchmg.train.loop.order_hash", number)
        with pytest.raises(Stop):
            fit(distilled, folder=tmp_path / "run", checkpoint_seconds=0, quiet=True)
    fit(distilled, folder=tmp_path / "run", quiet=True)
    assert_same_run(tmp_path / "run", unbroken)


def test_a_teacher_that_changed_is_refused(
    data: Any, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    for file in teacher.iterdir():
        (mine / file.name).write_bytes(file.read_bytes())
    chosen = replace(STUDENT, distill_from=str(mine))
    with monkeypatch.context() as patch:
        stop_at(patch, "torchmg.train.loop.order_hash", 3)
        with pytest.raises(Stop):
            fit(chosen, folder=tmp_path / "run", checkpoint_seconds=0, quiet=True)
    other = model_for(NARROW, data)
    RunFolder(mine).write_weights(other)
    before = (tmp_path / "run" / "last.ckpt").read_bytes()
    with pytest.raises(ResumeError) as caught:
        fit(chosen, folder=tmp_path / "run", quiet=True)
    for word in (str(mine), "imitates a teacher of other weights", digest(other.state_dict())[:12], "new folder"):
        assert word in str(caught.value)
    assert caught.value.exit_code == 2
    assert (tmp_path / "run" / "last.ckpt").read_bytes() == before


def test_a_users_network_teaches_another(tmp_path: Path, data: Any) -> None:
    (tmp_path / "calm.py").write_text(CALM)
    chosen = tiny_recipe(tmp_path, distill_from=f"{tmp_path / 'calm.py'}:calm", epochs=1)
    one, other = (fit(chosen, folder=tmp_path / name, quiet=True) for name in ("one", "other"))
    assert_same_run(one.folder, other.folder)
    assert (taught := teacher_for(chosen, data)) is not None
    assert one.record["teacher"] == taught.digest
    assert not equal(final(one.folder), final(fit(replace(chosen, distill_from=""), tmp_path, quiet=True).folder))


def test_recipes_and_checkpoints_of_before_are_continued(
    teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = ("distill_from", "distill_weight", "distill_temperature", "distill_features", "start_from")
    plain = tiny_recipe(tmp_path)
    whole = fit(plain, folder=tmp_path / "whole", quiet=True).folder
    with monkeypatch.context() as patch:
        stop_at(patch, "torchmg.train.loop.order_hash", 3)
        with pytest.raises(Stop):
            fit(plain, folder=tmp_path / "run", checkpoint_seconds=0, quiet=True)

    def forget(content: dict[str, Any]) -> None:
        del content["teacher"], content["progress"]["start"]
        for name in new:
            del content["recipe"][name]

    edit_checkpoint(tmp_path / "run" / "last.ckpt", forget)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    (tmp_path / "run" / "config.json").write_text(json.dumps({k: v for k, v in config.items() if k not in new}))
    fit(plain, folder=tmp_path / "run", quiet=True)
    assert equal(final(tmp_path / "run"), final(whole))
    assert outcome(tmp_path / "run") == outcome(whole)


@pytest.mark.slow
def test_compiled_and_in_lower_precision(data: Any, tmp_path: Path) -> None:
    (tmp_path / "calm.py").write_text(CALM)
    model = f"{tmp_path / 'calm.py'}:mapped"
    eager = Recipe(model=model, epochs=1, batch_size=40, distill_from=model, distill_features=1.0, ema=0.5, seed=1)
    forms = {"eager": eager, "compiled": replace(eager, compile="aot_eager"), "half": replace(eager, precision="bf16")}
    losses = {}
    for name, form in forms.items():
        (row,) = log(fit(form, folder=tmp_path / name, quiet=True).folder)
        losses[name] = [float(row["train_loss"]), float(row["test_loss"])]
    assert losses["compiled"] == pytest.approx(losses["eager"], rel=1e-5)
    assert losses["half"] == pytest.approx(losses["eager"], rel=0.15)
    assert losses["half"] != losses["eager"]


@pytest.mark.slow
def test_two_processes_imitate_as_one(tmp_path: Path) -> None:
    (tmp_path / "calm.py").write_text(CALM)
    model = f"{tmp_path / 'calm.py'}:mapped"
    first = fit(Recipe(model=model, subset=200, epochs=1), folder=tmp_path / "teacher", quiet=True).folder
    taught = Recipe(model=model, subset=200, epochs=2, batch_size=41, distill_from=str(first), distill_features=0.5)
    one, two = (fit(replace(taught, seed=1), folder=tmp_path / str(n), devices=n, quiet=True).folder for n in (1, 2))
    for name, tensor in final(one).items():
        assert torch.allclose(tensor, final(two)[name], rtol=1e-3, atol=1e-4), name


def test_pictures_of_classes_are_imitated_pixel_by_pixel(tmp_path: Path) -> None:
    small = ModelOptions(width=1 / 16, steps=1)
    base = recipe("qtips_imexnet", options=small, epochs=1, subset=8)
    whole = fit(base, folder=tmp_path / "teacher", quiet=True)
    taught = fit(replace(base, seed=1, distill_from=str(whole.folder), distill_features=1.0), tmp_path, quiet=True)
    assert taught.record["steps"] == 1
    assert 0 <= taught.record["test_miou"] <= 100


def test_functions_are_imitated(tmp_path: Path) -> None:
    base = recipe("functions", epochs=1, subset=100)
    whole = fit(base, folder=tmp_path / "teacher", quiet=True)
    taught = fit(replace(base, seed=1, distill_from=str(whole.folder)), tmp_path, quiet=True)
    assert taught.record["teacher"]


# ---- what cannot be


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"distill_weight": -0.1}, ["distill_weight", "[0, 1]", "got -0.1"]),
        ({"distill_weight": float("nan")}, ["distill_weight", "got nan"]),
        ({"distill_temperature": 0.0}, ["distill_temperature", "above 0", "got 0"]),
        ({"distill_temperature": float("inf")}, ["distill_temperature", "got inf"]),
        ({"distill_features": -1.0}, ["distill_features", "at least 0", "got -1"]),
        ({"distill_features": 1.0}, ["distill_features", "distill_from"]),
    ],
)
def test_settings_that_make_no_sense_are_named(changes: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        recipe("digits", **changes)
    for word in words:
        assert word in str(caught.value)


def unfinished(folder: Path) -> None:
    (folder / "record.json").unlink()


def of_other_data(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps(replace(NARROW, data="fashion_mnist").to_json()))


def flipped(folder: Path) -> None:
    content = bytearray((folder / "last.safetensors").read_bytes())
    content[-5] ^= 1
    (folder / "last.safetensors").write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "error", "words"),
    [
        (unfinished, UsageError, ["not finished", "torchmg train --resume"]),
        (of_other_data, UsageError, ["trained on fashion_mnist", "is on digits"]),
        (flipped, CheckpointError, ["last.safetensors", "sha256"]),
        (lambda folder: (folder / "config.json").unlink(), CheckpointError, ["not a run folder"]),
        (lambda folder: folder.rename(folder.with_name("moved")), UsageError, ["no folder", "mine", "file.py:factory"]),
    ],
)
def test_a_teacher_that_is_none_leaves_no_folder(
    harm: Callable[[Path], object], error: type[Exception], words: list[str], teacher: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    for file in teacher.iterdir():
        if file.suffix != ".ckpt":  # from which a config could be made good
            (mine / file.name).write_bytes(file.read_bytes())
    harm(mine)
    with pytest.raises(error) as caught:
        fit(replace(STUDENT, distill_from=str(mine)), folder=tmp_path / "run", quiet=True)
    for word in words:
        assert word in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("student", "factory", "features", "words"),
    [
        ("mgic_resnet20", "wide", 0.0, ["outputs of shape (10,)", "(11,)", "calm.py:wide"]),
        ("mgic_resnet20", "pair", 0.0, ["calm.py:pair", "returns a tuple"]),
        ("mgic_resnet20", "calm", 1.0, ["calm.py:calm", "no forward_features", "distill_features 0"]),
        ("calm", "", 1.0, ["The network", "calm.py:calm", "no forward_features"]),
        ("resnet20", "", 1.0, ["one shape", "16x16x16 32x8x8 64x4x4", "4x16x16 8x8x8 16x4x4", "distill_features 0"]),
    ],
)
def test_networks_that_cannot_be_compared(
    student: str, factory: str, features: float, words: list[str], teacher: Path, tmp_path: Path
) -> None:
    file = tmp_path / "calm.py"
    file.write_text(CALM)
    chosen = Recipe(
        model=student if "resnet" in student else f"{file}:{student}",
        distill_from=f"{file}:{factory}" if factory else str(teacher),
        distill_features=features,
    )
    with pytest.raises(UsageError) as caught:
        fit(chosen, folder=tmp_path / "run", quiet=True)
    for word in words:
        assert word in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_maps_are_those_of_the_last_pass_and_not_kept() -> None:
    class Alone(nn.Module):
        def forward_features(self, x: Tensor) -> Tensor:
            return x + 1

        def forward(self, x: Tensor) -> Tensor:
            return 2 * self.forward_features(x) if self.training else x

    network, x = Alone(), torch.ones(2)
    maps = Maps(network, "it")
    assert network(x).equal(torch.full((2,), 4.0))
    assert maps.take()[0].equal(torch.full((2,), 2.0))
    network.eval()(x)
    with pytest.raises(UsageError, match="it does not call its forward_features"):
        maps.take()
