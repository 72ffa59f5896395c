"""`torchmg list`: the catalogue."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

import tyro

from torchmg.cli.output import Output
from torchmg.models.catalog import select
from torchmg.models.shipped import names
from torchmg.tables import Table


@dataclass(frozen=True)
class Arguments:
    """Models, with the parameters and MACs of their default options."""

    pattern: Annotated[str, tyro.conf.Positional] = "*"
    """Shell pattern of names, such as 'mgic_*'."""
    sort: Literal["catalogue", "name", "parameters", "macs"] = "catalogue"
    """Order of the rows."""
    output: Annotated[Output, tyro.conf.OmitArgPrefixes] = field(default_factory=Output)


def main(arguments: Sequence[str]) -> int:
    """List models."""
    args = tyro.cli(Arguments, args=arguments, prog="torchmg list")
    entries = select(args.pattern)
    if args.sort != "catalogue":
        entries.sort(key=lambda entry: getattr(entry, args.sort))
    rows = [
        (e.name, e.paper, "x".join(map(str, e.input)), e.parameters, e.macs, e.dense, ", ".join(names(e.name)) or None)
        for e in entries
    ]
    note = (
        "MACs: multiply-accumulates of one forward pass of one input. Weights: trained ones that ship with torchmg. "
        "More: torchmg info NAME."
    )
    args.output.give(Table(["model", "paper", "input", "parameters", "MACs", "dense twin", "weights"], rows, note=note))
    return 0
