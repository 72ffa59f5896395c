"""What the scripts in benchmarks/ share: their arguments, targets that are met or not, and the record they leave."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torchmg.bench.peaks import measure_peaks
from torchmg.bench.record import write_record
from torchmg.bench.timing import ROUNDS, TURN, keep_freed_memory
from torchmg.tables import Table


@dataclass(frozen=True)
class Target:
    """One thing that should hold, and what was measured."""

    case: str
    target: float
    reached: float
    at_least: bool = True
    """Whether more is better."""

    @property
    def met(self) -> bool:
        """Whether it holds."""
        return self.reached >= self.target if self.at_least else self.reached <= self.target

    def row(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self) | {"met": self.met}


def targets_table(targets: Sequence[Target]) -> Table:
    """A row for each."""
    rows = [
        (t.case, f"{'>=' if t.at_least else '<='} {t.target:g}", f"{t.reached:.2f}", "yes" if t.met else "no")
        for t in targets
    ]
    return Table(("case", "target", "measured", "met"), rows, "Targets")


@dataclass(frozen=True)
class Script:
    """How one script was called."""

    path: Path
    """Of its record."""
    quick: bool
    """Few sizes and rounds, to see that it runs; such records say nothing."""
    threads: tuple[int, ...]

    @property
    def timing(self) -> dict[str, Any]:
        """`rounds` and `turn` for `torchmg.bench.timing.interleaved`."""
        return {"rounds": 1, "turn": 0.01} if self.quick else {"rounds": ROUNDS, "turn": 2 * TURN}

    def write(self, rows: Sequence[Mapping[str, Any]], targets: Sequence[Target] = (), **more: Any) -> None:
        """Write the record, with the machine's peaks, and print the targets."""
        sizes = {"matrices": (256,), "copies": (1.0,)} if self.quick else {}
        peaks = [measure_peaks(many, **sizes, **self.timing).row() for many in self.threads]
        more |= {"quick": self.quick, "targets": [target.row() for target in targets], "peaks": peaks}
        write_record(self.path, rows, **more)
        if targets:
            print(targets_table(targets))
        print(self.path.name)


def script(file: str, description: str | None) -> Script:
    """Parse the arguments of a script in benchmarks/, and set the allocator as benchmarks should.

    Args:
        file: its `__file__`; the record has its name and lies beside it.
        description: its docstring.
    """
    lines = (description or "").splitlines()
    parser = argparse.ArgumentParser(description=lines[0] if lines else None)
    parser.add_argument("--quick", action="store_true", help="few sizes, one round: to see that it runs")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="default: 1 2")
    parser.add_argument("--out", type=Path, default=Path(file).parent, help="folder of the record")
    args = parser.parse_args()
    keep_freed_memory()
    return Script(args.out / f"{Path(file).stem}.json", args.quick, (1,) if args.quick else tuple(args.threads))
