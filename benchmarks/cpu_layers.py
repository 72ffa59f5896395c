"""Single grouped convolutions, 3x3 and 1x1: torchmg's lowerings against the better of PyTorch's two layouts.

    uv run python benchmarks/cpu_layers.py      writes cpu_layers.json beside this file, or in --out

Forward passes in float32. `eager` is the faster of planes and channels last, and so is ours. `copy` copies the layer's
input, as a layer that reads and writes once and computes nothing would. `matmul` is what a 1x1 becomes without a C++
compiler.
"""

from collections.abc import Callable
from itertools import product

import torch
from torch.nn import functional as F

from torchmg.bench.networks import torch_threads
from torchmg.bench.script import Script, Target, script
from torchmg.bench.timing import interleaved
from torchmg.kernels.lowerings import forward
from torchmg.kernels.op import grouped_conv
from torchmg.kernels.shape import Shape

MAPS = ((256, 28), (512, 14))
GROUP_SIZES = (4, 8, 16, 32, 64)
TIMING = {"rounds": 25, "turn": 0.04}
"""Many short turns: within a second a busy machine can change its speed by half, and each candidate is to see both."""


def calls(shape: Shape) -> dict[str, Callable[[], object]]:
    """Every way of computing one layer."""
    x, weight = torch.randn(shape.inputs), torch.randn(shape.weights) / 10
    x_last, weight_last = (t.contiguous(memory_format=torch.channels_last) for t in (x, weight))
    target, pad = torch.empty_like(x), (shape.pad_h, shape.pad_w)
    found: dict[str, Callable[[], object]] = {
        "planes": lambda: F.conv2d(x, weight, padding=pad, groups=shape.groups),
        "channels_last": lambda: F.conv2d(x_last, weight_last, padding=pad, groups=shape.groups),
        "torchmg": lambda: grouped_conv(x, weight, padding=pad, groups=shape.groups),
        "torchmg_last": lambda: grouped_conv(x_last, weight_last, padding=pad, groups=shape.groups),
        "copy": lambda: target.copy_(x),
    }
    if shape.pointwise:
        found["matmul"] = lambda: forward("matmul", shape, x, weight, None)
    return found


def measure(kernel: int, width: int, side: int, group: int, batch: int, threads: int, run: Script) -> dict:
    """One layer's times."""
    pad = kernel // 2
    shape = Shape(batch, width, width, width // group, side, side, kernel, kernel, 1, pad, pad)
    timing = run.timing if run.quick else TIMING
    with torch_threads(threads), torch.inference_mode():
        ms = {name: time.median for name, time in interleaved(calls(shape), threads=threads, **timing).items()}
    eager, ours = min(ms["planes"], ms["channels_last"]), min(ms["torchmg"], ms["torchmg_last"])
    row = {"kernel": kernel, "channels": width, "size": side, "group_size": group, "batch": batch, "threads": threads}
    row |= {"ms": ms, "speed_up": eager / ours, "over_copy": ours / ms["copy"]}
    row |= {
        "gflops": 2e-6 * shape.macs / ours,
        "eager_gflops": 2e-6 * shape.macs / eager,
        "gbytes": 8e-6 * x_elements(shape) / ours,
    }
    return row | ({"matmul_speed_up": eager / ms["matmul"]} if "matmul" in ms else {})


def x_elements(shape: Shape) -> int:
    """Values that are read; as many are written."""
    return shape.images * shape.in_channels * shape.height * shape.width


def targets(rows: list[dict]) -> list[Target]:
    """What should hold of the rows, each as the worst of those that it speaks of."""
    found = []

    def worst(case: str, target: float, key: str, chosen: list[dict], *, at_least: bool = True) -> None:
        values = [row[key] for row in chosen]
        if values:
            found.append(Target(case, target, min(values) if at_least else max(values), at_least))

    for group, target in ((4, 3.3), (8, 2.7), (16, 1.4)):
        chosen = [row for row in rows if row["kernel"] == 3 and row["group_size"] == group]
        worst(f"3x3, group {group}, over best eager", target, "speed_up", chosen)
    wide = [row for row in rows if row["group_size"] >= 32]
    worst("3x3 and 1x1, group >= 32, over best eager", 0.97, "speed_up", wide)
    narrow = [row for row in rows if row["kernel"] == 1 and row["group_size"] <= 16]
    one = [row for row in narrow if (row["batch"], row["threads"]) == (1, 1)]
    worst("1x1, group <= 16, one image, one thread, over best eager", 8, "speed_up", one)
    many = [row for row in narrow if row["batch"] > 1]
    worst("1x1, group <= 16, 32 images, over a copy's time", 1.25, "over_copy", many, at_least=False)
    worst("1x1, group <= 16, one image, one thread, without a compiler", 3, "matmul_speed_up", one)
    return found


def main() -> None:
    run = script(__file__, __doc__)
    maps, groups, batches = (MAPS[1:], (4, 32), (1,)) if run.quick else (MAPS, GROUP_SIZES, (1, 32))
    rows = []
    for threads, batch, kernel, (width, side), group in product(run.threads, batches, (3, 1), maps, groups):
        rows.append(measure(kernel, width, side, group, batch, threads, run))
        print(
            f"{kernel}x{kernel} {width} {side}x{side} group {group} batch {batch} threads {threads}: "
            f"{rows[-1]['speed_up']:.2f} x eager, {rows[-1]['over_copy']:.2f} copies"
        )
    run.write(rows, targets(rows))


if __name__ == "__main__":
    main()
