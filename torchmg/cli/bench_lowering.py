"""`torchmg bench --lowering`: every way of computing a grouped convolution."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Annotated

import tyro

from torchmg.cli.output import Output
from torchmg.errors import UsageError


@dataclass(frozen=True)
class Arguments:
    """Time the lowerings of grouped convolutions c -> c on square maps of the CPU, in float32."""

    channels: tuple[int, ...] = (256,)
    """Widths."""
    group_size: tuple[int, ...] = (4, 8, 16, 32)
    """Channels of a group; those that do not divide a width are left out."""
    size: int = 28
    """Height and width of the map."""
    batch_size: tuple[int, ...] = (1,)
    """Images."""
    threads: tuple[int, ...] = (1,)
    """With one thread the clock is CPU time."""
    kernel: tuple[int, ...] = (1, 3)
    """Kernel sizes, odd."""
    gradients: bool = False
    """Time both gradients too, as in training."""
    remember: bool = False
    """Keep the fastest of each; from then on it is used on this machine."""
    rounds: int = 7
    """Turns that each lowering has; the median counts."""
    output: Annotated[Output, tyro.conf.OmitArgPrefixes] = field(default_factory=Output)


def main(arguments: Sequence[str]) -> int:
    """Time lowerings."""
    args = tyro.cli(Arguments, args=arguments, prog="torchmg bench --lowering")
    sizes = [(c, g) for c, g in product(args.channels, args.group_size) if g > 0 and c % g == 0]
    if not sizes:
        raise UsageError(f"No group size of {list(args.group_size)} divides a width of {list(args.channels)}.")
    if even := [kernel for kernel in args.kernel if kernel % 2 == 0]:
        raise UsageError(f"Kernel sizes must be odd to keep the resolution; got {even[0]}.")
    from torchmg.bench.timing import keep_freed_memory
    from torchmg.kernels.measure import measured, remember, table
    from torchmg.kernels.shape import Shape

    keep_freed_memory()
    shapes = [
        Shape(batch, c, c, c // group, args.size, args.size, k, k, 1, k // 2, k // 2)
        for batch, k, (c, group) in product(args.batch_size, args.kernel, sizes)
    ]
    rows = [
        row
        for threads in args.threads
        for row in measured(shapes, threads, gradients=args.gradients, rounds=args.rounds)
    ]
    if args.remember:
        remember(rows)
    args.output.give(table(rows))
    return 0
