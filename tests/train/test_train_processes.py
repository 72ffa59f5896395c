"""Real processes, really killed: SIGKILL at random moments and in the middle of writing, and Ctrl-C."""

import multiprocessing as mp
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest
from training_runs import SMALL_MGIC, assert_same_run, continuation, on_call, outcome, tiny_recipe

from torchmg import cli
from torchmg.train.checkpoint import read_checkpoint
from torchmg.train.recipe import Recipe

FORKS = mp.get_context("forkserver")
FORKS.set_forkserver_preload(["torchmg.train.loop", "lightning.fabric", "sklearn.datasets"])

RECIPE = Recipe(
    model="mgic_resnet20",
    options=SMALL_MGIC,
    epochs=2,
    batch_size=128,
    nesterov=True,
    augment="crop",
    warmup_epochs=0.5,
)
STEPS = 24


def reporting(function: Callable[..., Any], reports: Connection) -> Callable[..., Any]:
    """`function`, but every call is reported."""

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        reports.send("step")
        return result

    return wrapped


def train(folder: Path, reports: Connection) -> None:
    """In a process of its own: train, reporting every step."""
    import torch

    from torchmg.train import loop

    torch.set_num_threads(1)
    loop.order_hash = reporting(loop.order_hash, reports)
    loop.fit(RECIPE, folder=folder, checkpoint_seconds=0, quiet=True)
    reports.send("done")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def write_half_and_die(path: Path, content: memoryview) -> None:
    """A writer of checkpoints that is killed half-way."""
    with path.open("wb") as file:
        file.write(content[: len(content) // 2])
        file.flush()
        die()


def train_and_die(folder: Path, where: str, number: int) -> None:
    """In a process of its own: train until the `number`-th call of something, then die in it."""
    import torch

    from torchmg.train import checkpoint, loop
    from torchmg.train import folder as run_folder

    torch.set_num_threads(1)
    if where == "half a checkpoint":
        write, calls = checkpoint.write_sealed, iter(range(1, 1000))
        checkpoint.write_sealed = lambda *a: write_half_and_die(*a) if next(calls) == number else write(*a)
    elif where == "half the weights":
        run_folder.save_model = lambda _, path, __: (Path(path).write_bytes(b"half"), die())
    else:
        name, _, attribute = where.rpartition(".")
        owner = {"loop": loop, "folder": loop.RunFolder, "checkpointer": checkpoint.Checkpointer}[name]
        setattr(owner, attribute, on_call(getattr(owner, attribute), number, die))
    loop.fit(RECIPE, folder=folder, checkpoint_seconds=0, quiet=True)


def started(function: Callable[..., None], *arguments: Any) -> ForkServerProcess:
    process = FORKS.Process(target=function, args=arguments, daemon=True)
    process.start()
    return process


def finish(folder: Path) -> None:
    """Train to the end."""
    reader, writer = FORKS.Pipe(duplex=False)
    process = started(train, folder, writer)
    writer.close()
    process.join(120)
    assert process.exitcode == 0
    reader.close()


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("killed") / "unbroken"
    reader, writer = FORKS.Pipe(duplex=False)
    process = started(train, folder, writer)
    writer.close()
    assert [reader.recv() for _ in range(STEPS + 1)] == ["step"] * STEPS + ["done"]
    process.join(60)
    assert process.exitcode == 0
    return folder


@pytest.mark.slow
def test_sigkill_at_random_moments(unbroken: Path, tmp_path: Path) -> None:
    folder, chance, reached = tmp_path / "run", random.Random(0), []
    for steps in (3, 6, 2, 5, 4):
        reader, writer = FORKS.Pipe(duplex=False)
        process = started(train, folder, writer)
        writer.close()
        assert [reader.recv() for _ in range(steps)] == ["step"] * steps
        while process.is_alive() and not (folder / "last.ckpt").exists():  # a slow machine writes the first one later
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.06))  # somewhere within a step, or a write
        process.kill()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
        assert not (folder / "record.json").exists()
        reached.append(read_checkpoint(folder / "last.ckpt").progress.step)
    assert reached == sorted(set(reached))  # every attempt went on where the one before was killed
    assert 15 <= reached[-1] < STEPS
    finish(folder)
    assert_same_run(folder, unbroken)


