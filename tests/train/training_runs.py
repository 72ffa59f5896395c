"""What the tests of training share: a small data set, a tiny model of a user, and ways to stop a run where it hurts."""

import csv
import io
import json
import shlex
from collections.abc import Callable
from pathlib import Path
from pydoc import locate
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from torchmg.data.images import ImageSet, ImageSplit
from torchmg.models.options import ModelOptions
from torchmg.train.recipe import Recipe
from torchmg.train.seal import write_sealed

TINY = """
from torch import nn

def tiny(num_classes, in_channels):
    return nn.Sequential(
        nn.Conv2d(in_channels, 8, 3, stride=2, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes),
    )
"""
"""A user's model that also draws random numbers while it trains."""

SMALL_MGIC = ModelOptions(width=0.25, group_size=2, coarsest=4)
"""Widths 4, 8, 16, so that two stages of three have a hierarchy."""

STEPS = 5
"""Steps in an epoch of the small set with batches of 40."""


class Stop(BaseException):
    """Raised by tests in the middle of a run; nothing in torchmg may catch it."""


def small_set(train: int = 200, test: int = 90) -> ImageSet:
    """Noise whose brightness tells the class."""
    generator = torch.Generator().manual_seed(1)

    def split(size: int) -> ImageSplit:
        labels = torch.arange(size) % 10
        noise = torch.randint(0, 60, (size, 1, 16, 16), generator=generator)
        return ImageSplit((noise + 20 * labels[:, None, None, None]).to(torch.uint8), labels)

    return ImageSet("digits", tuple("0123456789"), split(train), split(test))


def tiny_recipe(folder: Path, **changes: Any) -> Recipe:
    """Two epochs of five steps of the tiny model, whose file is written into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "net.py").write_text(TINY)
    return Recipe(**{"model": f"{folder / 'net.py'}:tiny", "epochs": 2, "batch_size": 40, **changes})


def weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "last.safetensors")


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether the same tensors have the same bits."""
    return one.keys() == other.keys() and all(
        one[key].dtype == other[key].dtype
        and one[key].flatten().view(torch.uint8).equal(other[key].flatten().view(torch.uint8))
        for key in one
    )


def log(folder: Path) -> list[dict[str, str]]:
    """The rows of `log.csv` but for the seconds, which no two runs share."""
    with (folder / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        assert float(row.pop("seconds")) >= 0
    return rows


def outcome(folder: Path) -> dict[str, Any]:
    """The record but for the seconds, and the digest that covers them."""
    record = json.loads((folder / "record.json").read_text())
    del record["seconds"], record["sha256"]
    return record


def assert_same_run(one: Path, other: Path) -> None:
    """Weights bit for bit, log and record but for seconds; and nothing half-written lies about."""
    assert equal(weights(one), weights(other))
    assert log(one) == log(other)
    assert outcome(one) == outcome(other)
    assert {path.name for path in one.iterdir()} == {path.name for path in other.iterdir()}


def on_call(function: Callable[..., Any], number: int, action: Callable[[], object]) -> Callable[..., Any]:
    """`function`, but its `number`-th call (from 1) does `action` first."""
    calls = 0

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number:
            action()
        return function(*args, **kwargs)

    return wrapped


def stop() -> None:
    raise Stop


def stop_at(patch: pytest.MonkeyPatch, place: str, number: int, action: Callable[[], object] = stop) -> None:
    """Let the `number`-th call of what stands at a dotted place do `action` first."""
    function = locate(place)
    assert callable(function), place
    patch.setattr(place, on_call(function, number, action))


def edit_checkpoint(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Rewrite a checkpoint after `change` has altered its contents in place."""
    content = torch.load(path, weights_only=True)
    change(content)
    save_sealed(content, path)


def save_sealed(content: Any, path: Path) -> None:
    """Save with the digest that a forger, too, can put behind it."""
    packed = io.BytesIO()
    torch.save(content, packed)
    write_sealed(path, packed.getbuffer())


def continuation(message: str) -> list[str]:
    """The words of the command that a message says to continue with."""
    program, *words = shlex.split(message.partition("Continue: ")[2])
    assert program == "torchmg"
    return words
