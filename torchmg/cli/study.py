"""`torchmg study`: whole experiments; those that train continue where they were stopped."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from torchmg.cli.output import Output
from torchmg.cli.place import Place
from torchmg.models.options import ModelOptions
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


@dataclass(frozen=True)
class Stability:
    """How disturbances travel through trained networks: input perturbations over depth, activations of few bits."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run folders of image classifiers on one data set, or folders of them."""
    samples: int = 500
    """Test images."""
    calibration: int = 256
    """Training images that say which range of activations is held."""
    batch_size: int = 100
    """Images at a time."""
    perturbations: tuple[float, ...] = (1e-3, 0.05)
    """Relative sizes of random perturbations of the images."""
    bits: tuple[int, ...] = (8, 4)
    """Of the activations behind every time step or block, 2 to 16; weights stay floating point."""
    grid: Literal["affine", "symmetric"] = "affine"
    """What bits hold: from the smallest to the largest value, or as far below zero as above."""
    seed: int = 0
    """Of the images that are taken and of the perturbations."""
    out: Path | None = None
    """Folder of table, picture and record (default: a new one in runs)."""
    record: Path | None = None
    """Another file that gets the record, JSON, too."""
    place: Annotated[Place, tyro.conf.OmitArgPrefixes] = field(default_factory=Place)
    quiet: bool = False
    """No progress."""
    output: Annotated[Output, tyro.conf.OmitArgPrefixes] = field(default_factory=Output)


@dataclass(frozen=True)
class Recipes:
    """A search for the settings that train a model best, scored on training samples that are held out."""

    model: Annotated[str, tyro.conf.Positional]
    """A model of the catalogue for labelled pictures."""
    data: str = "digits"
    """Labelled pictures in memory, such as fashion_mnist or cifar10."""
    options: Annotated[ModelOptions, tyro.conf.OmitArgPrefixes] = field(default_factory=ModelOptions)
    candidates: int = 27
    """How many settings are tried; the first is the recipe of the data."""
    first_epochs: int = 1
    """Epochs of each candidate in the first round."""
    keep: int = 3
    """One of so many goes on to the next round, which has so many times the epochs."""
    holdout: int | None = None
    """Training samples to score by (default: 5,000, fewer of small sets)."""
    subset: int = 0
    """Train on so many samples only; 0: on all that are not held out."""
    minutes: float = math.inf
    """Stop and save after so many minutes; the same command with --out goes on."""
    final: bool = False
    """Train the winner on all training samples with seeds 0, 1 and 2, and score it on the test set."""
    final_epochs: int | None = None
    """Epochs of the winner (default: those of the recipe of the data)."""
    seed: int = 0
    """Of the list of candidates and of every run of the search."""
    out: Path | None = None
    """Folder of runs and record (default: a new one in runs); continues a stopped search."""
    place: Annotated[Place, tyro.conf.OmitArgPrefixes] = field(default_factory=Place)
    quiet: bool = False
    """No progress."""
    output: Annotated[Output, tyro.conf.OmitArgPrefixes] = field(default_factory=Output)


@dataclass(frozen=True)
class Hierarchy:
    """Is it the hierarchy? MGIC against rivals and variants at equal parameters and at equal time, on the CPU."""

    data: Literal["fashion_mnist", "cifar10", "digits"] = "fashion_mnist"
    """What to classify."""
    members: tuple[str, ...] = ()
    """Networks to compare, such as grouped shuffle plain, or questions: hierarchy levels transfers cycle shortcuts
    training (default: all; the reference is always among them)."""
    seeds: int = 1
    """Runs of each network."""
    epochs: int = 4
    """Passes over the training samples; the pair that trains longer has up to four times as many."""
    subset: int = 15000
    """Training samples, the same for all; 0: all."""
    parallel: int = 1
    """Runs at once, of one thread each."""
    seconds: float | None = None
    """How long the training may take; the rest is trained by the same command with --out."""
    out: Path | None = None
    """Folder of plan, runs, records, table and picture (default: a new one in runs); continues an interrupted study."""
    data_dir: Path | None = None
    """Where data sets lie (default ./data; the digits need none)."""
    quiet: bool = False
    """No progress."""
    output: Annotated[Output, tyro.conf.OmitArgPrefixes] = field(default_factory=Output)


Kinds = (
    Annotated[Functions, tyro.conf.subcommand("functions")]
    | Annotated[Features, tyro.conf.subcommand("features")]
    | Annotated[Stability, tyro.conf.subcommand("stability")]
    | Annotated[Recipes, tyro.conf.subcommand("recipe")]
    | Annotated[Hierarchy, tyro.conf.subcommand("hierarchy")]
)


def main(arguments: Sequence[str]) -> int:
    """Run a study."""
    args = tyro.cli(Kinds, args=arguments, prog="torchmg study", description="A whole experiment.")
    if isinstance(args, Functions):
        table, data, folder, files = _functions(args)
    elif isinstance(args, Features):
        table, data, folder, files = _features(args)
    elif isinstance(args, Recipes):
        return _recipe(args)
    elif isinstance(args, Stability):
        table, data, folder, files = _stability(args)
    else:
        table, data, folder, files = _hierarchy(args)
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


def _recipe(args: Recipes) -> int:
    from torchmg.study import study_recipe

    study = study_recipe(
        args.model,
        args.data,
        options=args.options,
        number=args.candidates,
        epochs=args.first_epochs,
        keep=args.keep,
        holdout=args.holdout,
        subset=args.subset,
        final_epochs=args.final_epochs,
        final=args.final,
        seed=args.seed,
        minutes=args.minutes,
        out=args.out,
        data_dir=args.place.data_dir,
        device=args.place.device,
        quiet=args.quiet,
    )
    lines = [str(study.table()), "", "The winner, on all training samples and scored on the test set:", ""]
    lines.append(study.winner.command())
    if study.final:
        lines += ["", str(study.final_table())]
    lines += ["", str(study.folder / "search.json")]
    finals = [dict(record) for record in study.final]
    more = {"folder": str(study.folder), "command": study.winner.command(), "final": finals}
    args.output.give_text("\n".join(lines), study.data(), **more)
    return 0


def _stability(args: Stability) -> _Found:
    from torchmg.study import study_stability

    study = study_stability(
        args.runs,
        samples=args.samples,
        calibration=args.calibration,
        batch_size=args.batch_size,
        perturbations=args.perturbations,
        bits=args.bits,
        grid=args.grid,
        seed=args.seed,
        out=args.out,
        record=args.record,
        data_dir=args.place.data_dir,
        device=args.place.device,
        quiet=args.quiet,
    )
    files = [*study.picture.files, study.folder / "stability.json", *([] if args.record is None else [args.record])]
    return study.table(), study.data(), study.folder, files


def _hierarchy(args: Hierarchy) -> _Found:
    from torchmg.study import study_hierarchy

    study = study_hierarchy(
        args.data,
        args.members,
        seeds=args.seeds,
        epochs=args.epochs,
        subset=args.subset,
        parallel=args.parallel,
        seconds=args.seconds,
        out=args.out,
        data_dir=args.data_dir,
        quiet=args.quiet,
    )
    files = [*study.picture.files, study.folder / "hierarchy.json"]
    return study.found.table(), study.found.data(), study.folder, files
