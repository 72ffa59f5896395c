"""`torchmg scale`: parameters and MACs over width."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from torchmg.cli.output import Output
from torchmg.errors import UsageError

Family = Literal[
    "dense",
    "mgic",
    "mgnet",
    "mgiad",
    "mlp",
    "mgic_mlp",
    "full",
    "pointwise",
    "separable",
    "union",
    "lean",
    "grouped",
    "shuffle",
    "depthwise",
    "chain",
    "block_chain",
    "lattice",
    "multigrid",
    "circulant",
    "circulant_fft",
]
"""The names in `torchmg.bench.scaling.FAMILIES`, which needs torch."""


@dataclass(frozen=True)
class Arguments:
    """Count one block or channel coupling of each family at several widths, fit the exponents, draw them.

    All couplings that are asked about: torchmg scale --family full union lean grouped chain lattice multigrid circulant
    circulant_fft mgic --channels 64:4096
    """

    family: tuple[Family, ...] = ("dense", "mgic", "mgiad")
    """Fully coupled (dense, mgnet, mlp) and multigrid (mgic, mgiad, mgic_mlp) blocks; the others are single 3x3
    channel couplings, full to circulant, the latter by its dense kernel or by channel FFT."""
    channels: str = "64:1024"
    """Widths: from:to in doublings, or a list such as 48,96,192."""
    group_size: int = 8
    """Channels per group in multigrid blocks and couplings, grouped and block_chain."""
    coarsest: int = 16
    """Width of full coupling in multigrid blocks and couplings."""
    out: Path = Path("scale")
    """The picture's file name without ending: .png, .svg and .csv are written."""
    output: Annotated[Output, tyro.conf.OmitArgPrefixes] = field(default_factory=Output)


def main(arguments: Sequence[str]) -> int:
    """Count over width."""
    args = tyro.cli(Arguments, args=arguments, prog="torchmg scale")
    widths = widths_of(args.channels)
    from torchmg import plot
    from torchmg.bench.scaling import COLUMNS, exponent_table, scaling, scaling_table
    from torchmg.plot.picture import check_stem

    plot.check_drawing()
    check_stem(args.out, COLUMNS)
    scalings = scaling(args.family, widths, group_size=args.group_size, coarsest=args.coarsest)
    picture = plot.draw_scaling(scalings, args.out)
    exponents = {s.family: {"parameters": asdict(s.parameters.fit()), "MACs": asdict(s.macs.fit())} for s in scalings}
    args.output.give(scaling_table(scalings), exponents=exponents, files=[str(file) for file in picture.files])
    if not args.output.json:
        print("", exponent_table(scalings), "", *picture.files, sep="\n")
    return 0


def widths_of(text: str) -> list[int]:
    """The widths that `from:to` (in doublings, both ends among them) or `a,b,c` stands for.

    Raises:
        UsageError: neither form, or an end that doublings of the beginning do not meet.
    """
    try:
        if ":" not in text:
            return [int(part) for part in text.split(",")]
        low, high = map(int, text.split(":"))
    except ValueError as error:
        raise UsageError(f"--channels must be like 64:1024 or 64,96,128; got '{text}'.") from error
    if not 1 <= low < high:
        raise UsageError(f"--channels from:to must rise from at least 1, such as 64:1024; got '{text}'.")
    widths = [low]
    while 2 * widths[-1] <= high:
        widths.append(2 * widths[-1])
    if widths[-1] != high:
        near = " or ".join(f"{low}:{width}" for width in (widths[-1], 2 * widths[-1]) if width > low)
        raise UsageError(f"Doublings of {low} do not meet {high}. Nearest: {near}.")
    return widths
