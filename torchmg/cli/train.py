"""`torchmg train`: a recipe, or the continuation of a run."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from torchmg.cli.place import Place, value_of
from torchmg.errors import UsageError
from torchmg.train.recipe import BASES, Recipe, load_recipe, recipe, recipe_names
from torchmg.train.scores import score_of
from torchmg.train.settings import LoggerName


@dataclass(frozen=True)
class Arguments:
    """Train a recipe: RECIPE is a data set, or a data set and a model, as in fashion_mnist_mgic_resnet20."""

    recipe: Annotated[Recipe, tyro.conf.OmitArgPrefixes]
    out: Path = Path("runs")
    """The run folder is made in here."""
    resume: Path | None = None
    """Continue the run in this folder instead of starting one."""
    place: Annotated[Place, tyro.conf.OmitArgPrefixes] = field(default_factory=Place)
    devices: int = 1
    """Processes that share every batch: one GPU each, or parts of the CPU. Under torchrun, leave it."""
    loggers: tuple[LoggerName, ...] = ()
    """Where epochs are logged besides log.csv: tensorboard, wandb, mlflow."""
    checkpoint_seconds: float = 60.0
    """A kill loses at most this much work."""
    quiet: bool = False
    """No progress."""
    json: bool = False
    """Print the record of the finished run as JSON."""


def main(arguments: Sequence[str]) -> int:
    """Train."""
    base, rest = _base(list(arguments))
    default = Arguments(base)
    args = tyro.cli(Arguments, args=rest, prog="torchmg train [RECIPE]", default=default)
    from torchmg.train.loop import fit

    run = fit(
        args.recipe,
        args.out,
        folder=args.resume,
        data_dir=args.place.data_dir,
        device=args.place.device,
        devices=args.devices,
        loggers=args.loggers,
        checkpoint_seconds=args.checkpoint_seconds,
        quiet=args.quiet,
    )
    record, score = run.record, score_of(args.recipe.data)
    held = args.recipe.scored_on
    reached = (score.of(record, "train"), score.of(record, held))
    if args.json:
        print(json.dumps(record, indent=2))
    else:
        print(
            f"{args.recipe.name}  parameters {record['parameters']:,}  MACs {record['macs']:,}  "
            f"train {reached[0]:.2f} %  {held} {reached[1]:.2f} %  {record['seconds']:.0f} s\n"
            f"{run.folder}"
        )
    return 0


def _base(arguments: list[str]) -> tuple[Recipe, list[str]]:
    """The recipe whose values are the flags' defaults, and the flags."""
    named = arguments.pop(0) if arguments and not arguments[0].startswith("-") else None
    if (folder := value_of("--resume", arguments)) is not None:
        if named is not None:
            raise UsageError(f"Give a recipe ({named}) or --resume {folder}, not both: a run knows its recipe.")
        from torchmg.train.folder import RunFolder

        return load_recipe(RunFolder.existing(Path(folder)).config), arguments
    if named is not None:
        return recipe(named), arguments
    if any(flag in arguments for flag in ("-h", "--help")):
        return Recipe(), arguments
    raise UsageError(f"Name a recipe, such as {', '.join(recipe_names()[len(BASES) :][:3])}; or --resume RUN.")
