"""`torchmg doctor`: what this installation can do."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from torchmg.cli.output import Output


@dataclass(frozen=True)
class Arguments:
    """Versions, extras, devices, compiler and data sets, with a small computation on every device.

    The exit code is 1 when something that is required is broken; absent extras are no failure.
    """

    data_dir: Path | None = None
    """Where data sets lie (default ./data)."""
    output: Annotated[Output, tyro.conf.OmitArgPrefixes] = field(default_factory=Output)


def main(arguments: Sequence[str]) -> int:
    """Examine."""
    args = tyro.cli(Arguments, args=arguments, prog="torchmg doctor")
    from torchmg.doctor import examine

    report = examine(args.data_dir)
    args.output.give(report.table(), report.data(), healthy=report.healthy)
    return 0 if report.healthy else 1
