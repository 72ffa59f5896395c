"""Fifty processes killed at random moments of runs that use everything, alone and as one of two that share batches."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from training_runs import SMALL_MGIC, assert_same_run

from torchmg.train.checkpoint import read_checkpoint
from torchmg.train.recipe import Recipe

RECIPE = Recipe(
    model="mgic_resnet20",
    options=SMALL_MGIC,
    epochs=16,
    batch_size=128,
    accumulate=2,
    ema=0.95,
    clip=5.0,
    warmup_epochs=1.5,
    nesterov=True,
    label_smoothing=0.1,
    augment="autoaugment",
)
STEPS = 16 * 12

TRAINING = """
import json
import os
import sys
import time

import torch

from torchmg.train import loop
from torchmg.train.recipe import Recipe

hashing = loop.order_hash

def reporting(*arguments):
    os.write(1, b"step\\n")  # in one piece: two processes write
    time.sleep(0.02)
    return hashing(*arguments)

loop.order_hash = reporting

if __name__ == "__main__":
    folder, devices, recipe = sys.argv[1:]
    torch.set_num_threads(int(devices))  # one for each process
    recipe = Recipe.from_json(json.loads(recipe))
    loop.fit(recipe, folder=folder, devices=int(devices), checkpoint_seconds=0, quiet=True)
"""


def started(folder: Path, devices: int) -> "subprocess.Popen[str]":
    """Train in a process of its own, and its children, in a group that can be killed whole."""

    script = folder.parent / "training.py"
    script.write_text(TRAINING)
    words = [sys.executable, str(script), str(folder), str(devices), json.dumps(RECIPE.to_json())]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True)


def kill_once(folder: Path, devices: int, chance: random.Random) -> None:
    """Start or continue the run, and kill it some steps later, somewhere within a step or a write."""
    process = started(folder, devices)
    assert process.stdout is not None
    for _ in range(devices * chance.randint(1, 3)):
        assert process.stdout.readline() == "step\n"
    time.sleep(chance.uniform(0, 0.06))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize(("devices", "kills"), [(1, 35), (2, 15)])
def test_killed_again_and_again_a_run_ends_as_if_never_killed(devices: int, kills: int, tmp_path: Path) -> None:
    whole = started(tmp_path / "whole", devices)
    whole.communicate()
    assert whole.returncode == 0
    folder, chance, reached = tmp_path / "killed", random.Random(devices), []
    for _ in range(kills):
        kill_once(folder, devices, chance)
        last = [path for path in (folder / "last.ckpt", folder / "previous.ckpt") if path.exists()]
        reached.append(read_checkpoint(last[0]).progress.step if last else 0)
    assert reached == sorted(reached)
    assert 5 < reached[-1] < STEPS
    rest = started(folder, devices)
    rest.communicate()
    assert rest.returncode == 0
    assert_same_run(folder, tmp_path / "whole")
