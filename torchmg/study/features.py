"""How much of a network's first features survives the transfers alone (MGIC paper, Table 1 and Fig. 3).

64 channels are coded in 8 by restrictions and decoded by prolongations, which are trained on the mean squared error,
for several group sizes. The paper takes a ResNet-50 that was trained on ImageNet; here any network of torchmg with a
layer of 64 channels serves, so errors compare over the features' variance only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from torchmg.data.features import load_features
from torchmg.errors import UsageError
from torchmg.hierarchy import Hierarchy
from torchmg.models.options import ModelOptions
from torchmg.paper.mgic import TABLE_1
from torchmg.plot.features import PUBLISHED, CodeError, draw_mse, draw_reconstructions
from torchmg.plot.picture import Picture, check_drawing
from torchmg.study.runs import origin, train_all
from torchmg.study.source import CHANNELS, Source, kept_features
from torchmg.tables import Table
from torchmg.train.engine import pick_device
from torchmg.train.files import write_text
from torchmg.train.folder import RunFolder
from torchmg.train.model import model_for
from torchmg.train.recipe import BASES, Recipe

GROUP_SIZES = (32, 16, 8, 4)
"""Those of the paper's Table 1."""
IMAGES = 2000
"""Training images whose features are taken, if no number is given."""
DRAWN = 32
"""Test images whose features are decoded for the picture."""
PRINTED: Mapping[int, str] = MappingProxyType(
    {row.ours.group_size: row.parameters.text for row in TABLE_1.rows if isinstance(row.ours, Hierarchy)}
)
"""Group size -> parameters as Table 1 prints them."""


@dataclass(frozen=True)
class Coded:
    """One group size; mean squared errors in the units of the features."""

    group_size: int
    parameters: int
    train: float
    test: float
    relative: float
    """The test error over the variance of the training features: 1 is what their mean alone would leave."""


@dataclass(frozen=True)
class FeatureStudy:
    """What `study_features` found, and where."""

    rows: tuple[Coded, ...]
    title: str
    folder: Path
    pictures: tuple[Picture, ...]

    def table(self) -> Table:
        """Ours beside the published numbers."""
        return _table(self.rows, self.title)


def study_features(
    run: str | Path | None = None,
    *,
    model: str | None = None,
    data: str = "digits",
    layer: str = "stem",
    group_sizes: Sequence[int] = GROUP_SIZES,
    images: int = IMAGES,
    epochs: int | None = None,
    lr: float | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    data_dir: str | Path | None = None,
    device: str = "auto",
    quiet: bool = False,
) -> FeatureStudy:
    """Take feature maps from a network, train transfers for every group size to code them, set the errors side by side.

    The features are divided by one number, the standard deviation of all training features, so that the same recipe
    fits any network. Errors in the table are in the network's own units again.

    Args:
        run: folder of a run with at least one finished epoch, of a network on images; its data give the images.
        model: instead of a run a model of the catalogue with random weights, as a control ...
        data: ... on images of this data set.
        layer: path of a layer with 64 channels; `stem` is the first convolution, norm and activation of torchmg's
            networks.
        group_sizes: powers of two from 2 to 64; those of the paper unless given.
        images: training images, at most all; a quarter as many test images. Features of all of them are kept in
            memory as float32: a quarter of a megabyte for each image of 32 x 32.
        epochs: the recipe's if None.
        lr: learning rate, the recipe's if None.
        seed: of the first transfers and the sample order.
        out: folder of the features, of the runs `transfers_gSIZE`, `features.csv` and `.json`, and the pictures
            `mse` and `reconstructions`; default `runs/<date>_<time>_study_features`. Naming the folder of an
            interrupted study continues it.
        data_dir: where the images lie.
        device: as in `torchmg.fit`.
        quiet: no progress on standard error.

    Raises:
        UsageError: neither or both of `run` and `model`, sizes that are not possible, a layer of other than 64
            channels, data that are no images, or `out` with the features of something else.
        UnknownNameError: no such layer, model or data.
        CheckpointError: `run` is no run folder, or has no weights yet.
        DataError: the images or the features cannot be read.
        InterruptedRunError: Ctrl-C; the message names the folder to continue in.
        ResumeError: `out` holds transfers that were trained with other settings.
        MissingExtraError: matplotlib is not installed.
    """
    given = {"epochs": epochs, "lr": lr, "seed": seed}
    base = replace(BASES["features"], **{key: value for key, value in given.items() if value is not None})
    sizes = sorted(set(group_sizes), reverse=True)
    _check(sizes, images)
    source = Source.of(run, model, data, layer)
    pick_device(device)
    check_drawing()
    folder = Path(out or f"runs/{datetime.now():%Y-%m-%d_%H%M%S}_study_features")
    made = kept_features(source, folder, images, data_dir=data_dir, device=device)
    recipes = {_name(size): replace(base, options=ModelOptions(group_size=size)) for size in sizes}
    records = train_all(recipes, folder, data_dir=folder, device=device, quiet=quiet)
    rows = [_coded(size, records[_name(size)], made["scale"]) for size in sizes]
    trained = "" if run is not None else ", random weights"
    title = f"{layer} of {source.recipe.name}{trained}, {made['train']} images, {base.epochs} epochs"
    table = _table(rows, title)
    write_text(folder / "features.csv", table.csv())
    write_text(folder / "features.json", table.json(**made, **origin(records)) + "\n")
    pictures = (
        draw_mse([CodeError(r.group_size, r.test) for r in rows], folder / "mse", title=title),
        _reconstructions(recipes, folder, made["scale"], title),
    )
    return FeatureStudy(tuple(rows), title, folder, pictures)


def _check(sizes: Sequence[int], images: int) -> None:
    possible = [2**power for power in range(1, 7)]
    for size in sizes:
        if size not in possible:
            near = min(possible, key=lambda known: abs(known - size))
            raise UsageError(f"group sizes must be powers of two, 2 to {CHANNELS}; got {size}. Nearest: {near}.")
    if not sizes:
        raise UsageError("Name at least one group size, such as --group-sizes 8.")
    if not isinstance(images, int) or images < 4:
        raise UsageError(f"images must be a whole number, at least 4, of which a quarter tests; got {images!r}.")


def _name(group_size: int) -> str:
    return f"transfers_g{group_size}"


def _coded(group_size: int, record: Mapping[str, Any], scale: float) -> Coded:
    train, test = (record[f"{split}_loss"] for split in ("train", "test"))
    return Coded(group_size, record["parameters"], train * scale**2, test * scale**2, test)


def _table(rows: Sequence[Coded], title: str) -> Table:
    columns = "group_size parameters published_parameters train_mse test_mse relative_mse published_mse"
    cells = [
        (
            *(r.group_size, r.parameters, PRINTED.get(r.group_size)),
            *(r.train, r.test, r.relative, PUBLISHED.get(r.group_size)),
        )
        for r in rows
    ]
    note = (
        "relative_mse: the test error over the variance of the training features. The published errors are of another "
        "network's features, whose variance is not known: only their course compares."
    )
    return Table(columns.split(), cells, title, note)


@torch.no_grad()
def _reconstructions(recipes: Mapping[str, Recipe], folder: Path, scale: float, title: str) -> Picture:
    data = load_features(folder)
    originals, ways = data.test.inputs[:DRAWN], {}
    for name, recipe in recipes.items():
        model = model_for(recipe, data).eval()
        RunFolder(folder / name).read_weights(model)
        ways[f"group size {recipe.options.group_size}"] = model(originals) * scale
    title = f"{title}, {len(originals)} test images"
    return draw_reconstructions(originals * scale, ways, folder / "reconstructions", title=title)
