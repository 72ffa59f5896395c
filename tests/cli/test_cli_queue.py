"""`torchmg queue`: what it adds, prints, refuses, and its exit codes."""

import json
import shlex
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from torchmg import cli
from torchmg.errors import CheckpointError, UnknownNameError, UsageError
from torchmg.train.queue.crew import CONTEXT
from torchmg.train.queue.jobs import Queue
from torchmg.train.queue.state import State, locked

CONTEXT.set_forkserver_preload(["torchmg.train.queue.preload", "sklearn.datasets"])

NET = """
import time
from torch import nn

def net(num_classes, in_channels):
    return nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * in_channels, num_classes))

class Wait(nn.Module):
    def forward(self, x):
        time.sleep(1 if self.training else 0)
        return x

def slow(num_classes, in_channels):
    return nn.Sequential(Wait(), net(num_classes, in_channels))
"""
LISTING = """
import json, sys
from pathlib import Path

names = sorted(path.name for path in Path("state/work").iterdir())
(Path(sys.argv[2]) / "x.json").write_text(json.dumps(names))
"""
"""A script that records what is in the state."""

QUICK = "--model net.py:net --epochs 1 --batch-size 500 --device cpu --quiet"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)


def run(text: str) -> int:
    return cli.run(["queue", *shlex.split(text)])


def added(text: str, monkeypatch: pytest.MonkeyPatch) -> Queue:
    """The queue that a command would work through."""
    seen: list[State] = []

    class Reached(Exception):  # noqa: N818
        pass

    def reached(state: State, **_: Any) -> None:
        seen.append(state)
        state.save()
        raise Reached

    monkeypatch.setattr("torchmg.cli.queue.Manager", reached)
    with pytest.raises(Reached):
        run(text)
    return seen[0].queue


def test_every_recipe_keeps_its_own_settings_under_the_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    words = "state digits_resnet20 cifar10_mgic_resnet20 --seeds 0 2 --lr 0.05"
    for _ in range(2):  # the second time they are there
        queue = added(words, monkeypatch)
        recipes = [job.recipe for job in queue.jobs if job.recipe]
        found = [(r.data, r.model, r.seed, r.epochs, r.batch_size, r.lr) for r in recipes]
        assert found == [
            ("digits", "resnet20", 0, 20, 32, 0.05),
            ("digits", "resnet20", 2, 20, 32, 0.05),
            ("cifar10", "mgic_resnet20", 0, 200, 128, 0.05),
            ("cifar10", "mgic_resnet20", 2, 200, 128, 0.05),
        ]
    assert len(added("state digits_resnet20", monkeypatch).jobs) == 5  # without the flag it is another
    assert len(added("state", monkeypatch).jobs) == 5


def test_from_nothing_to_records(capsys: pytest.CaptureFixture[str]) -> None:
    Path("time.py").write_text(LISTING)
    assert run(f"state digits --seeds 0 1 --scripts time.py {QUICK}") == 0
    out, err = capsys.readouterr()
    assert out.endswith("3 of 3 finished\n")
    assert err == ""
    records = {path.stem.partition("-")[0]: json.loads(path.read_text()) for path in Path("state/records").iterdir()}
    assert sorted(records) == ["digits_net_s0", "digits_net_s1", "time"]
    assert records["digits_net_s1"]["test_accuracy"] > 0
    assert records["time"]["results"]["x"] == ["queue.json", "time"]  # before any run has begun
    assert records["time"]["environment"]["device"] == "cpu"
    assert run("state --show --json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["finished"], shown["left"], shown["jobs"]) == (3, 0, 3)
    assert [row["state"] for row in shown["rows"]] == ["finished"] * 3
    assert run("state --csv table.csv") == 0  # nothing to do
    assert Path("table.csv").read_text().splitlines()[0] == "job,options,state,epoch,epochs,score,seconds,left,note"


def test_failures_are_exit_code_1_and_can_be_tried_again(capsys: pytest.CaptureFixture[str]) -> None:
    Path("fails.py").write_text("raise SystemExit('no clock')")
    assert run(f"state digits --scripts fails.py {QUICK}") == 1
    out = capsys.readouterr().out
    assert "failed" in out
    assert "exit code 1: no clock" in out
    assert out.endswith("1 of 2 finished\n")
    assert run("state --quiet") == 1
    Path("fails.py").write_text("")
    assert run("state --quiet --retry") == 0


def test_an_allowance_ends_as_planned_and_names_what_continues(capsys: pytest.CaptureFixture[str]) -> None:
    begin = time.monotonic()
    assert run("state digits --model net.py:slow --epochs 500 --batch-size 800 --seconds 6 --device cpu --quiet") == 0
    assert time.monotonic() - begin < 6
    out = capsys.readouterr().out
    assert out.endswith("0 of 1 finished; continue: torchmg queue state --seconds 6 --device cpu\n")
    assert "running at epoch" in out
    shutil.copytree("state/parts", "moved/parts")
    assert run("moved --show") == 0
    assert "running at epoch" in capsys.readouterr().out


def test_a_script_that_had_the_whole_allowance_has_failed(capsys: pytest.CaptureFixture[str]) -> None:
    Path("one.py").write_text("import time; time.sleep(100)")
    shutil.copy("one.py", "two.py")
    begin = time.monotonic()
    assert run("state --scripts one.py two.py --seconds 5 --device cpu --quiet") == 1
    assert time.monotonic() - begin < 5
    queue = State(Path("state")).queue
    assert "it had the whole allowance" in str(queue.jobs[0].failure)
    assert queue.jobs[1].failure is None


def test_an_allowance_too_small(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(f"state digits {QUICK} --seconds 1") == 1
    assert "The allowance of 1 s was over before a job could begin. Allow more seconds." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "kind", "message"),
    [
        ("state", UsageError, "There is no queue in state yet"),
        ("state --show", UsageError, "There is no queue in state yet"),
        ("state digts", UnknownNameError, "Did you mean digits"),
        ("state --seeds 1 2", UsageError, "for recipes that are added"),
        ("state --epochs 3", UsageError, "for recipes that are added"),
        ("state digits --parallel 0", UsageError, "parallel must be a whole number, at least 1, or auto; got 0"),
        ("state digits --parallel two", UsageError, "or auto; got two"),
        ("state digits --seconds 0", UsageError, "seconds must be above 0"),
        ("state digits --seconds nan", UsageError, "seconds must be above 0"),
        ("state digits --threads -1", UsageError, "threads must be above 0"),
        ("state digits --device cuda:9", UsageError, "There is no device 'cuda:9'"),
        ("state --scripts none.py", UsageError, r"no Python file none\.py"),
        ("net.py digits", CheckpointError, "cannot be used"),
    ],
)
def test_what_is_refused(words: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        run(words)
    assert "cuda" in words or not Path("state").exists()  # devices are found out about later


def test_one_queue_at_a_time(capsys: pytest.CaptureFixture[str]) -> None:
    with locked(Path("state")), pytest.raises(CheckpointError, match="Look: torchmg queue state --show"):
        run(f"state digits {QUICK}")
