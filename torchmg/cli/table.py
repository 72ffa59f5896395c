"""`torchmg table`: the papers' tables, printed beside our counts and our runs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from torchmg.cli.output import Output
from torchmg.errors import UsageError
from torchmg.paper import TABLES, find, listing
from torchmg.paper.measured import results_in


@dataclass(frozen=True)
class Arguments:
    """A paper's tables: what is printed, what we count, what our runs reached. Without a name: a list of them."""

    names: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Tables such as mgiad-2 or mgic-12."""
    all: bool = False
    """Every table."""
    markdown: bool = False
    """Print markdown."""
    results: Path | None = None
    """Folder of records of finished runs (default: results, where there is one)."""
    output: Annotated[Output, tyro.conf.OmitArgPrefixes] = field(default_factory=Output)


def main(arguments: Sequence[str]) -> int:
    """Print tables of papers."""
    args = tyro.cli(Arguments, args=arguments, prog="torchmg table")
    if args.all and args.names:
        raise UsageError(f"Either --all or names of tables; got --all and {' '.join(args.names)}.")
    if args.markdown and args.output.json:
        raise UsageError("Either --markdown or --json; got both.")
    tables = list(TABLES.values()) if args.all else [find(name) for name in args.names]
    results = results_in(args.results)
    if tables:
        from torchmg.paper.show import for_people, for_programs

        shown, data = [for_people(table, results) for table in tables], for_programs(tables, results)
    else:
        shown, data = [listing()], listing()
    args.output.give_text("\n\n".join(one.markdown() if args.markdown else str(one) for one in shown), data)
    return 0
