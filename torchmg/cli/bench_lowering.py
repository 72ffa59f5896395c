"""`torchmg bench --lowering`: every way of computing a grouped convolution."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

import tyro

from torchmg.cli.output import Output


@dataclass(frozen=True)
class Arguments:
    """Time the lowerings of grouped convolutions c -> c on square maps, forward, on the CPU."""

    channels: tuple[int, ...] = (256,)
    """Widths."""
    group_size: tuple[int, ...] = (4, 8, 16, 32)
    """Channels of a group."""
    size: int = 28
    """Height and width of the map."""
    batch_size: int = 1
    """Images."""
    threads: int = 1
    """With one thread the clock is CPU time."""
    kernel: tuple[int, ...] = (1, 3)
    """Kernel sizes."""
    output: Annotated[Output, tyro.conf.OmitArgPrefixes] = field(default_factory=Output)


def main(arguments: Sequence[str]) -> int:
    """Time lowerings."""
    args = tyro.cli(Arguments, args=arguments, prog="torchmg bench --lowering")
    from torchmg.bench.lowerings import lowering_table
    from torchmg.bench.timing import keep_freed_memory

    keep_freed_memory()
    table = lowering_table(
        args.channels,
        args.group_size,
        size=args.size,
        batch=args.batch_size,
        threads=args.threads,
        kernels=args.kernel,
    )
    args.output.give(table)
    return 0
