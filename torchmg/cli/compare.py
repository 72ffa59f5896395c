"""`torchmg compare`: models side by side."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from torchmg.cli.output import Output
from torchmg.cli.place import Place, value_of
from torchmg.models.catalog import DEFAULT_COMPARISON, find
from torchmg.models.options import ModelOptions
from torchmg.train.recipe import BASES, Recipe, Training


@dataclass(frozen=True)
class Arguments:
    """Train models with the same recipe and seeds, print them side by side, draw accuracy over parameters."""

    training: Annotated[Training, tyro.conf.OmitArgPrefixes]
    models: Annotated[tuple[str, ...], tyro.conf.Positional] = DEFAULT_COMPARISON
    """Names that `torchmg list` shows."""
    options: Annotated[ModelOptions, tyro.conf.OmitArgPrefixes] = field(default_factory=ModelOptions)
    data: Literal["digits", "fashion_mnist", "cifar10", "cifar100"] = "digits"
    """What to train on; its recipe gives the defaults."""
    seeds: int = 1
    """Runs of each model, with consecutive seeds."""
    seed: int = 0
    """The first seed."""
    out: Path | None = None
    """Folder for runs and picture (default: a new one in runs); an interrupted comparison continues in its own."""
    place: Annotated[Place, tyro.conf.OmitArgPrefixes] = field(default_factory=Place)
    quiet: bool = False
    """No progress."""
    output: Annotated[Output, tyro.conf.OmitArgPrefixes] = field(default_factory=Output)


def main(arguments: Sequence[str]) -> int:
    """Compare models."""
    data = value_of("--data", arguments) or "digits"
    base = BASES.get(data, BASES["digits"])
    default = Arguments(Training(**{name: getattr(base, name) for name in Training.__dataclass_fields__}))
    args = tyro.cli(Arguments, args=arguments, prog="torchmg compare", default=default)
    for name in args.models:
        find(name)
    from torchmg.comparison import compare

    recipe = Recipe(**asdict(args.training), data=args.data, options=args.options, seed=args.seed)
    comparison = compare(
        args.models,
        recipe,
        seeds=args.seeds,
        out=args.out,
        data_dir=args.place.data_dir,
        device=args.place.device,
        quiet=args.quiet,
    )
    args.output.give(comparison.table(), comparison.data(), folder=str(comparison.folder))
    if not args.output.json:
        print(f"\npicture  {comparison.folder / 'tradeoff.png'} (and .svg, .csv)")
    return 0
