"""`torchmg compare`: models side by side."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from torchmg.cli.output import Output
from torchmg.cli.place import Place, value_of
from torchmg.data.names import DATASETS, SETS
from torchmg.hierarchy import check_choice
from torchmg.models.catalog import COMPARISONS, find
from torchmg.models.options import ModelOptions
from torchmg.train.recipe import BASES, Recipe
from torchmg.train.settings import Training


@dataclass(frozen=True)
class Arguments:
    """Train models with the same recipe and seeds, print them side by side, draw accuracy over parameters."""

    training: Annotated[Training, tyro.conf.OmitArgPrefixes]
    models: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Names that `torchmg list` shows, all for the task of the data (default: dense and multigrid ones of it)."""
    options: Annotated[ModelOptions, tyro.conf.OmitArgPrefixes] = field(default_factory=ModelOptions)
    data: str = "digits"
    """What to train on: a data set of `torchmg.data.DATASETS`; its recipe gives the defaults."""
    subset: int = 0
    """Train on so many samples only; 0: on all."""
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
    check_choice("--data", args.data, tuple(DATASETS))
    models = args.models or COMPARISONS[SETS[args.data].task]
    for name in models:
        find(name)
    from torchmg.comparison import compare

    given = {"data": args.data, "options": args.options, "seed": args.seed, "subset": args.subset}
    recipe = Recipe(**asdict(args.training), model=models[0], **given)
    comparison = compare(
        models,
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
