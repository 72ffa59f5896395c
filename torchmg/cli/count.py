"""`torchmg count`: parameters and MACs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

import tyro

from torchmg.cli.model import ModelArguments
from torchmg.cli.output import Output


@dataclass(frozen=True)
class Arguments:
    """Unique parameters and multiply-accumulates of one forward pass, counted without data."""

    model: Annotated[ModelArguments, tyro.conf.OmitArgPrefixes]
    input: tuple[int, ...] = ()
    """Shape of one sample, such as 3 224 224 (default: the model's own)."""
    by: Literal["role", "level", "kind", "module"] = "role"
    """What the rows are."""
    output: Annotated[Output, tyro.conf.OmitArgPrefixes] = field(default_factory=Output)


def main(arguments: Sequence[str]) -> int:
    """Count a model."""
    args = tyro.cli(Arguments, args=arguments, prog="torchmg count")
    args.model.check_name()
    from torchmg.conversion.share import network
    from torchmg.counting.report import count

    model = network(args.model.model, **args.model.given())
    counted = count(model, args.input or args.model.default_input(model), args.model.model)
    more = {"input": counted.input, "parameters": counted.parameters, "macs": counted.macs}
    args.output.give(counted.table(args.by), **more)
    return 0
