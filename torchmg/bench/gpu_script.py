"""What the scripts in benchmarks/ that time a GPU share: arguments, an allowance of time, a record after every case."""

import argparse
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch

from torchmg.bench.gpu_floors import GpuPeaks, measure_gpu_peaks
from torchmg.bench.gpu_timing import SMALL_TURN
from torchmg.bench.record import write_record
from torchmg.bench.script import Target, targets_table
from torchmg.bench.timing import ROUNDS

Case = TypeVar("Case")

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
"""By the name of `--precision`."""
SECONDS = 300.0
"""Allowance of a script that is given none, as the queue gives none."""


@dataclass
class GpuScript:
    """How one script was called, and what it has measured so far.

    The record is written after every case, so that a script that is killed leaves what it has.

    Attributes:
        path: of its record.
        quick: few sizes and rounds, to see that it runs; such records say nothing.
        seconds: allowance; see `cases`.
        precision: name of the type that is computed in.
        device: where.
        rows: of the record.
        left_out: sentences about what could not be timed.
    """

    path: Path
    quick: bool = False
    seconds: float = SECONDS
    precision: str = "bf16"
    device: torch.device = field(default_factory=lambda: torch.device("cuda"))
    rows: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    @property
    def dtype(self) -> torch.dtype:
        """That is computed in."""
        return DTYPES[self.precision]

    @property
    def timing(self) -> dict[str, Any]:
        """`rounds` and `turn` for `torchmg.bench.gpu_timing.interleaved_on`."""
        return {"rounds": 1, "turn": 0.001} if self.quick else {"rounds": ROUNDS, "turn": SMALL_TURN}

    @cached_property
    def peaks(self) -> GpuPeaks:
        """Of this device in this run; measured when they are first asked for."""
        sizes = {"matrices": (128,), "copies": (1,)} if self.quick else {}
        return measure_gpu_peaks(self.device, self.dtype, **sizes, **self.timing)

    def cases(self, of: Iterable[Case]) -> Iterator[Case]:
        """Those that there is time for: none is begun that would outlast the allowance if it took the longest so far.

        What is left out for want of time is said in the record. Memory of a case that is over is given back.
        """
        longest = 0.0
        listed = list(of)
        for index, case in enumerate(listed):
            began = time.monotonic()
            if index and began - self.started + longest > self.seconds:
                self.leave_out(f"{len(listed) - index} of {len(listed)} cases for want of time, from {case} on.")
                return
            yield case
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            longest = max(longest, time.monotonic() - began)

    def leave_out(self, *sentences: str) -> None:
        """Say once what could not be timed."""
        for sentence in sentences:
            if sentence not in self.left_out:
                self.left_out.append(sentence)
                print(sentence, flush=True)

    def write(self, targets: Sequence[Target] = (), **more: Any) -> None:
        """Write the record of what there is, with the device's peaks."""
        here: Mapping[str, Any] = {
            "quick": self.quick,
            "precision": self.precision,
            "seconds": time.monotonic() - self.started,
            "targets": [target.row() for target in targets],
            "peaks": self.peaks.row(),
            "left_out": self.left_out,
        }
        write_record(self.path, self.rows, device=self.device, **here, **more)

    def finish(self, targets: Sequence[Target] = ()) -> None:
        """Write the record for the last time and print the targets."""
        self.write(targets)
        if targets:
            print(targets_table(targets))
        print(self.path.name, flush=True)


def gpu_script(file: str, description: str | None) -> GpuScript | None:
    """Parse the arguments of a script in benchmarks/; None, and a sentence, where there is no GPU.

    Args:
        file: its `__file__`; the record has its name and lies beside it.
        description: its docstring.
    """
    lines = (description or "").splitlines()
    parser = argparse.ArgumentParser(description=lines[0] if lines else None)
    parser.add_argument("--quick", action="store_true", help="few sizes, one round: to see that it runs")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"allowance of time, default {SECONDS:g}")
    parser.add_argument("--precision", choices=list(DTYPES), default="bf16")
    parser.add_argument("--out", type=Path, default=Path(file).parent, help="folder of the record")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        print("There is no GPU here, so there is nothing to time, and no record is written.")
        return None
    torch.backends.cudnn.benchmark = True  # the best that cuDNN has
    return GpuScript(args.out / f"{Path(file).stem}.json", args.quick, args.seconds, args.precision)
