"""Images a second of a training step: multigrid networks against their dense twins, each in its better layout.

    uv run python benchmarks/cpu_training.py    writes cpu_training.json beside this file, or in --out

A step is forward, cross-entropy, backward and SGD with momentum, on 64 random pictures of CIFAR's size, in float32.
All networks of a number of threads take turns. `MACs` are those of one forward pass.
"""

from collections.abc import Callable
from itertools import product
from typing import Any

import torch
from torch.nn import functional as F

import torchmg
from torchmg.bench.networks import torch_threads
from torchmg.bench.script import Script, Target, script
from torchmg.bench.timing import interleaved
from torchmg.bench.training import plain_sgd, training_step

BATCH = 64
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "resnet18": ("resnet18_cifar", {}),
    "mgic_resnet18 g16": ("mgic_resnet18_cifar", {"group_size": 16, "coarsest": 16}),
    "mgiad18 (64,8,1)": ("mgiad18", {"group_size": 8, "coarsest": 64}),
    "resnet56": ("resnet56", {}),
    "mgic_resnet56 g8": ("mgic_resnet56", {"group_size": 8, "coarsest": 8}),
}
PAIRS = (
    ("mgic_resnet18 g16", "resnet18", 2.2),
    ("mgic_resnet56 g8", "resnet56", 1.0),
    ("mgiad18 (64,8,1)", "resnet18", 1.6),
)
"""Ours, the dense twin, and how many times as fast ours should train."""
LAYOUTS = {"planes": torch.contiguous_format, "channels_last": torch.channels_last}


def step_of(model: torch.nn.Module, layout: torch.memory_format, batch: int) -> Callable[[], object]:
    """One training step of a network, on pictures that stay the same."""
    model = model.train().to(memory_format=layout)  # pyright: ignore[reportCallIssue]
    x, y = torch.randn(batch, 3, 32, 32).contiguous(memory_format=layout), torch.randint(0, 10, (batch,))
    return training_step(lambda: F.cross_entropy(model(x), y), plain_sgd(model))


def measure(run: Script, threads: int, names: list[str], batch: int) -> list[dict]:
    """A row for each network and layout."""
    built = {name: (NETWORKS[name][0], NETWORKS[name][1]) for name in names}
    with torch_threads(threads):
        steps = {
            f"{name}, {layout}": step_of(torchmg.create(model, num_classes=10, **options), kind, batch)
            for name, (model, options) in built.items()
            for layout, kind in LAYOUTS.items()
        }
        times = interleaved(steps, threads=threads, **run.timing)
    macs = {name: torchmg.count(torchmg.create(model, **options)).macs for name, (model, options) in built.items()}
    rows = []
    for name, layout in product(names, LAYOUTS):
        ms = times[f"{name}, {layout}"].median
        row = {"model": name, "layout": layout, "batch": batch, "threads": threads, "macs": macs[name], "ms": ms}
        rows.append(row | {"images_per_second": 1000 * batch / ms})
    return rows


def speed(rows: list[dict], name: str, threads: int) -> float:
    """Images a second in the better layout."""
    return max(r["images_per_second"] for r in rows if (r["model"], r["threads"]) == (name, threads))


def main() -> None:
    run = script(__file__, __doc__)
    names = ["resnet56", "mgic_resnet56 g8"] if run.quick else list(NETWORKS)
    rows, targets = [], []
    for threads in run.threads:
        rows += measure(run, threads, names, 4 if run.quick else BATCH)
        for ours, dense, wanted in PAIRS:
            if ours in names:
                case = f"training {ours} over {dense}, {threads} thread{'s' * (threads > 1)}"
                targets.append(Target(case, wanted, speed(rows, ours, threads) / speed(rows, dense, threads)))
    run.write(rows, targets)


if __name__ == "__main__":
    main()
