"""Times the lowerings side by side on the CPU, and keeps which was the fastest for `choice` to use.

One thread is timed by the processor time of this process, which other work on the machine disturbs least; more by the
clock on the wall. Rounds are interleaved, so that a disturbance falls on all alike, and the median of rounds counts.
"""

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor

from torchmg.errors import UsageError
from torchmg.kernels import choice
from torchmg.kernels.eager import Pair
from torchmg.kernels.lowerings import serves
from torchmg.kernels.op import grouped_conv
from torchmg.kernels.shape import LOWERINGS, Lowering, Shape
from torchmg.tables import Table

MARGIN = 0.95
"""What is measured replaces the default only when it takes less than this part of its time."""


@dataclass(frozen=True)
class Row:
    """One convolution and how long each lowering takes.

    Attributes:
        shape: its sizes.
        threads: that it was given.
        gradients: whether both gradients are timed along with the forward pass.
        milliseconds: of each lowering that can serve it.
        default: what is chosen for it without a measurement.
    """

    shape: Shape
    threads: int
    gradients: bool
    milliseconds: dict[Lowering, float]
    default: Lowering

    @property
    def best(self) -> Lowering:
        """The fastest; the default when it is as good, to the margin."""
        fastest = min(self.milliseconds, key=self.milliseconds.__getitem__)
        as_good = self.milliseconds[fastest] >= MARGIN * self.milliseconds[self.default]
        return self.default if as_good else fastest

    @property
    def gflops(self) -> float:
        """Of the fastest, in 10^9 operations a second; a gradient costs as many as the forward pass."""
        operations = 2 * self.shape.macs * (3 if self.gradients else 1)
        return operations / min(self.milliseconds.values()) / 1e6


def measured(
    shapes: Sequence[Shape], threads: int, *, gradients: bool = False, rounds: int = 7, least: float = 0.005
) -> list[Row]:
    """Time every lowering that can serve each shape, in float32.

    Args:
        shapes: what to time.
        threads: for torch and for the native library; torch's own setting is put back.
        gradients: time both gradients too, as in training.
        rounds: whose median is taken.
        least: seconds that one round of one lowering takes at least.

    Raises:
        UsageError: no thread, no round, or sizes that are no grouped convolution.
    """
    if threads < 1 or rounds < 1:
        raise UsageError(f"At least one thread and one round are needed; got {threads} and {rounds}.")
    if wrong := [shape for shape in shapes if not shape.regular]:
        raise UsageError(f"{wrong[0]} is no grouped convolution: groups must divide both widths, sizes be positive.")
    with _threads(threads):
        return [_row(shape, threads, gradients, rounds, least) for shape in shapes]


def remember(rows: Sequence[Row]) -> None:
    """Keep the best lowering of each row in `choice.cache_file()`, beside what is there; it is used from now on."""
    kept = choice.read_all()
    mine = kept.get(choice.machine())
    own = mine if isinstance(mine, dict) else {}
    kept[choice.machine()] = own | {choice.key(row.shape, row.threads, row.gradients): row.best for row in rows}
    file = choice.cache_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_name(f"{file.name}.{os.getpid()}")
    beside.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    beside.replace(file)
    choice.forget()


def table(rows: Sequence[Row]) -> Table:
    """For people: a row for each convolution, milliseconds by lowering, the best, and the best over aten."""
    head = ["conv", "batch", "size", "groups of", "threads", *(f"{name} ms" for name in LOWERINGS)]
    lines = []
    for row in rows:
        shape, times = row.shape, row.milliseconds
        lines.append(
            (
                f"{shape.kernel_h}x{shape.kernel_w}" + (f"/{shape.stride}" if shape.stride > 1 else ""),
                shape.images,
                f"{shape.in_channels}->{shape.out_channels} {shape.height}x{shape.width}",
                shape.group_size,
                row.threads,
                *(round(times[name], 4) if name in times else "-" for name in LOWERINGS),
                row.best,
                round(times["aten"] / times[row.best], 2),
                round(row.gflops, 1),
            )
        )
    kind = "forward and both gradients" if rows and rows[0].gradients else "forward"
    return Table([*head, "best", "aten / best", "GFLOP/s"], lines, f"grouped convolutions by lowering, {kind}, float32")


def _row(shape: Shape, threads: int, gradients: bool, rounds: int, least: float) -> Row:
    clock = time.process_time if threads == 1 else time.perf_counter
    x, weight = torch.randn(shape.inputs), torch.randn(shape.weights)
    runs: dict[Lowering, tuple[Callable[[], object], int]] = {}
    for lowering in LOWERINGS:
        if serves(lowering, shape, gradients=gradients):
            run = _runner(shape, x, weight, gradients)
            seconds = _seconds(lowering, run, 2, clock)
            runs[lowering] = run, max(1, math.ceil(least / max(seconds, 1e-7)))
    found: dict[Lowering, list[float]] = {lowering: [] for lowering in runs}
    for _ in range(rounds):
        for lowering, (run, times) in runs.items():
            found[lowering].append(1000 * _seconds(lowering, run, times, clock))
    milliseconds: dict[Lowering, float] = {lowering: median(values) for lowering, values in found.items()}
    default = choice.default(shape, threads, gradients)
    return Row(shape, threads, gradients, milliseconds, default)


def _runner(shape: Shape, x: Tensor, weight: Tensor, gradients: bool) -> Callable[[], object]:
    stride: Pair = (shape.stride, shape.stride)
    x, weight = x.clone().requires_grad_(gradients), weight.clone().requires_grad_(gradients)
    upstream = torch.randn(shape.outputs)

    def run() -> object:
        with torch.set_grad_enabled(gradients):
            y = grouped_conv(x, weight, None, stride, (shape.pad_h, shape.pad_w), shape.groups)
            return torch.autograd.grad(y, (x, weight), upstream) if gradients else y

    return run


def _seconds(lowering: Lowering, run: Callable[[], object], times: int, clock: Callable[[], float]) -> float:
    with choice.pinned(lowering):
        run()  # chooses anew
        start = clock()
        for _ in range(times):
            run()
        return (clock() - start) / times


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
