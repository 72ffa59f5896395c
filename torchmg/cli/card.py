"""`torchmg card`: what a finished run's record says, as a model card."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from torchmg.errors import UsageError


@dataclass(frozen=True)
class Arguments:
    """A model card in markdown, with a header for the Hugging Face Hub, from a finished run's record alone."""

    run: Annotated[Path, tyro.conf.Positional]
    """A run folder, a record.json or a copy of one (as in results/), or the .json of weights that ship."""
    out: Path | None = None
    """Write the card to this file instead of printing it."""
    license: str | None = None
    """Licence of the weights for the header, as the Hub names it, such as apache-2.0."""


def main(arguments: Sequence[str]) -> int:
    """Write a card."""
    args = tyro.cli(Arguments, args=arguments, prog="torchmg card")
    from torchmg.card import finished, run_card

    text = run_card(finished(args.run), license=args.license)
    if args.out is None:
        print(text, end="")
        return 0
    try:
        args.out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{args.out} cannot be written: {error.strerror}.") from error
    print(args.out)
    return 0
