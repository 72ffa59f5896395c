"""`torchmg study`: whole experiments of the MGIC paper, which continue where they were stopped."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from torchmg.cli.output import Output
from torchmg.cli.place import Place
from torchmg.tables import Table


@dataclass(frozen=True)
class Functions:
    """Error of approximated functions over parameters, by cross-validation (MGIC, Table 2 and Fig. 4)."""

    data: Literal["functions", "signed_distance"] = "functions"
    """What to approximate."""
    models: tuple[str, ...] = ("function_mobilenetv3", "function_ghost", "function_mgic")
    """Networks that are made for it."""
    channels: tuple[int, ...] = (16, 32, 64, 128)
    """Last widths, powers of two from 16."""
    folds: int = 10
    """How many of the ten folds are held out in turn."""
    epochs: int | None = None
    """Passes over the training samples (default: the recipe's)."""
    lr: float | None = None
    """Learning rate (default: the recipe's)."""
    seed: int = 0
    """Of first weights and sample order."""
    out: Path | None = None
    """Folder of runs, table and picture (default: a new one in runs); an interrupted study continues in its own."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    quiet: bool = False
    """No progress."""
    output: Annotated[Output, tyro.conf.OmitArgPrefixes] = field(default_factory=Output)


@dataclass(frozen=True)
class Features:
    """What survives of a network's first features when transfers alone code them (MGIC, Table 1 and Fig. 3)."""

    run: Path | None = None
    """Run folder of a network on images with a layer of 64 channels, such as resnet18_cifar."""
    model: str | None = None
    """Instead of a run: a model with random weights, as a control."""
    data: str = "digits"
    """The images that --model is shown; a run has its own."""
    layer: str = "stem"
    """Path of the layer whose features are coded."""
    group_sizes: tuple[int, ...] = (32, 16, 8, 4)
    """Channels per group of the transfers, powers of two."""
    images: int = 2000
    """Training images, and a quarter as many test images."""
    epochs: int | None = None
    """Passes over the features (default: the recipe's)."""
    lr: float | None = None
    """Learning rate (default: the recipe's)."""
    seed: int = 0
    """Of first transfers and sample order."""
    out: Path | None = None
    """Folder of features, runs, table and pictures (default: a new one in runs); continues an interrupted study."""
    place: Annotated[Place, tyro.conf.OmitArgPrefixes] = field(default_factory=Place)
    quiet: bool = False
    """No progress."""
    output: Annotated[Output, tyro.conf.OmitArgPrefixes] = field(default_factory=Output)


Kinds = Annotated[Functions, tyro.conf.subcommand("functions")] | Annotated[Features, tyro.conf.subcommand("features")]


def main(arguments: Sequence[str]) -> int:
    """Run a study."""
    args = tyro.cli(Kinds, args=arguments, prog="torchmg study", description="A whole experiment of the MGIC paper.")
    table, data, folder, files = _functions(args) if isinstance(args, Functions) else _features(args)
    args.output.give(table, data, folder=str(folder), files=[str(file) for file in files])
    if not args.output.json:
        print("", *files, sep="\n")
    return 0


_Found = tuple[Table, Table, Path, list[Path]]


def _functions(args: Functions) -> _Found:
    from torchmg.study import study_functions

    study = study_functions(
        args.data,
        args.models,
        args.channels,
        folds=args.folds,
        epochs=args.epochs,
        lr=args.lr,
        seed=args.seed,
        out=args.out,
        device=args.device,
        quiet=args.quiet,
    )
    return study.table(), study.data(), study.folder, list(study.picture.files)


def _features(args: Features) -> _Found:
    from torchmg.study import study_features

    training: dict[str, Any] = {"epochs": args.epochs, "lr": args.lr, "seed": args.seed}
    study = study_features(
        args.run,
        model=args.model,
        data=args.data,
        layer=args.layer,
        group_sizes=args.group_sizes,
        images=args.images,
        **training,
        out=args.out,
        data_dir=args.place.data_dir,
        device=args.place.device,
        quiet=args.quiet,
    )
    files = [file for picture in study.pictures for file in picture.files]
    return study.table(), study.table(), study.folder, [*files, study.folder / "features.csv"]
