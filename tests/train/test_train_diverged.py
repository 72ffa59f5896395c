"""A loss that is no number stops the run, and the checkpoint that is left is from before and sound."""

import re
from pathlib import Path

import pytest
import torch
from training_runs import SMALL_MGIC, STEPS, tiny_recipe

from torchmg.errors import DivergedError
from torchmg.train.checkpoint import finite, read_checkpoint
from torchmg.train.loop import fit

BROKEN_LATER = """
import torch
from torch import nn

class Broken(nn.Module):
    def __init__(self, classes, channels, value, mode):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(256 * channels, classes))
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))
        self.value, self.mode = value, mode

    def forward(self, x):
        if self.training:
            self.calls += 1
        wanted = self.training == (self.mode == "train")
        broken = self.calls == 4 if self.training else self.calls > 6
        return self.body(x) * torch.where(broken, self.value if wanted else 1.0, 1.0)

def nan(num_classes, in_channels):
    return Broken(num_classes, in_channels, float("nan"), "train")

def inf(num_classes, in_channels):
    return Broken(num_classes, in_channels, float("inf"), "train")

def test(num_classes, in_channels):
    return Broken(num_classes, in_channels, float("nan"), "test")
"""

pytestmark = pytest.mark.usefixtures("data")


@pytest.fixture
def broken(tmp_path: Path) -> str:
    (tmp_path / "broken.py").write_text(BROKEN_LATER)
    return str(tmp_path / "broken.py")


def sound(path: Path) -> bool:
    """Whether every number in a checkpoint is finite."""
    checkpoint = read_checkpoint(path)
    state = [value for entry in checkpoint.optimizer["state"].values() for value in entry.values()]
    return all(bool(value.isfinite().all()) for value in [*checkpoint.model.values(), *filter(torch.is_tensor, state)])


@pytest.mark.parametrize(("seconds", "step"), [(0.0, 2), (3600.0, 0)], ids=["every-step", "per-epoch"])
@pytest.mark.parametrize("name", ["nan", "inf"])
def test_a_broken_forward_names_step_rate_and_checkpoint(
    name: str, seconds: float, step: int, broken: str, tmp_path: Path
) -> None:
    recipe = tiny_recipe(
        tmp_path, model=f"{broken}:{name}", lr=0.0625, schedule="step", milestones=(), weight_decay=0.0
    )
    with pytest.raises(DivergedError, match=r"The loss became nan at step 3 \(epoch 1, batch 3\), ") as caught:
        fit(recipe, folder=tmp_path / "run", checkpoint_seconds=seconds, quiet=True)
    checkpoint = tmp_path / "run" / "last.ckpt"
    assert "learning rate 0.0625" in str(caught.value)
    assert str(checkpoint) in str(caught.value)
    assert "lower lr" in str(caught.value)
    assert caught.value.exit_code == 1
    assert read_checkpoint(checkpoint).progress.step == step
    assert sound(checkpoint)
    names = {"config.json", "environment.json", "last.ckpt", *(["previous.ckpt"] if step else [])}
    assert {path.name for path in checkpoint.parent.iterdir()} == names
    with pytest.raises(DivergedError, match="step 3 "):  # continuing meets the same end
        fit(recipe, folder=tmp_path / "run", quiet=True)
    assert sound(checkpoint)


def test_a_test_loss_that_is_no_number(broken: str, tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, model=f"{broken}:test")
    with pytest.raises(DivergedError, match="The test loss became nan at step 10 "):
        fit(recipe, folder=tmp_path / "run", quiet=True)
    assert read_checkpoint(tmp_path / "run" / "last.ckpt").progress.step == STEPS
    assert len((tmp_path / "run" / "log.csv").read_text().splitlines()) == 2  # header and the sound epoch


@pytest.mark.parametrize("seconds", [0.0, 3600.0], ids=["every-step", "per-epoch"])
@pytest.mark.parametrize("lr", [1e6, 1e15, 1e38])
@pytest.mark.parametrize("model", ["tiny", "mgic_resnet20"])
def test_a_rate_that_is_far_too_high(model: str, lr: float, seconds: float, tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, lr=lr, epochs=6)
    if model != "tiny":
        recipe = tiny_recipe(tmp_path, lr=lr, epochs=6, model=model, options=SMALL_MGIC)
    with pytest.raises(DivergedError) as caught:
        fit(recipe, folder=tmp_path / "run", checkpoint_seconds=seconds, quiet=True)
    match = re.search(r"at step (\d+) .*learning rate (\S+)\. ", str(caught.value))
    assert match is not None
    assert float(match[2]) == pytest.approx(lr, rel=0.2)
    saved = read_checkpoint(tmp_path / "run" / "last.ckpt").progress.step
    assert saved < int(match[1])
    assert sound(tmp_path / "run" / "last.ckpt")


def test_what_counts_as_finite() -> None:
    norm = torch.nn.BatchNorm2d(2)
    assert finite(norm)
    norm.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
    assert finite(norm)
    norm.running_var[1] = torch.inf  # pyright: ignore
    assert not finite(norm)
    norm.running_var[1] = 1.0  # pyright: ignore
    norm.weight.data[0] = torch.nan
    assert not finite(norm)
