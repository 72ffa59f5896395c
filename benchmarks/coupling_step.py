"""Milliseconds of a training step of the same small network with each channel coupling, side by side in one run.

    uv run python benchmarks/coupling_step.py      writes coupling_step.json beside this file, or in --out

The networks are those of the experiments in results/lowcost. A step is forward and backward of 64 random pictures of
FashionMNIST's shape, one thread; every network takes one in turn, eleven times after two that do not count, and the
median is what is written, with the ratio to the fully coupled ResNet of the same skeleton.
"""

import argparse
import json
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch.nn import functional as F

import torchmg
from torchmg.train.environment import environment

COUPLINGS = "full grouped depthwise pointwise union lean circulant chain block_chain lattice multigrid".split()
OWN: dict[str, dict[str, Any]] = {"lean": {"stencil": "5"}, "block_chain": {"group_size": 4}}
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "resnet": ("parabolic", {"layer": "double"}),
    **{name: ("parabolic", {"coupling": name, **OWN.get(name, {})}) for name in COUPLINGS},
    **{f"drnet_{name}": (f"drnet_{name}", {}) for name in ("full", "union", "pointwise", "circulant")},
}
ROUNDS, BATCH = 11, 64


def main() -> None:
    """Measure, print and record."""
    parser = argparse.ArgumentParser(description="Milliseconds of a training step with each coupling.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder of the record")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    x = torch.randn(BATCH, 1, 28, 28).contiguous(memory_format=torch.channels_last)
    y = torch.randint(0, 10, (BATCH,))
    networks = {
        name: torchmg.create(model, num_classes=10, in_channels=1, width=0.5, steps=2, **options)
        .to(memory_format=torch.channels_last)  # pyright: ignore
        .train()
        for name, (model, options) in NETWORKS.items()
    }
    times: dict[str, list[float]] = {name: [] for name in networks}
    for _ in range(ROUNDS + 2):
        for name, network in networks.items():
            start = time.perf_counter()
            F.cross_entropy(network(x), y).backward()
            times[name].append(1000 * (time.perf_counter() - start))
    medians = {name: median(ms[2:]) for name, ms in times.items()}
    record = {
        "command": "uv run python benchmarks/coupling_step.py",
        "batch": BATCH,
        "rounds": ROUNDS,
        "milliseconds": {name: round(ms, 1) for name, ms in medians.items()},
        "ratio_to_resnet": {name: round(ms / medians["resnet"], 2) for name, ms in medians.items()},
        "seed": 0,
        "environment": environment(torch.device("cpu")),
    }
    for name, ms in medians.items():
        print(f"{name:<18}{ms:>8.1f} ms  {ms / medians['resnet']:>5.2f}")
    (args.out / "coupling_step.json").write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
