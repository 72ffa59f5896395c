"""Files that a run writes and reads: nothing in them is executed, nothing half-written replaces a whole one."""

import json
import os
import pickle
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from training_runs import STEPS, edit_checkpoint, outcome, save_sealed, tiny_recipe

from torchmg import cli, create
from torchmg.errors import CheckpointError
from torchmg.models.options import ModelOptions
from torchmg.train.checkpoint import FORMAT, Checkpoint, Checkpointer, Progress, read_checkpoint, rng_states
from torchmg.train.files import write_atomic, write_json, write_text
from torchmg.train.folder import RunFolder
from torchmg.train.loop import fit
from torchmg.train.seal import write_sealed


class Evil:
    """Unpickled, it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


@pytest.fixture
def checkpoint(data: object, tmp_path: Path) -> Path:
    """The last checkpoint of a finished run whose record is gone, so that `fit` reads it."""
    run = fit(tiny_recipe(tmp_path), folder=tmp_path / "run", quiet=True)
    (run.folder / "record.json").unlink()
    return run.folder / "last.ckpt"


@pytest.mark.parametrize("place", ["format", "progress", "model", "inside the weights"])
def test_a_malicious_checkpoint_is_refused_and_not_executed(place: str, checkpoint: Path, tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    content = torch.load(checkpoint, weights_only=True)
    if place == "inside the weights":
        content["model"]["0.weight"] = Evil(marker)
    else:
        content[place] = Evil(marker)
    save_sealed(content, checkpoint)
    with pytest.raises(CheckpointError, match=r"last\.ckpt is damaged or .*nothing in it was executed"):
        read_checkpoint(checkpoint)
    with pytest.raises(CheckpointError):
        fit(tiny_recipe(tmp_path), folder=checkpoint.parent, quiet=True)
    assert not marker.exists()
    torch.load(checkpoint, weights_only=False)
    assert marker.exists()  # it was a real one


def test_a_bare_malicious_pickle_is_refused(tmp_path: Path) -> None:
    marker, path = tmp_path / "executed", tmp_path / "last.ckpt"
    write_sealed(path, pickle.dumps({"format": 1, "progress": Evil(marker)}, protocol=2))
    with pytest.raises(CheckpointError):
        read_checkpoint(path)
    assert not marker.exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda old: b"",
        lambda old: b"garbage" * 100,
        lambda old: old[: len(old) // 2],
        lambda old: old[:-1],
        lambda old: old[: len(old) // 3] + bytes(100) + old[len(old) // 3 + 100 :],
        lambda old: b"{}",
    ],
    ids=["empty", "garbage", "half", "a byte short", "a hole", "json"],
)
def test_damaged_checkpoints(damage: Callable[[bytes], bytes], checkpoint: Path, tmp_path: Path) -> None:
    checkpoint.write_bytes(damage(checkpoint.read_bytes()))
    with pytest.raises(CheckpointError, match=r"last\.ckpt is damaged .* Train again in a new folder") as caught:
        fit(tiny_recipe(tmp_path), folder=checkpoint.parent, quiet=True)
    assert "\x1b" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "foreign",
    [
        torch.zeros(3),
        [1, 2],
        {},
        {"state_dict": {"weight": torch.zeros(2)}},
        {"format": FORMAT, "model": {}},
        {"format": FORMAT, "unknown": 3, "progress": {}, "model": {}, "optimizer": {}, "recipe": {}, "environment": {}},
    ],
    ids=["tensor", "list", "empty", "someone-elses", "parts missing", "parts too many"],
)
def test_foreign_files(foreign: Any, tmp_path: Path) -> None:
    for save in (save_sealed, torch.save):
        save(foreign, tmp_path / "last.ckpt")
        with pytest.raises(CheckpointError, match="is not a torchmg checkpoint"):
            read_checkpoint(tmp_path / "last.ckpt")


def test_another_format_and_no_file(checkpoint: Path, tmp_path: Path) -> None:
    edit_checkpoint(checkpoint, lambda content: content.update(format=99))
    with pytest.raises(CheckpointError, match="another checkpoint format"):
        read_checkpoint(checkpoint)
    with pytest.raises(CheckpointError, match="no checkpoint"):
        read_checkpoint(tmp_path / "none.ckpt")


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content["model"].update({"0.weight": torch.zeros(3, 3)}),
        lambda content: content["model"].pop("0.weight"),
        lambda content: content["optimizer"]["param_groups"].clear(),
        lambda content: content["rng"].clear(),
    ],
    ids=["shape", "missing weight", "no groups", "no random state"],
)
def test_checkpoints_that_do_not_fit(
    change: Callable[[dict[str, Any]], object], checkpoint: Path, tmp_path: Path
) -> None:
    edit_checkpoint(checkpoint, change)
    with pytest.raises(CheckpointError, match="does not fit the model"):
        fit(tiny_recipe(tmp_path), folder=checkpoint.parent, quiet=True)


def test_a_checkpoint_is_read_as_it_was_written(tmp_path: Path) -> None:
    progress = Progress(epoch=2, batch=3, step=13, sums=[1 / 3, 7.0, 5.0], order="abc", history=[{"a": 0.1}])
    model, recipe, rng = {"w": torch.rand(3)}, {"lr": 0.1}, rng_states()
    rest = {"average": {"updates": 3}, "scaler": {"scale": 4.0}, "recipe": recipe, "environment": {"torch": "2"}}
    written = Checkpoint(progress, model, {"state": {}}, **rest, data={}, rng=rng)
    keeper = Checkpointer(tmp_path / "last.ckpt")
    keeper.stage(written)
    assert not (tmp_path / "last.ckpt").exists()  # not before it is committed
    keeper.commit()
    read = read_checkpoint(tmp_path / "last.ckpt")
    assert read.progress == progress
    assert read.model["w"].equal(written.model["w"])
    assert (read.average, read.scaler) == ({"updates": 3}, {"scale": 4.0})
    assert (read.recipe, read.environment, read.data) == ({"lr": 0.1}, {"torch": "2"}, {})
    keeper.commit()  # nothing staged: nothing happens
    progress.step = 14
    keeper.stage(written)
    keeper.discard()
    keeper.commit()
    assert read_checkpoint(tmp_path / "last.ckpt").progress.step == 13
    keeper.stage(written)
    Checkpointer(tmp_path / "last.ckpt").commit()  # a new process does not trust what lies staged
    assert read_checkpoint(tmp_path / "last.ckpt").progress.step == 13


# ---- atomic writes


def fails_half_way(path: Path) -> None:
    path.write_text("half")
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("failing", ["write", "os.fsync", "pathlib.Path.replace"])
def test_a_failed_write_leaves_the_old_file(failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_text(path, "old")
    if failing != "write":

        def refuse(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(failing, refuse)
    with pytest.raises(CheckpointError, match="file cannot be written: No space left on device"):
        write_atomic(path, fails_half_way if failing == "write" else lambda new: new.write_text("new"))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_whole_writes_take_the_place(tmp_path: Path) -> None:
    write_json(tmp_path / "file", {"a": 1})
    write_json(tmp_path / "file", {"a": 2})
    assert (tmp_path / "file").read_text() == '{\n  "a": 2\n}\n'
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("number", range(1, 11))
def test_a_full_disk_keeps_the_last_checkpoint(
    number: int, data: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, flush = [], os.fsync

    def full(file: int) -> None:
        written.append(Path(f"/dev/fd/{file}").resolve().name.removeprefix(".").removesuffix(".new"))
        if len(written) == number:
            raise OSError(28, "No space left on device")
        flush(file)

    folder, recipe = tmp_path / "run", tiny_recipe(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(CheckpointError, match="cannot be written: No space left on device") as caught:
            fit(recipe, folder=folder, quiet=True)
    assert f"{folder / written[-1]} cannot" in str(caught.value)
    assert (f"torchmg train --resume {folder}" in str(caught.value)) == (number > 1)  # 1 is config.json
    assert not list(folder.glob("*.new"))
    if number > 3:
        saved = written[:-1].count(".last.ckpt.staged")
        assert read_checkpoint(folder / "last.ckpt").progress.step in (STEPS * (saved - 1), STEPS * max(saved - 2, 0))
    fit(recipe, folder=folder, quiet=True)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    for name, write in {
        "log.csv": lambda: run.write_log([{"epoch": 1}]),
        "record.json": lambda: run.write_record({"recipe": {}}),
        ".last.ckpt.staged": lambda: Checkpointer(run.checkpoint).stage(
            Checkpoint(Progress(), {}, {}, None, {}, {}, {}, {}, {})
        ),
    }.items():
        (tmp_path / f".{name}.new").symlink_to("/dev/full")
        with pytest.raises(CheckpointError, match=f"{name} cannot be written: .*No space left on device"):
            write()
    assert list(tmp_path.iterdir()) == []


def test_weights_that_outgrow_the_disk(tmp_path: Path) -> None:
    run, (soft, hard) = RunFolder(tmp_path), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # a file of more bytes than this is refused
    try:
        with pytest.raises(CheckpointError, match=r"last\.safetensors cannot be written: .*File too large"):
            run.write_weights(create("resnet20", width=0.25))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_folder(checkpoint: Path, tmp_path: Path) -> None:
    checkpoint.parent.chmod(0o555)
    with pytest.raises(CheckpointError, match=r"cannot be written: Permission denied.*train --resume"):
        fit(tiny_recipe(tmp_path), folder=checkpoint.parent, quiet=True)
    checkpoint.parent.chmod(0o755)


def test_a_folder_that_refuses_new_names(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    keeper, before = Checkpointer(checkpoint), checkpoint.read_bytes()
    keeper.stage(read_checkpoint(checkpoint))
    monkeypatch.setattr(Path, "replace", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    for act in (keeper.commit, keeper.discard, lambda: Checkpointer(checkpoint)):
        with pytest.raises(CheckpointError, match=r"(last|previous)\.ckpt.* cannot be written: Permission denied"):
            act()
    assert checkpoint.read_bytes() == before


# ---- weights


@pytest.mark.parametrize("layout", ["channels_last", "channels_first"])
def test_weights_of_shared_tensors_travel(
    layout: Any, data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torchmg.data.sets.load", lambda *_, **__: data)
    options = ModelOptions(width=0.25, group_size=2, coarsest=4, transfer_weights="transpose")
    recipe = tiny_recipe(tmp_path, model="mgic_resnet20", options=options, layout=layout)
    run = fit(recipe, folder=tmp_path / "run", quiet=True)
    with safe_open(run.folder / "last.safetensors", "pt") as file:
        stored = set(file.keys())
    model = create("mgic_resnet20", in_channels=1, **options.given())
    assert len(stored) < len(model.state_dict())  # a shared tensor is stored once
    RunFolder(run.folder).read_weights(model)
    parts = dict(model.named_modules())
    assert parts["stages.1.1.prolong.0"].rows is parts["stages.1.1.restrict.0"].rows
    assert cli.run(["eval", str(run.folder), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    record = outcome(run.folder)
    for row in rows:
        assert row["accuracy %"] == pytest.approx(record[f"{row['split']}_accuracy"], abs=1e-4)
        assert row["loss (nats)"] == pytest.approx(record[f"{row['split']}_loss"], abs=1e-4)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.unlink(), "no weights yet"),
        (lambda path: path.write_bytes(b""), "damaged"),
        (lambda path: path.write_bytes(path.read_bytes()[:-20]), "damaged"),
        (lambda path: path.write_bytes(b"\xff" * 200), "damaged"),
    ],
    ids=["missing", "empty", "short", "garbage"],
)
def test_damaged_weights(damage: Callable[[Path], object], words: str, checkpoint: Path) -> None:
    damage(checkpoint.with_name("last.safetensors"))
    with pytest.raises(CheckpointError, match=words):
        cli.run(["eval", str(checkpoint.parent)])


def test_weights_of_another_model_do_not_fit(checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match="does not fit"):
        RunFolder(checkpoint.parent).read_weights(create("resnet20", width=0.25))
