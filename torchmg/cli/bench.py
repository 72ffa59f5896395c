"""`torchmg bench`: time and memory of networks on this machine."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from torchmg.cli.model import ModelArguments, NamedModel
from torchmg.cli.output import Output
from torchmg.errors import UsageError

if TYPE_CHECKING:
    from torchmg.bench.networks import Subject

EngineName = Literal["stock", "eager", "channels_last", "folded", "compile", "onnxruntime", "openvino", "torchmg"]
"""The names in `torchmg.bench.engines.ENGINES`, which needs torch."""


@dataclass(frozen=True)
class Arguments:
    """Time a network's forward pass on the CPU in several engines, side by side with another network.

    The other kind of table: `torchmg bench --lowering --help`.
    """

    model: Annotated[ModelArguments, tyro.conf.OmitArgPrefixes]
    against: str | None = None
    """Another model, such as the dense twin; ratios are to it in its fastest engine."""
    input: tuple[int, ...] = ()
    """Shape of one sample, such as 3 224 224 (default: the model's own)."""
    batch_size: tuple[int, ...] = (1,)
    """Samples of a pass, such as 1 32."""
    threads: tuple[int, ...] = (1,)
    """Such as 1 2; with one thread the clock is CPU time."""
    engines: tuple[EngineName, ...] = (
        "stock",
        "eager",
        "channels_last",
        "folded",
        "onnxruntime",
        "openvino",
        "torchmg",
    )
    """What runs the networks. stock: torch's own convolutions only; compile takes minutes to prepare."""
    rounds: int = 5
    """Turns that each network and engine has; the median counts."""
    memory: bool = False
    """Peak memory of inference and training instead of time, in eager PyTorch."""
    record: Path | None = None
    """Also write a JSON record, with command, machine and versions."""
    output: Annotated[Output, tyro.conf.OmitArgPrefixes] = field(default_factory=Output)


def main(arguments: Sequence[str]) -> int:
    """Time networks, their memory, or lowerings."""
    if "--lowering" in arguments:
        from torchmg.cli.bench_lowering import main as lowering

        return lowering([argument for argument in arguments if argument != "--lowering"])
    args = tyro.cli(Arguments, args=arguments, prog="torchmg bench")
    args.model.check_name()
    other = None if args.against is None else args.model.beside(args.against)
    if other is not None:
        other.check_name()
    if args.record is not None and args.record.suffix != ".json":
        raise UsageError(f"--record must be a .json file; got {args.record}.")
    command = " ".join(["torchmg bench", *arguments])
    return _memory(args, other, command) if args.memory else _time(args, other, command)


def _time(args: Arguments, other: NamedModel | None, command: str) -> int:
    from torchmg.bench.networks import time_networks
    from torchmg.bench.record import write_record
    from torchmg.bench.timing import keep_freed_memory

    kept = keep_freed_memory()
    subject = _subject(args.model, args.input)
    subjects = [subject] if other is None else [subject, _subject(other, subject.input)]
    if other is not None and subject.name == subjects[1].name:  # the same network with other options
        subjects[0] = replace(subject, name=f"{subject.name} as asked")
    speeds = time_networks(
        subjects,
        reference=None if other is None else other.model,
        batch_sizes=args.batch_size,
        threads=args.threads,
        engines=args.engines,
        rounds=args.rounds,
    )
    rows = [row.row() for row in speeds.rows]
    if args.record is not None:
        write_record(args.record, rows, command, left_out=speeds.left_out, freed_memory_kept=kept)
    table = speeds.table(None if other is None else other.model)
    args.output.give(table, left_out=speeds.left_out)
    return 0


def _memory(args: Arguments, other: NamedModel | None, command: str) -> int:
    from torchmg.bench.memory import Memory, counted, measured, memory_table
    from torchmg.bench.record import write_record

    rows = []
    for asked in (args.model, *([] if other is None else [other])):
        subject = _subject(asked, args.input)
        weights = sum(p.numel() * p.element_size() for p in subject.model.parameters())
        for training in (False, True):
            for batch in args.batch_size:
                peak, kept = counted(subject.model, subject.input, batch, training=training)
                grown = measured(asked.model, asked.given(), subject.input, batch, training=training)
                rows.append(Memory(subject.name, training, batch, weights, peak, kept, grown))
    if args.record is not None:
        write_record(args.record, [row.row() for row in rows], command)
    args.output.give(memory_table(rows))
    return 0


def _subject(asked: NamedModel, shape: tuple[int, ...]) -> "Subject":
    from torchmg.bench.networks import Subject
    from torchmg.conversion.share import network

    model = network(asked.model, **asked.given())
    return Subject(asked.model, model, shape or asked.default_input(model))
