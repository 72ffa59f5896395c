"""`torchmg plot`: pictures of runs and of models, each with the numbers behind it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from torchmg.cli.model import ModelArguments
from torchmg.cli.place import Place
from torchmg.paper.measured import results_in


@dataclass(frozen=True)
class Curves:
    """Accuracy, loss and learning rate over epochs, train dashed and test solid, a colour per run."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run folders, finished or not, or folders of them."""
    out: Path = Path("curves")
    """File name without ending: .png, .svg and .csv are written."""
    json: bool = False
    """Print the file names and the rows as JSON."""


@dataclass(frozen=True)
class Tradeoff:
    """Test accuracy over parameters or MACs; seeds of the same recipe become a mean with its deviation."""

    results: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run folders, records of finished runs (as in results/), or folders of either."""
    x: Literal["parameters", "macs"] = "parameters"
    """What the accuracy is drawn over."""
    out: Path = Path("tradeoff")
    """File name without ending: .png, .svg and .csv are written."""
    json: bool = False
    """Print the file names and the rows as JSON."""


@dataclass(frozen=True)
class Hierarchy:
    """The levels of a multigrid block: boxes as wide as the channels, cut into groups, with the parameters."""

    model: Annotated[ModelArguments, tyro.conf.OmitArgPrefixes]
    module: str | None = None
    """Path of the block in the model, such as stages.2.1 (default: the widest)."""
    out: Path | None = None
    """File name without ending (default: hierarchy_MODEL): .png, .svg and .csv are written."""
    json: bool = False
    """Print the file names and the rows as JSON."""


@dataclass(frozen=True)
class Predictions:
    """What runs make of test samples: masks beside pictures and labels, or clouds with their classes."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run folders on the same data: segmentation, or point clouds."""
    samples: int = 4
    """Test samples, evenly spaced."""
    place: Annotated[Place, tyro.conf.OmitArgPrefixes] = field(default_factory=Place)
    out: Path = Path("predictions")
    """File name without ending: .png, .svg and .csv are written."""
    json: bool = False
    """Print the file names and the rows as JSON."""


@dataclass(frozen=True)
class Paper:
    """Accuracy over parameters as a paper prints it (hollow) and as our runs reached it (filled; half: shortened)."""

    name: Annotated[Literal["mgiad", "mgic"], tyro.conf.Positional]
    """The paper."""
    results: Path | None = None
    """Folder of records of finished runs (default: results, where there is one)."""
    out: Path | None = None
    """File name without ending (default: paper_NAME): .png, .svg and .csv are written."""
    json: bool = False
    """Print the file names and the rows as JSON."""


Kinds = (
    Annotated[Curves, tyro.conf.subcommand("curves")]
    | Annotated[Tradeoff, tyro.conf.subcommand("tradeoff")]
    | Annotated[Hierarchy, tyro.conf.subcommand("hierarchy")]
    | Annotated[Predictions, tyro.conf.subcommand("predictions")]
    | Annotated[Paper, tyro.conf.subcommand("paper")]
)


def main(arguments: Sequence[str]) -> int:
    """Draw."""
    args = tyro.cli(Kinds, args=arguments, prog="torchmg plot", description="A picture, and the CSV behind it.")
    if isinstance(args, Hierarchy):
        args.model.check_name()
    from torchmg import plot

    plot.check_drawing()
    if isinstance(args, Curves):
        picture = plot.curves(args.runs, args.out)
    elif isinstance(args, Tradeoff):
        picture = plot.tradeoff(args.results, args.out, args.x)
    elif isinstance(args, Predictions):
        where = {"data_dir": args.place.data_dir, "device": args.place.device}
        picture = plot.predictions(args.runs, args.out, samples=args.samples, **where)
    elif isinstance(args, Paper):
        picture = plot.paper(args.name, results_in(args.results), args.out or Path(f"paper_{args.name}"))
    else:
        from torchmg.models.user import build

        name = args.model.model
        stem = args.out or Path(f"hierarchy_{Path(name).name.replace(':', '_')}")
        picture = plot.hierarchy(build(name, **args.model.given()), stem, args.module, name)
    if args.json:
        print(picture.rows.json(files=[str(file) for file in picture.files]))
    else:
        print("\n".join(part for part in (picture.rows.title, *map(str, picture.files), picture.rows.note) if part))
    return 0
