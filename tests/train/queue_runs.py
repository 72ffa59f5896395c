"""What the tests of the queue share: a small network on the digits whose steps take a while, and whole queues."""

import json
import multiprocessing as mp
import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

from training_runs import equal, log, weights

from torchmg.train.queue.allowance import Allowance
from torchmg.train.queue.run import Ending, Manager
from torchmg.train.queue.state import State
from torchmg.train.recipe import Recipe

FORKS = mp.get_context("forkserver")
PRELOADED = ["torchmg.train.queue.preload", "sklearn.datasets"]
FORKS.set_forkserver_preload(PRELOADED)

NET = """
import os, signal, time
from pathlib import Path
from torch import nn

class Slow(nn.Module):
    def forward(self, x):
        if self.training:
            time.sleep(0.03)
            if (deaths := Path("deaths")).exists() and (left := int(deaths.read_text())):
                deaths.write_text(str(left - 1))
                os.kill(os.getpid(), signal.SIGKILL)
        return x

def tiny(num_classes, in_channels):
    return nn.Sequential(
        Slow(), nn.Conv2d(in_channels, 8, 3, stride=2, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes),
    )
"""
"""Twenty-five steps of 0.03 s in the recipe below; a file `deaths` says how often to die in a step."""


def tiny(**changes: Any) -> Recipe:
    """Five epochs of five steps on the digits; `net.py` is in the current folder."""
    return Recipe(**{"model": "net.py:tiny", "epochs": 5, "batch_size": 300, **changes})


def queued(root: Path, *recipes: Recipe, limit: int = 15 * 2**20) -> State:
    """The state at `root` with these recipes in it."""
    state = State(root, limit)
    for recipe in recipes:
        state.queue.add_recipe(recipe)
    state.save()
    return state


def work(state: State, *, parallel: int = 1, **more: Any) -> Ending:
    """A call of the queue."""
    return Manager(state, parallel=parallel, threads=1, device="cpu", quiet=True, **more).run()


class Short(Manager):
    """A queue whose runs are asked to stop `training` seconds after the first could begin."""

    training = 0.0

    def _train(self, number: int) -> None:
        self.time = Allowance(end=time.monotonic() + self.training + 4, saving=1, stopping=3)
        super()._train(number)


def in_a_process(root: Path, folder: Path, parallel: int) -> None:
    """As a process of its own, to be killed: work through the state."""
    os.chdir(folder)
    raise SystemExit(130 if work(State(root), parallel=parallel).interrupted else 0)


def started(root: Path, folder: Path, parallel: int = 1) -> mp.context.ForkServerProcess:
    """`in_a_process`, as soon as something trains."""
    process = FORKS.Process(target=in_a_process, args=(root, folder, parallel))
    process.start()
    wait_for_step(root)
    return process


def press_ctrl_c(root: Path, seconds: float = 0.0) -> None:
    """Interrupt this process so many seconds after something has begun to train."""

    def press() -> None:
        wait_for_step(root)
        time.sleep(seconds)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press).start()


def wait_for_step(root: Path) -> None:
    """Until a checkpoint is written."""
    before = {path: path.stat().st_mtime_ns for path in root.glob("work/*/last.ckpt")}
    end = time.monotonic() + 60
    while {path: path.stat().st_mtime_ns for path in root.glob("work/*/last.ckpt")} == before:
        assert time.monotonic() < end
        time.sleep(0.01)


def moment(seed: int, parallel: int) -> float:
    """Seconds, at random, well within two runs of about 0.9 s each, one after the other or at once."""
    return random.Random(seed).uniform(0.05, 0.4) / parallel


def record(path: Path) -> dict[str, Any]:
    """A record but for the seconds, which no two runs share, and the digest, which covers them."""
    content = json.loads(path.read_text())
    assert content.pop("seconds") > 0
    assert len(content.pop("sha256")) == 64
    return content


def assert_same_queue(one: Path, other: Path) -> None:
    """The same records; and logs and weights behind them, bit for bit."""
    names = sorted(path.name for path in one.glob("records/*.json"))
    assert names
    assert names == sorted(path.name for path in other.glob("records/*.json"))
    for name in names:
        assert record(one / "records" / name) == record(other / "records" / name)
        runs = [root / "work" / name.removesuffix(".json") for root in (one, other)]
        assert log(runs[0]) == log(runs[1])
        assert equal(weights(runs[0]), weights(runs[1]))
