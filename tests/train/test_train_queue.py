"""Whole queues in real processes: interrupted, killed and moved, they end as if nothing had happened."""

import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
from queue_runs import (
    FORKS,
    NET,
    PRELOADED,
    Short,
    assert_same_queue,
    moment,
    press_ctrl_c,
    queued,
    started,
    tiny,
    work,
)
from training_runs import edit_checkpoint

from torchmg.errors import UsageError
from torchmg.train.checkpoint import read_checkpoint
from torchmg.train.queue.report import rows
from torchmg.train.queue.run import Manager
from torchmg.train.queue.state import State

FORKS.set_forkserver_preload(PRELOADED)  # what is imported last decides, if no server is there yet


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)
    return tmp_path


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds, one after the other, never stopped."""
    folder = tmp_path_factory.mktemp("unbroken")
    (folder / "net.py").write_text(NET)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        ending = work(queued(folder / "state", tiny(), tiny(seed=1)))
    assert ending == (False, False)
    return folder / "state"


def steps(root: Path) -> int:
    """How far all runs are, together."""
    return sum(read_checkpoint(path).progress.step for path in root.glob("work/*/last.ckpt"))


def test_finished_runs_leave_records(unbroken: Path) -> None:
    records = [json.loads(path.read_text()) for path in sorted(unbroken.glob("records/*.json"))]
    assert [record["recipe"]["seed"] for record in records] == [0, 1]
    assert all(record["steps"] == 25 and record["environment"]["threads"] == 1 for record in records)
    assert [row.state for row in rows(State(unbroken))] == ["finished"] * 2


@pytest.mark.parametrize("parallel", [1, 2])
def test_interrupted_at_random_it_ends_with_the_same_records(
    parallel: int, unbroken: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = here / "state"
    press_ctrl_c(root, moment(parallel, parallel))
    assert work(queued(root, tiny(), tiny(seed=1)), parallel=parallel) == (True, False)
    reached = [steps(root)]
    monkeypatch.setattr("torchmg.train.queue.run.SHORTEST", 0.0)
    short = Short(State(root), parallel=parallel, threads=1, device="cpu", quiet=True)
    short.training = 0.1 + moment(9, parallel)
    assert short.run() == (False, False)
    reached.append(steps(root))
    assert 0 < reached[0] <= reached[1] < 50
    finish(root, parallel, unbroken)


@pytest.mark.slow
@pytest.mark.parametrize("parallel", [1, 2])
def test_killed_at_random_it_ends_with_the_same_records(parallel: int, unbroken: Path, here: Path) -> None:
    root = queued(here / "state", tiny(), tiny(seed=1)).root
    reached = [0]
    for attempt, number in enumerate((signal.SIGKILL, signal.SIGTERM, signal.SIGKILL)):
        process = started(root, here, parallel)
        time.sleep(moment(3 * parallel + attempt, parallel))
        os.kill(process.pid or 0, number)
        process.join(60)
        assert process.exitcode == (-number if number == signal.SIGKILL else 130)
        time.sleep(0.5)  # its workers die with it
        reached.append(steps(root))
    assert reached == sorted(reached)
    assert 0 < reached[2] <= reached[-1] < 50
    finish(root, parallel, unbroken)


def finish(root: Path, parallel: int, unbroken: Path) -> None:
    """Work to the end, which must be that of the unbroken queue."""
    state = State(root)
    assert work(state, parallel=parallel) == (False, False)
    assert not state.open_jobs()
    assert not [job for job in state.queue.jobs if job.notes or job.failure or job.crashes]
    assert_same_queue(root, unbroken)


def test_moved_to_another_folder_it_continues(unbroken: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = here / "state"
    press_ctrl_c(root, 0.1)
    work(queued(root, tiny(), tiny(seed=1), limit=10_000))
    elsewhere = here / "another" / "machine"
    elsewhere.mkdir(parents=True)
    shutil.copy("net.py", elsewhere)
    shutil.copytree(root / "parts", elsewhere / "on" / "parts")
    reached = steps(root)
    shutil.rmtree(root)
    monkeypatch.chdir(elsewhere)
    said: list[str] = []
    state = State(Path("on"), say=said.append)
    assert 50 > steps(Path("on")) == reached > 0
    assert said == ["restored from on/parts"]
    assert work(state) == (False, False)
    assert_same_queue(elsewhere / "on", unbroken)
    # and back again: what travels of finished runs is everything but the checkpoints
    shutil.copytree(elsewhere / "on" / "parts", root / "parts")
    assert work(State(root)) == (False, False)
    assert_same_queue(root, unbroken)
    assert not list(root.glob("work/*/*.ckpt"))


def test_nothing_in_the_parts_names_the_place(here: Path) -> None:
    (here / "deaths").write_text("2")
    state = queued(here / "state", tiny(epochs=1))
    work(state)
    assert "died 2 times" in str(state.queue.jobs[0].failure)
    work(queued(here / "state", tiny(epochs=1, lr=1e38), tiny(epochs=1)))
    content = b"".join(path.read_bytes() for path in (here / "state" / "parts").iterdir())
    assert b"queue.json" in content
    assert str(here).encode() not in content


def test_a_job_that_fails_does_not_stop_the_others(here: Path) -> None:
    state = queued(here / "state", tiny(lr=1e38), tiny(epochs=1))
    assert work(state) == (False, False)
    failed, finished = rows(state)
    assert (failed.state, finished.state) == ("failed", "finished")
    assert "learning rate" in failed.note
    assert str(here) not in failed.note


@pytest.mark.parametrize(("deaths", "ends"), [(1, "finished"), (2, "failed")])
def test_a_process_that_dies_is_given_one_more_chance(deaths: int, ends: str, here: Path, unbroken: Path) -> None:
    (here / "deaths").write_text(str(deaths))
    state = queued(here / "state", tiny(), tiny(seed=1))
    assert work(state) == (False, False)
    first, second = (State(here / "state").queue.jobs[n] for n in range(2))
    assert first.crashes == deaths
    assert [row.state for row in rows(state) if row.job == first.name] == [ends]
    assert state.finished(second)
    if ends == "finished":
        assert_same_queue(state.root, unbroken)
    else:
        assert first.failure == "its process died 2 times (exit code -9)"


def test_a_run_that_cannot_be_continued_exactly_says_so(here: Path) -> None:
    state = queued(here / "state", tiny(seed=1))
    press_ctrl_c(state.root, 0.1)
    work(state)
    (checkpoint,) = state.work.glob("*/last.ckpt")
    edit_checkpoint(checkpoint, lambda content: content["environment"].update(processor="another"))
    said: list[str] = []
    work(state, say=said.append)
    (row,) = rows(State(state.root))
    assert row.state == "finished"
    assert "is not exact" in row.note
    assert "processor was 'another'" in row.note
    assert any("warning" in line and "not exact" in line for line in said)


def test_runs_keep_the_threads_that_they_began_with(here: Path) -> None:
    state = queued(here / "state", tiny(epochs=1))
    state.queue.jobs[0].threads = 2
    work(state)  # asks for 1
    assert state.record(state.queue.jobs[0])["environment"]["threads"] == 2


def test_the_allowance_holds_even_for_a_step_that_never_ends(here: Path) -> None:
    (here / "net.py").write_text(NET.replace("0.03", "600"))
    state = queued(here / "state", tiny())
    begin = time.monotonic()
    assert work(state, seconds=5.0) == (False, False)
    assert time.monotonic() - begin < 5.0
    assert state.open_jobs()
    assert state.queue.overrun is not None
    assert (state.parts / "index.json").exists()


@pytest.mark.parametrize("seconds", [0.01, 3.0])
def test_an_allowance_too_small_for_anything_says_so(seconds: float, here: Path) -> None:
    state = queued(here / "state", tiny())
    begin = time.monotonic()
    assert work(state, seconds=seconds).idle
    assert time.monotonic() - begin < 3.0
    assert not state.begun(state.queue.jobs[0])


def test_ctrl_c_saves_and_packs(here: Path) -> None:
    state = queued(here / "state", tiny(epochs=40))

    handler = signal.getsignal(signal.SIGINT)
    press_ctrl_c(state.root)
    assert work(state) == (True, False)
    assert signal.getsignal(signal.SIGINT) is handler
    assert steps(state.root) > 0
    assert (state.parts / "index.json").exists()


def test_a_device_that_is_not_there_is_an_error_at_once(here: Path) -> None:
    state = queued(here / "state", tiny())
    with pytest.raises(UsageError, match="There is no device 'cuda:7'"):
        Manager(state, device="cuda:7", quiet=True).run()
    assert state.open_jobs()


def test_auto_measures_once_for_a_kind_of_device(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchmg.train.queue.parallel.SECONDS", 0.4)
    monkeypatch.setattr("torchmg.train.queue.parallel.threads_for", lambda *_: 1)
    monkeypatch.setattr("torchmg.train.queue.run.threads_for", lambda *_: 1)
    state = queued(here / "state", tiny(epochs=1), tiny(epochs=1, seed=1))
    measured: list[object] = []
    monkeypatch.setattr("torchmg.train.queue.run.device_of", lambda environment: measured.append(environment) or "this")
    work(state, parallel="auto")  # pyright: ignore[reportArgumentType]
    known = State(state.root).queue.parallel["this"]
    assert measured
    if len(known["steps_per_second"]) > 1:  # on one thread there is nothing to compare
        # steps that sleep 0.03 s of their time: two at once are faster anywhere
        assert known["chosen"] == 2
        assert known["steps_per_second"]["2"] > 1.05 * known["steps_per_second"]["1"] > 10
    assert [row.state for row in rows(state)] == ["finished"] * 2
