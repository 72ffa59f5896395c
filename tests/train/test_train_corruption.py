"""Whatever happens to the files of a run, it continues to the same end or says which file is no good."""

import os
import pickle
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from damage import ATTACKS, attack, attempt, damage
from hypothesis import given, settings
from hypothesis import strategies as st
from training_runs import (
    STEPS,
    Stop,
    assert_same_run,
    log,
    outcome,
    small_set,
    stop,
    stop_at,
    tiny_recipe,
    weights,
)

from torchmg import cli
from torchmg.errors import CheckpointError, CheckpointWarning, ResumeError, TorchmgError, UsageError
from torchmg.models.user import build
from torchmg.models.weights import digest
from torchmg.train.checkpoint import read_checkpoint
from torchmg.train.folder import RunFolder
from torchmg.train.loop import fit
from torchmg.train.recipe import Recipe
from torchmg.train.resume import newest
from torchmg.train.seal import write_sealed

pytestmark = pytest.mark.usefixtures("data")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    return tiny_recipe(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def whole(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torchmg.train.model.load", lambda *_, **__: small_set())
        return fit(recipe, folder=tmp_path_factory.mktemp("whole") / "run", quiet=True).folder


@pytest.fixture(scope="module")
def half(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that stopped in its second epoch: last.ckpt is of step 7, previous.ckpt of step 6."""
    folder = tmp_path_factory.mktemp("half") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torchmg.train.model.load", lambda *_, **__: small_set())
        stop_at(patch, "torchmg.train.loop.order_hash", STEPS + 3)
        with pytest.raises(Stop):
            fit(recipe, folder=folder, checkpoint_seconds=0, quiet=True)
    return folder


@pytest.fixture
def run(half: Path, tmp_path: Path) -> RunFolder:
    """A copy of the half run, to be spoilt."""
    shutil.copytree(half, tmp_path / "run")
    return RunFolder(tmp_path / "run")


@contextmanager
def copied(folder: Path) -> Iterator[RunFolder]:
    """Likewise, for one example of hypothesis."""
    with tempfile.TemporaryDirectory() as place:
        yield RunFolder(Path(shutil.copytree(folder, Path(place) / "run")))


def step(path: Path) -> int:
    return read_checkpoint(path).progress.step


def spoil(path: Path) -> bytes:
    """Flip one bit in the middle; returns what is then there."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return bytes(content)


def assert_same_end(one: Path, other: Path) -> None:
    """As `assert_same_run`, but what was set aside may lie about."""
    for aside in one.glob("*.damaged*"):
        aside.rename(one.parent / aside.name)
    assert_same_run(one, other)


# ---- the checkpoint before


def test_a_finished_run_keeps_no_previous_checkpoint(half: Path, whole: Path) -> None:
    assert (step(half / "last.ckpt"), step(half / "previous.ckpt")) == (STEPS + 2, STEPS + 1)
    names = ["config.json", "environment.json", "last.ckpt", "last.safetensors", "log.csv", "record.json"]
    assert sorted(path.name for path in whole.iterdir()) == names


def test_a_damaged_last_checkpoint_is_set_aside(run: RunFolder, recipe: Recipe, whole: Path) -> None:
    damaged = spoil(run.checkpoint)
    with pytest.warns(
        CheckpointWarning, match=r"last\.ckpt is damaged .* previous\.ckpt, step 6\. .*kept as last\.ckpt\.d"
    ):
        fit(recipe, folder=run.path, quiet=True)
    assert (run.path / "last.ckpt.damaged").read_bytes() == damaged
    assert_same_end(run.path, whole)


def test_a_missing_last_checkpoint(run: RunFolder, recipe: Recipe, whole: Path) -> None:
    run.checkpoint.unlink()
    with pytest.warns(
        CheckpointWarning, match=r"no checkpoint .*last\.ckpt\. Continuing from previous\.ckpt, step 6\.$"
    ):
        fit(recipe, folder=run.path, quiet=True)
    assert_same_run(run.path, whole)


def test_several_damaged_checkpoints_are_all_kept(run: RunFolder) -> None:
    sound, seen = run.checkpoint.read_bytes(), []
    for _ in range(3):
        run.checkpoint.write_bytes(sound)
        seen.append(spoil(run.checkpoint))
        sound = sound[:300] + b"x" + sound[301:]
        with pytest.warns(CheckpointWarning):
            newest(run)
    kept = [run.path / f"last.ckpt.damaged{number}" for number in ("", 2, 3)]
    assert [path.read_bytes() for path in kept] == seen


def test_both_checkpoints_damaged(run: RunFolder, recipe: Recipe) -> None:
    before = [spoil(run.checkpoint), spoil(run.previous)]
    with pytest.raises(
        CheckpointError, match=r"last\.ckpt is damaged .*previous\.ckpt is damaged .*Train again"
    ) as caught:
        fit(recipe, folder=run.path, quiet=True)
    assert "\n" not in str(caught.value)
    assert [run.checkpoint.read_bytes(), run.previous.read_bytes()] == before


def test_a_kill_between_the_two_renames(
    recipe: Recipe, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, replace, renamed = tmp_path / "run", Path.replace, []

    def dying(path: Path, target: Path) -> Any:
        if target.name == "last.ckpt" and (folder / "previous.ckpt").exists():
            renamed.append(path.name)
            if len(renamed) == 4:
                stop()
        return replace(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", dying)
        with pytest.raises(Stop):
            fit(recipe, folder=folder, checkpoint_seconds=0, quiet=True)
    assert not (folder / "last.ckpt").exists()
    there = step(folder / "previous.ckpt")
    assert there == 3
    with pytest.warns(CheckpointWarning, match=rf"Continuing from previous\.ckpt, step {there}\."):
        fit(recipe, folder=folder, quiet=True)
    assert_same_run(folder, whole)


# ---- any damage


def check_checkpoint(run: RunFolder, data: st.DataObject) -> None:
    others = [run.previous, run.weights, run.config, run.path / "log.csv"]
    same = damage(data, run.checkpoint, others)
    there = run.checkpoint.read_bytes() if run.checkpoint.is_file() else None
    if same or there == run.previous.read_bytes():
        assert newest(run)[0] == run.checkpoint  # a warning would be an error
        return
    with pytest.warns(CheckpointWarning, match=r"last\.ckpt"):
        path, checkpoint = newest(run)
    assert (path, checkpoint.progress.step) == (run.previous, STEPS + 1)
    aside = run.path / "last.ckpt.damaged"
    assert there is None or aside.read_bytes() == there
    assert not os.path.lexists(run.checkpoint)


def check_config(run: RunFolder, data: st.DataObject) -> None:
    recipe, before = RunFolder(run.path).recipe(), run.config.read_bytes()
    damage(data, run.config, [run.checkpoint, run.path / "environment.json", run.path / "log.csv"])
    there = run.config.read_bytes() if run.config.is_file() else None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read = run.recipe()
    if read != recipe:  # another recipe, and a sound one
        assert there != before
        with pytest.raises(ResumeError, match="was made with"):
            RunFolder.open(recipe, run.path)
        with pytest.raises(TorchmgError):
            fit(read, folder=run.path, quiet=True)
        return
    if caught:
        assert "config.json was damaged or missing" in str(caught[0].message)
        assert there is None or (run.path / "config.json.damaged").read_bytes() == there
    assert RunFolder.existing(run.path).recipe() == recipe


def check_record(run: RunFolder, data: st.DataObject) -> None:
    good = run.record()
    damage(data, run.record_file, [run.config, run.weights, run.path / "environment.json"])
    read, message = attempt(run.record, CheckpointError)
    assert good is not None
    if message:
        assert "record.json is damaged" in message
    else:
        assert read is None or {key: read[key] for key in good} == good


def check_weights(run: RunFolder, data: st.DataObject) -> None:
    model = build(run.recipe().model, num_classes=10, in_channels=1)
    run.read_weights(model)
    good = digest(model.state_dict())
    damage(data, run.weights, [run.checkpoint, run.config])
    _, message = attempt(lambda: run.read_weights(model), CheckpointError)
    if message:
        assert "last.safetensors" in message
    else:
        assert digest(model.state_dict()) == good


def check_any(run: RunFolder, data: st.DataObject, whole: Path) -> None:
    """Damage up to two files; then continue."""
    recipe = run.recipe()
    files = sorted(path for path in run.path.iterdir())
    paths = data.draw(st.lists(st.sampled_from(files), min_size=1, max_size=2, unique=True), "files")
    for path in paths:
        damage(data, path, [other for other in files if other.is_file() and other != path])
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always", CheckpointWarning)
        _, message = attempt(lambda: fit(recipe, folder=run.path, quiet=True), TorchmgError)
    if message:
        assert any(path.name in message for path in paths)
        return
    # What fit never reads need not be as it was; what it wrote is.
    assert log(run.path) == log(whole)
    assert outcome(run.path) == outcome(whole)
    assert digest(weights(run.path)) == digest(weights(whole))


CHECKS: list[tuple[Callable[[RunFolder, st.DataObject], None], str]] = [
    (check_checkpoint, "half"),
    (check_config, "half"),
    (check_record, "whole"),
    (check_weights, "whole"),
]


@pytest.mark.parametrize(("check", "which"), CHECKS)
@settings(max_examples=40)
@given(data=st.data())
def test_damage(check: Any, which: str, half: Path, whole: Path, data: st.DataObject) -> None:
    with copied({"half": half, "whole": whole}[which]) as run:
        check(run, data)


@pytest.mark.slow
@pytest.mark.parametrize(("check", "which"), CHECKS)
@settings(max_examples=1500)
@given(data=st.data())
def test_any_damage(check: Any, which: str, half: Path, whole: Path, data: st.DataObject) -> None:
    with copied({"half": half, "whole": whole}[which]) as run:
        check(run, data)


@pytest.mark.slow
@settings(max_examples=200)
@given(data=st.data())
def test_any_damage_and_on(half: Path, whole: Path, data: st.DataObject) -> None:
    with pytest.MonkeyPatch.context() as patch, copied(half) as run:
        patch.setattr("torchmg.train.model.load", lambda *_, **__: small_set())
        check_any(run, data, whole)


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(run: RunFolder) -> None:
    path = run.path / "environment.json"
    assert run.layout() == "channels_last"
    path.write_text(path.read_text().replace("channels_last", "bhannels_last"))
    assert run.layout() is None
    path.unlink()
    os.mkfifo(path)
    assert run.layout() is None


def test_every_bit_of_a_checkpoint_counts(run: RunFolder) -> None:
    content = run.checkpoint.read_bytes()
    for place in range(0, len(content), 97):
        run.checkpoint.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        with pytest.raises(CheckpointError, match=r"last\.ckpt is damaged"):
            read_checkpoint(run.checkpoint)


def test_torch_alone_would_not_notice(run: RunFolder) -> None:
    tensor = read_checkpoint(run.checkpoint).model["0.weight"].numpy().tobytes()
    content = run.checkpoint.read_bytes()
    place = content.index(tensor)
    run.checkpoint.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    assert torch.load(run.checkpoint, weights_only=True)["progress"]["step"] == STEPS + 2
    with pytest.raises(CheckpointError, match="its content is not what its sha256 says"):
        read_checkpoint(run.checkpoint)


def test_eval_names_damaged_weights(run: RunFolder) -> None:
    content = run.weights.read_bytes()
    run.weights.write_bytes(content[:-10] + bytes([content[-10] ^ 1]) + content[-9:])
    with pytest.raises(CheckpointError, match=r"last\.safetensors is damaged .*sha256"):
        cli.run(["eval", str(run.path)])


def test_resume_of_the_command_line_makes_a_config_good(run: RunFolder, whole: Path) -> None:
    sound = run.config.read_bytes()
    run.config.write_bytes(sound[:100])
    with pytest.warns(
        CheckpointWarning, match=r"config\.json .*written anew from the checkpoint.*config\.json\.damaged"
    ):
        cli.run(["train", "--resume", str(run.path), "--quiet"])
    assert run.config.read_bytes() == sound
    assert_same_end(run.path, whole)


def test_an_edited_config_is_another_recipe(run: RunFolder, recipe: Recipe) -> None:
    run.config.write_text(run.config.read_text().replace('"lr": 0.1', '"lr": 0.3'))
    with pytest.raises(ResumeError, match=r"last\.ckpt belongs to another recipe than .*config\.json"):
        fit(run.recipe(), folder=run.path, quiet=True)
    with pytest.raises(ResumeError, match=r"was made with lr 0\.3 \(you asked for 0\.1\)"):
        fit(recipe, folder=run.path, quiet=True)


# ---- nothing is executed


@pytest.mark.parametrize("name", ATTACKS)
def test_no_checkpoint_runs_a_command(name: str, run: RunFolder, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    bare = b"\x80\x04" + attack(name, f"mkdir {canary}") + b"."
    with zipfile.ZipFile(tmp_path / "zip", "w") as archive:
        for part, content in {"data.pkl": bare, "version": b"3\n", "byteorder": b"little"}.items():
            archive.writestr(f"archive/{part}", content)
    run.previous.unlink()
    for content in (bare, (tmp_path / "zip").read_bytes()):
        write_sealed(run.checkpoint, content)
        with pytest.raises(CheckpointError, match=r"last\.ckpt is damaged"):
            newest(run)
        run.config.unlink()
        with pytest.raises(UsageError, match=r"config\.json is missing"):
            RunFolder.existing(run.path)
        run.config.touch()
        assert not canary.exists()
    try:
        torch.load(tmp_path / "zip", weights_only=False)
    except (pickle.UnpicklingError, AssertionError):
        assert name == "as a persistent id"
    assert canary.is_dir()  # it was a real one
