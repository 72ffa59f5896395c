"""Images a second of training with and without the fast path, side by side in one run.

    uv run python benchmarks/train_step.py         writes train_step.json beside this file, or in --out

On a GPU the plain loop launches kernel by kernel and looks at the loss after every step; the fast path is what `fit`
does. On a CPU both are the same loop, so there is nothing to compare and nothing is written. The images are random, of
CIFAR-10's shape and number. Each model trains three epochs in both ways in turn, three times; the last epoch counts,
and of the three times the median.
"""

import argparse
import csv
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import median
from unittest.mock import patch

import torch

from torchmg.data.images import ImageSet, ImageSplit
from torchmg.train import loop
from torchmg.train.recipe import Recipe, recipe

MODELS = ("resnet20", "mgic_resnet20", "resnet56", "mgic_resnet56")
ROUNDS, EPOCHS, IMAGES = 3, 3, 50_000


def random_set() -> ImageSet:
    """Random pictures with random labels."""

    def split(size: int) -> ImageSplit:
        images = torch.randint(0, 256, (size, 3, 32, 32), dtype=torch.uint8)
        return ImageSplit(images, torch.randint(0, 10, (size,)))

    return ImageSet("cifar10", tuple("0123456789"), split(IMAGES), split(500))


def images_per_second(wanted: Recipe, data: ImageSet) -> tuple[float, dict[str, object]]:
    """Train, and take the last epoch's speed and the environment from what the run left."""
    with tempfile.TemporaryDirectory() as out, patch.object(loop, "load", lambda *_: data):
        run = loop.fit(wanted, out, device="cuda", checkpoint_seconds=1e9, quiet=True)
        rows = list(csv.DictReader((run.folder / "log.csv").open()))
    return IMAGES / (float(rows[-1]["seconds"]) - float(rows[-2]["seconds"])), run.record["environment"]


def main() -> None:
    """Measure, print and record."""
    parser = argparse.ArgumentParser(description="Images a second with and without the fast path.")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="bf16")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder of the record")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        print("There is no GPU here: on a CPU the fast path is the plain loop.")
        return
    data, environment, speeds = random_set(), {}, {}
    for model in MODELS:
        wanted = replace(recipe(f"cifar10_{model}"), epochs=EPOCHS, precision=args.precision)
        times: dict[str, list[float]] = {"plain": [], "fast": []}
        for _ in range(ROUNDS):
            with patch.dict(loop.LOOK_EVERY, cuda=1), patch("torchmg.train.step.Captured", lambda step: step):
                times["plain"].append(images_per_second(wanted, data)[0])
            speed, environment = images_per_second(wanted, data)
            times["fast"].append(speed)
        speeds[model] = {name: round(median(values)) for name, values in times.items()}
        speeds[model]["ratio"] = round(speeds[model]["fast"] / speeds[model]["plain"], 2)
        print(f"{model:<16}plain {speeds[model]['plain']:>8,}  fast {speeds[model]['fast']:>8,} images/s")
    record = {
        "command": f"uv run python benchmarks/train_step.py --precision {args.precision}",
        "images_per_second": speeds,
        "rounds": ROUNDS,
        "environment": environment,
    }
    (args.out / "train_step.json").write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