def test_sigkill_while_files_are_written(unbroken: Path, tmp_path: Path) -> None:
    folder, reached = tmp_path / "run", []
    moments = [
        ("half a checkpoint", 1),  # before there is any
        ("half a checkpoint", 4),
        ("folder.write_log", 1),
        ("half the weights", 1),
        ("checkpointer.commit", 8),  # staged, not in place
        ("half a checkpoint", 4),
        ("half a checkpoint", 5),  # after the last epoch
        ("loop.evaluate_batches", 2),  # the final measurement
        ("folder.write_record", 1),
    ]
    for where, number in moments:
        process = started(train_and_die, folder, where, number)
        process.join(120)
        assert process.exitcode == -signal.SIGKILL, where
        assert not (folder / "record.json").exists()
        checkpoint = folder / "last.ckpt"
        reached.append(read_checkpoint(checkpoint).progress.step if checkpoint.exists() else -1)
    assert reached == sorted(reached)
    assert reached[0] == -1
    assert len(set(reached)) >= 5
    finish(folder)
    assert_same_run(folder, unbroken)


# ---- Ctrl-C: exit code, streams, signals


def command(words: list[str], errors: Path, go: Any, at_step: int, pause: float) -> None:
    """In a process of its own: the command line, which reports the `at_step`-th step and then dawdles in it."""
    import torch

    from torchmg.train import loop

    torch.set_num_threads(1)
    hashing, steps = loop.order_hash, iter(range(1, 1000))

    def slow(*args: Any) -> str:
        if next(steps) == at_step:
            go.send("now")
            deadline = time.monotonic() + pause
            while time.monotonic() < deadline:
                time.sleep(0.01)
        return hashing(*args)

    loop.order_hash = slow
    sys.argv = ["torchmg", *words]
    sys.stderr = errors.open("w")
    cli.main()


@pytest.mark.parametrize("presses", [1, 2])
def test_exit_code_and_message_of_a_real_process(presses: int, tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, batch_size=300)
    words = ["train", "digits", "--model", recipe.model, "--epochs", "2", "--batch-size", "300", "--quiet"]
    reader, writer = FORKS.Pipe(duplex=False)
    pause = 0.5 if presses == 1 else 60.0
    arguments = ([*words, "--out", str(tmp_path / "runs")], tmp_path / "errors", writer, 3, pause)
    process = FORKS.Process(target=command, args=arguments, daemon=True)
    process.start()
    writer.close()
    assert reader.recv() == "now"
    assert process.pid is not None
    for _ in range(presses):
        os.kill(process.pid, signal.SIGINT)
        time.sleep(0.2)
    process.join(40)
    assert process.exitcode == 130
    text = (tmp_path / "errors").read_text()
    assert "Traceback" not in text
    if presses == 2:
        assert text == "torchmg: interrupted\n"
        return
    assert text.startswith("torchmg: Stopped at step 3 (epoch 1, batch 3) and saved.")
    assert cli.run([*continuation(text), "--quiet"]) == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert outcome(folder)["steps"] == 10


# ---- the whole command


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_sigkill_of_the_command(tmp_path: Path) -> None:
    chance = random.Random(1)
    words = RECIPE.command().split()[1:]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    whole = [sys.executable, "-m", "torchmg", *words, "--quiet", "--out", str(tmp_path / "whole")]
    subprocess.run(whole, check=True, capture_output=True, env=environment)
    (unbroken,) = (tmp_path / "whole").iterdir()
    first = [sys.executable, "-m", "torchmg", *words, "--checkpoint-seconds", "0", "--out", str(tmp_path / "broken")]
    command, reached = first, []
    while True:
        before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("broken/*/last.ckpt")}
        process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        while process.poll() is None:  # until it trains
            now = {path: path.stat().st_mtime_ns for path in tmp_path.glob("broken/*/last.ckpt")}
            if now != before:
                break
            time.sleep(0.02)
        try:
            process.wait(chance.uniform(0.1, 0.8))
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        (checkpoint,) = tmp_path.glob("broken/*/last.ckpt")
        reached.append(read_checkpoint(checkpoint).progress.step)
        assert len(reached) < 30
        command = [sys.executable, "-m", "torchmg", "train", "--resume", str(checkpoint.parent)]
        command += ["--checkpoint-seconds", "0"]
    assert process.returncode == 0
    assert len(set(reached)) >= 2
    assert reached == sorted(reached)
    (folder,) = (tmp_path / "broken").iterdir()
    assert_same_run(folder, unbroken)
