"""Networks side by side in every engine: time, speed, and how much of the MACs saved becomes time saved."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import torch
from torch import nn

from torchmg.bench.engines import ENGINES, Prepared, engine
from torchmg.bench.timing import ROUNDS, TURN, interleaved
from torchmg.counting.report import count
from torchmg.errors import UsageError
from torchmg.tables import Table

TOLERANCE = 1e-3
"""Largest difference of an engine's output from eager's over the largest output; engines round in other orders."""
DEFAULT_ENGINES = tuple(name for name in ENGINES if name != "compile")
"""All but the one that takes minutes to prepare."""
COLUMNS = (
    *("model", "engine", "batch", "threads", "ms", "images/s", "GFLOP/s"),
    *("ratio", "MAC ratio", "efficiency"),
)


@dataclass(frozen=True)
class Subject:
    """A network to time."""

    name: str
    model: nn.Module
    input: tuple[int, ...]
    """Of one sample."""

    @property
    def macs(self) -> int:
        """Of one sample."""
        return count(self.model, self.input).macs


@dataclass(frozen=True)
class Speed:
    """One network in one engine."""

    model: str
    engine: str
    batch: int
    threads: int
    ms: float
    """Of one pass over a batch, the median of the rounds."""
    low: float
    high: float
    macs: int
    """Of one sample."""
    ratio: float | None = None
    """Time of the reference in its fastest engine over this time, at the same batch and threads."""
    mac_ratio: float | None = None
    """MACs of the reference over these."""

    @property
    def images_per_second(self) -> float:
        """Samples of all batches in a second."""
        return 1000 * self.batch / self.ms

    @property
    def gflops(self) -> float:
        """Useful ones: two for each MAC that the network has, whatever the engine does besides."""
        return 2e-9 * self.macs * self.images_per_second

    @property
    def efficiency(self) -> float | None:
        """How much of the MACs saved is time saved: 1 where the time falls as the MACs do."""
        return None if self.ratio is None or self.mac_ratio is None else self.ratio / self.mac_ratio

    def row(self) -> dict[str, str | int | float | None]:
        """All of it as plain values."""
        more = {"images_per_second": self.images_per_second, "gflops": self.gflops, "efficiency": self.efficiency}
        return asdict(self) | more


@dataclass(frozen=True)
class Speeds:
    """What was timed, and what was left out and why."""

    rows: list[Speed]
    left_out: list[str] = field(default_factory=list)

    def best(self, model: str, batch: int, threads: int) -> Speed:
        """The fastest engine of a model.

        Raises:
            UsageError: no engine ran it.
        """
        rows = [r for r in self.rows if (r.model, r.batch, r.threads) == (model, batch, threads)]
        if not rows:
            raise UsageError(f"No engine ran {model}: {' '.join(self.left_out)}")
        return min(rows, key=lambda row: row.ms)

    def table(self, reference: str | None = None) -> Table:
        """A row for each network, engine, batch size and number of threads; the fastest of each network marked."""
        best = {id(self.best(r.model, r.batch, r.threads)) for r in self.rows}
        rows = [
            (
                *(r.model, f"{r.engine} *" if id(r) in best else r.engine, r.batch, r.threads, r.ms),
                *(round(r.images_per_second, 1), round(r.gflops, 1), _two(r.ratio), _two(r.mac_ratio)),
                _two(r.efficiency),
            )
            for r in self.rows
        ]
        note = [
            "* fastest engine. ms of a batch, median of interleaved rounds: CPU time with one thread, else wall time."
        ]
        if reference:
            note.append(f"ratio: {reference} in its fastest engine over this; efficiency: ratio over MAC ratio.")
        return Table(COLUMNS, rows, "Inference on the CPU, float32", "\n".join([*note, *self.left_out]))


def time_networks(
    subjects: Sequence[Subject],
    *,
    reference: str | None = None,
    batch_sizes: Sequence[int] = (1,),
    threads: Sequence[int] = (1,),
    engines: Sequence[str] = DEFAULT_ENGINES,
    rounds: int = ROUNDS,
    turn: float = TURN,
) -> Speeds:
    """Time forward passes of networks in engines, all in turns within each batch size and number of threads.

    Args:
        subjects: with names of their own.
        reference: name of the one that the others are compared with, each in its fastest engine.
        batch_sizes: samples of a pass.
        threads: of torch and of every engine.
        engines: names in `torchmg.bench.engines.ENGINES`. What is not installed, cannot run a network or computes
            something else than eager is left out, and said.
        rounds: turns of each, see `interleaved`.
        turn: seconds of each turn.

    Raises:
        UsageError: sizes below 1, no engine left, a reference that is not among the subjects.
        UnknownNameError: an unknown engine.
    """
    names = [subject.name for subject in subjects]
    if reference is not None and reference not in names:
        raise UsageError(f"The reference {reference} is not timed; timed are {', '.join(names)}.")
    if min(*batch_sizes, *threads, rounds, 1) < 1:
        raise UsageError(f"Batch sizes, threads and rounds start at 1; got {batch_sizes}, {threads}, {rounds}.")
    reasons = {name: engine(name).available() for name in engines}
    left_out = [reason for reason in reasons.values() if reason]
    usable = [name for name, reason in reasons.items() if not reason]
    if not usable:
        raise UsageError(f"No engine is left. {' '.join(left_out)}")
    macs = {subject.name: subject.macs for subject in subjects}
    rows: list[Speed] = []
    for many in threads:
        with torch_threads(many):
            for batch in batch_sizes:
                calls, refused = _prepare(subjects, usable, batch)
                left_out += [reason for reason in refused if reason not in left_out]
                times = interleaved(
                    {f"{m}\n{e}": c for (m, e), c in calls.items()}, threads=many, rounds=rounds, turn=turn
                )
                rows += [Speed(m, e, batch, many, *times[f"{m}\n{e}"], macs[m]) for m, e in calls]
    speeds = Speeds(rows, left_out)
    return speeds if reference is None else compared(speeds, reference)


def compared(speeds: Speeds, reference: str) -> Speeds:
    """The same with the ratios to one of the networks in its fastest engine."""
    rows = []
    for row in speeds.rows:
        best = speeds.best(reference, row.batch, row.threads)
        rows.append(replace(row, ratio=best.ms / row.ms, mac_ratio=best.macs / row.macs))
    return Speeds(rows, speeds.left_out)


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Torch with so many threads, and as it was afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _prepare(
    subjects: Sequence[Subject], engines: Sequence[str], batch: int
) -> tuple[Mapping[tuple[str, str], Prepared], list[str]]:
    """Calls by network and engine, and sentences about those that cannot be or that disagree with eager."""
    calls: dict[tuple[str, str], Prepared] = {}
    refused = []
    for subject in subjects:
        x = torch.randn(batch, *subject.input, generator=torch.Generator().manual_seed(0))
        wanted = np.asarray(ENGINES["eager"].prepare(subject.model, x)())
        for name in engines:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of other people's exporters and compilers
                    call = ENGINES[name].prepare(subject.model, x)
                    error = float(np.abs(np.asarray(call()) - wanted).max() / np.abs(wanted).max())
            except Exception as failure:  # an engine may raise whatever it likes
                first = (str(failure).strip().splitlines() or [""])[0][:200]
                refused.append(f"{name} cannot run {subject.name}: {type(failure).__name__}: {first}")
                continue
            if not error <= TOLERANCE:
                refused.append(f"{name} computes something else than eager for {subject.name}: off by {error:.1e}.")
            else:
                calls[subject.name, name] = call
    return calls, refused


def _two(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
