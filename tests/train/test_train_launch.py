"""Several processes: the same run as one process, and what happens when one of them is lost."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from training_runs import SMALL_MGIC, assert_same_run, continuation, log, weights

from torchmg import cli
from torchmg.errors import InterruptedRunError, LostProcessError, UsageError
from torchmg.train.checkpoint import read_checkpoint
from torchmg.train.launch import launch
from torchmg.train.loop import fit
from torchmg.train.recipe import Recipe

NORMLESS = """
from torch import nn

def net(num_classes, in_channels):
    return nn.Sequential(
        nn.Conv2d(in_channels, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes),
    )
"""

MGIC = Recipe(model="mgic_resnet8", options=SMALL_MGIC, epochs=1, batch_size=100, augment="crop", lr=0.05)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def rank() -> int:
    return int(os.environ["LOCAL_RANK"])


def refuse(error: Exception) -> None:
    if rank():
        raise error
    time.sleep(60)


def kill(which: int) -> None:
    if rank() == which:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


@pytest.mark.slow
def test_the_first_process_answers() -> None:
    assert launch(rank, 2) == 0


@pytest.mark.slow
@pytest.mark.parametrize("error", [UsageError("your mistake"), RuntimeError("ours")])
def test_an_error_in_one_process_is_the_error_of_all(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchmg.train.launch.GRACE", 0.1)
    kind = UsageError if isinstance(error, UsageError) else LostProcessError
    with pytest.raises(kind, match=str(error)):
        launch(refuse, 2, error)


@pytest.mark.slow
@pytest.mark.parametrize("which", [0, 1])
def test_a_killed_process_is_named(which: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchmg.train.launch.GRACE", 0.1)
    with pytest.raises(LostProcessError, match=rf"Process {which + 1} of 2 was ended by SIGKILL\."):
        launch(kill, 2, which)


def test_two_processes_train_as_one_with_the_same_batches(tmp_path: Path) -> None:
    """With norms, the parts of a batch see their own statistics, as under accumulation."""
    two = fit(MGIC, folder=tmp_path / "two", devices=2, quiet=True)
    one = fit(replace(MGIC, accumulate=2), folder=tmp_path / "one", quiet=True)
    (row, other) = log(two.folder)[0], log(one.folder)[0]
    assert float(row["train_loss"]) == pytest.approx(float(other["train_loss"]), rel=1e-5)
    assert float(row["train_accuracy"]) == pytest.approx(float(other["train_accuracy"]), abs=0.1)
    learned = weights(one.folder)
    for key, value in weights(two.folder).items():
        if "running" not in key and "batches" not in key:
            torch.testing.assert_close(value, learned[key], rtol=1e-3, atol=1e-4)
    assert two.record["environment"]["processes"] == 2


@pytest.mark.slow
def test_without_norms_everything_is_as_with_one_process(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NORMLESS)
    recipe = Recipe(model=f"{tmp_path / 'net.py'}:net", epochs=2, batch_size=101, augment="crop", lr=0.05)
    two = fit(recipe, folder=tmp_path / "two", devices=2, quiet=True)
    one = fit(recipe, folder=tmp_path / "one", quiet=True)
    for row, other in zip(log(two.folder), log(one.folder), strict=True):
        for key in ("train_loss", "test_loss", "train_accuracy", "test_accuracy"):
            assert float(row[key]) == pytest.approx(float(other[key]), rel=1e-5), key
    for key in ("train_loss", "test_loss", "train_accuracy", "test_accuracy"):
        assert two.record[key] == pytest.approx(one.record[key], rel=1e-5)
    order = [read_checkpoint(run.folder / "last.ckpt").progress.order for run in (one, two)]
    assert order[0] == order[1]


DYING = """
import os
import signal
import sys

from torchmg.train import loop
from torchmg.train.recipe import Recipe, load_recipe

hashing, steps = loop.order_hash, iter(range(1000))

def hash_and_die(*arguments):
    if next(steps) == 4 and os.environ["LOCAL_RANK"] == "1":
        os.kill(os.getpid(), signal.{signal})
    return hashing(*arguments)

if __name__ != "__main__":
    loop.order_hash = hash_and_die

if __name__ == "__main__":
    from torchmg import cli
    sys.argv = ["torchmg", *sys.argv[1:]]
    cli.main()
"""


def interrupted(number: str, tmp_path: Path) -> tuple[int, str]:
    """Exit code and standard error of a training on two processes, the second of which gets a signal at step 5."""
    (tmp_path / "dying.py").write_text(DYING.replace("{signal}", number))
    words = ["train", "digits_mgic_resnet20", "--width", "0.25", "--group-size", "2", "--coarsest", "4"]
    words += ["--epochs", "1", "--batch-size", "100", "--devices", "2", "--checkpoint-seconds", "0"]
    done = subprocess.run(
        [sys.executable, str(tmp_path / "dying.py"), *words, "--out", str(tmp_path / "runs"), "--json"],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "2"},
        timeout=200,
        check=False,
    )
    assert done.stdout == ""
    return done.returncode, done.stderr


@pytest.mark.slow
def test_a_lost_process_ends_the_run_with_a_message_and_a_checkpoint(tmp_path: Path) -> None:
    code, said = interrupted("SIGKILL", tmp_path)
    assert code == 1
    assert "Process 2 of 2 was ended by SIGKILL. The run is saved as it was at step 4." in said
    assert "Traceback" not in said
    words = continuation(said)
    assert words[-2:] == ["--devices", "2"]
    folder = Path(words[words.index("--resume") + 1])
    assert read_checkpoint(folder / "last.ckpt").progress.step == 4
    assert cli.run([*words, "--quiet"]) == 0
    assert json.loads((folder / "record.json").read_text())["steps"] == 15


@pytest.mark.slow
def test_one_process_that_is_asked_to_stop_stops_all(tmp_path: Path) -> None:
    code, said = interrupted("SIGTERM", tmp_path)
    assert code == InterruptedRunError.exit_code
    assert "Stopped at step 5 (epoch 1, batch 5) and saved." in said
    assert continuation(said)[-2:] == ["--devices", "2"]


@pytest.mark.slow
def test_a_continued_run_of_two_processes_is_exact(tmp_path: Path) -> None:
    recipe = replace(MGIC, epochs=2)
    whole = fit(recipe, folder=tmp_path / "whole", devices=2, quiet=True).folder
    with pytest.raises(InterruptedRunError):
        fit(recipe, folder=tmp_path / "broken", devices=2, deadline=time.monotonic(), quiet=True)
    fit(recipe, folder=tmp_path / "broken", devices=2, quiet=True)
    assert_same_run(tmp_path / "broken", whole)


def test_sync_norm_needs_gpus_and_batches_two_samples_each(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="sync_norm works on GPUs only"):
        fit(replace(MGIC, sync_norm=True), folder=tmp_path / "run", devices=2, quiet=True)
    with pytest.raises(UsageError, match="Use batch_size=4 or more"):
        fit(replace(MGIC, batch_size=3), folder=tmp_path / "other", devices=2, quiet=True)
    assert not [*tmp_path.iterdir()]
