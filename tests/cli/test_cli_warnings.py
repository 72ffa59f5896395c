"""Every command with Python's warnings as errors, each in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

TRAIN = "digits_mgic_resnet20 --epochs 1 --width 0.25 --batch-size 256"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the commands run; a run lies in it."""
    folder = tmp_path_factory.mktemp("warnings")
    run(folder, "-m", "torchmg", "train", *TRAIN.split(), "--out", "runs")
    return folder


def run(folder: Path, *arguments: str) -> str:
    """Standard output of Python with warnings as errors; the command must succeed and warn of nothing."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONWARNINGS", None)
    command = [sys.executable, "-W", "error", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, timeout=250)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr.lower()
    return done.stdout


def test_importing_everything(folder: Path) -> None:
    code = "import torchmg; [getattr(torchmg, name) for name in torchmg.__all__]; import torchmg.plot, torchmg.doctor"
    assert run(folder, "-c", code) == ""


@pytest.mark.parametrize(
    "words",
    [
        "--help",
        "list",
        "info mgic_resnet20",
        "count mgic_resnet20",
        "eval RUN",
        "eval mgiad20 --weights digits_r1",
        "card RUN",
        "plot curves runs",
        "plot tradeoff runs --x macs",
        "plot hierarchy mgic_resnet20",
        "doctor",
        "compare --epochs 1 --width 0.25 --batch-size 256",
    ],
)
def test_commands(words: str, folder: Path) -> None:
    (made,) = (folder / "runs").glob("*_digits_mgic_resnet20_s0")
    assert run(folder, "-m", "torchmg", *words.replace("RUN", str(made)).split())
