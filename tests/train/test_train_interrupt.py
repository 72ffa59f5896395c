"""Ctrl-C: the run is saved, the message names the command that continues it, and that command does."""

import os
import shlex
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from training_runs import STEPS, assert_same_run, continuation, stop_at, tiny_recipe

from torchmg import cli, comparison
from torchmg.errors import DivergedError, InterruptedRunError
from torchmg.train.checkpoint import read_checkpoint
from torchmg.train.interrupt import InterruptRequest
from torchmg.train.loop import fit

LOOP = "torchmg.train.loop"


def press(number: int = signal.SIGINT) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("place", "call", "said", "saved"),
    [
        ("learning_rate", 2, "step 1 (epoch 1, batch 1)", 1),
        ("order_hash", 3, "step 3 (epoch 1, batch 3)", 3),
        ("order_hash", STEPS, "step 5 (epoch 2, batch 0)", STEPS),  # the evaluation comes first
        ("evaluate_batches", 1, "step 5 (epoch 2, batch 0)", STEPS),
        ("order_hash", 2 * STEPS, "step 10 (after the last epoch)", 2 * STEPS),
        ("evaluate_batches", 3, "step 10 (after the last epoch)", 2 * STEPS),
    ],
)
def test_the_named_command_continues_exactly(
    place: str,
    call: int,
    said: str,
    saved: int,
    number: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe = tiny_recipe(tmp_path / "with a space")
    whole = fit(recipe, folder=tmp_path / "whole", quiet=True).folder
    folder = tmp_path / "with a space" / "run"
    with monkeypatch.context() as patch:
        stop_at(patch, f"{LOOP}.{place}", call, press(number))
        with pytest.raises(InterruptedRunError) as caught:
            fit(recipe, folder=folder, data_dir=tmp_path / "my data", device="cpu", quiet=True)
    assert caught.value.exit_code == 130
    assert f"Stopped at {said} and saved." in str(caught.value)
    assert read_checkpoint(folder / "last.ckpt").progress.step == saved
    words = continuation(str(caught.value))
    assert words[words.index("--data-dir") + 1] == str(tmp_path / "my data")
    assert words[words.index("--device") + 1] == "cpu"
    assert cli.run([*words, "--quiet"]) == 0
    assert str(folder) in capsys.readouterr().out
    assert_same_run(folder, whole)


@pytest.mark.usefixtures("data")
def test_a_deadline_stops_like_ctrl_c(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tiny_recipe(tmp_path)
    whole = fit(recipe, folder=tmp_path / "whole", quiet=True).folder
    folder = tmp_path / "run"
    with pytest.raises(InterruptedRunError, match="Stopped at step 0 "):
        fit(recipe, folder=folder, deadline=time.monotonic(), quiet=True)
    with monkeypatch.context() as patch:
        stop_at(patch, f"{LOOP}.order_hash", STEPS + 2, lambda: time.sleep(0.5))
        with pytest.raises(InterruptedRunError, match="Continue: torchmg train --resume"):
            fit(recipe, folder=folder, deadline=time.monotonic() + 0.4, quiet=True)
    assert 0 < read_checkpoint(folder / "last.ckpt").progress.step < 2 * STEPS
    fit(recipe, folder=folder, deadline=time.monotonic() + 3600, quiet=True)
    assert_same_run(folder, whole)


@pytest.mark.usefixtures("data")
def test_a_second_ctrl_c_interrupts_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("the second one did nothing")

    stop_at(monkeypatch, f"{LOOP}.order_hash", 3, twice)
    with pytest.raises(KeyboardInterrupt):
        fit(tiny_recipe(tmp_path), folder=tmp_path / "run", checkpoint_seconds=0, quiet=True)
    assert read_checkpoint(tmp_path / "run" / "last.ckpt").progress.step == 2


@pytest.mark.usefixtures("data")
def test_handlers_are_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    stop_at(monkeypatch, f"{LOOP}.order_hash", 3, press())
    with pytest.raises(InterruptedRunError):
        fit(tiny_recipe(tmp_path), folder=tmp_path / "run", quiet=True)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_outside_the_main_thread_signals_are_left_alone() -> None:
    seen: list[Any] = []

    def work() -> None:
        with InterruptRequest():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGINT)]


@pytest.mark.usefixtures("data")
def test_weights_that_are_not_finite_are_not_saved_on_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_at(monkeypatch, f"{LOOP}.order_hash", 1, press())
    with pytest.raises(DivergedError, match=r"stopped being finite|loss became"):
        fit(tiny_recipe(tmp_path, lr=1e38), folder=tmp_path / "run", quiet=True)
    assert read_checkpoint(tmp_path / "run" / "last.ckpt").progress.step == 0


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize("call", [2, STEPS + 3])  # in the first model, in the second
def test_an_interrupted_comparison_continues_in_its_folder(
    call: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = "compare resnet20 mgic_resnet20 --width 0.25 --batch-size 40 --epochs 1 --quiet".split()
    whole = comparison.compare(*_compared(words), out=tmp_path / "whole", quiet=True)
    with monkeypatch.context() as patch:
        stop_at(patch, f"{LOOP}.order_hash", call, press())
        with pytest.raises(InterruptedRunError) as caught:
            cli.run(words)
    message = str(caught.value)
    assert "the same command with --out" in message
    out = shlex.split(message.partition("with ")[2])
    assert out[0] == "--out"
    assert Path(out[1]).is_dir()
    assert not (Path(out[1]) / "tradeoff.csv").exists()
    assert cli.run([*words, *out]) == 0
    assert out[1] in capsys.readouterr().out
    for name in ("resnet20_s0", "mgic_resnet20_s0"):
        assert_same_run(Path(out[1]) / name, whole.folder / name)


def _compared(words: list[str]) -> tuple[Any, ...]:
    from torchmg.models.options import ModelOptions
    from torchmg.train.recipe import recipe

    return words[1:3], recipe("digits", batch_size=40, epochs=1, options=ModelOptions(width=0.25))


@pytest.mark.usefixtures("data")
def test_ctrl_c_before_a_run_has_begun_still_names_the_comparison(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"{LOOP}.engine", interrupt)
    with pytest.raises(InterruptedRunError, match="--out"):
        comparison.compare(["resnet20"], out=tmp_path / "out", quiet=True)
