"""Approximation of functions: error over parameters, by cross-validation (MGIC paper, Table 2 and Fig. 4).

The paper compares networks of MobileNetV3, Ghost and MGIC blocks at growing widths: the first two grow with the square
of the width, MGIC about linearly. Its function, samples and settings are not available to us; ours are stated in
`torchmg.data.functions` and in the recipe, so that the curves compare with each other and not with the paper's.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from statistics import mean

from torchmg.data.names import SETS
from torchmg.errors import UnknownNameError, UsageError, did_you_mean
from torchmg.models.catalog import MODELS
from torchmg.models.functions import stage_widths
from torchmg.models.options import ModelOptions
from torchmg.plot.functions import FunctionError, draw_functions
from torchmg.plot.picture import Picture, check_drawing
from torchmg.study.runs import origin, train_all
from torchmg.tables import Table, deviation, plus_minus
from torchmg.train.engine import pick_device
from torchmg.train.files import write_text
from torchmg.train.recipe import BASES, FOLDS, Recipe

DATA = ("functions", "signed_distance")
"""What can be approximated."""
NETWORKS = tuple(name for name in MODELS if name.startswith("function_"))
"""What can approximate it."""
CHANNELS = (16, 32, 64, 128)
"""Last widths, if none are named."""


@dataclass(frozen=True)
class Approximated:
    """One network at one width; mean squared errors, one for each fold."""

    model: str
    channels: int
    parameters: int
    macs: int
    train: tuple[float, ...]
    """On the nine tenths that it was trained on, in evaluation mode."""
    test: tuple[float, ...]
    """On the tenth that was held out."""


@dataclass(frozen=True)
class FunctionStudy:
    """What `study_functions` found, and where."""

    rows: tuple[Approximated, ...]
    recipe: Recipe
    folds: int
    folder: Path
    picture: Picture

    @property
    def title(self) -> str:
        """What was approximated, and how."""
        return _title(self.recipe, self.folds)

    def table(self) -> Table:
        """For people: means, with the standard deviation over folds where there are several."""
        rows = [
            (
                *(r.model, r.channels, r.parameters, r.macs),
                *(plus_minus(scores, ".4g", ".2g") for scores in (r.train, r.test)),
            )
            for r in self.rows
        ]
        note = (
            f"Mean squared errors after the last epoch, mean ± standard deviation over {_folds(self.folds)}; each fold "
            "holds out a tenth of the samples. Function and settings are ours: the paper's are not available to us."
        )
        return Table(["model", "channels", "parameters", "MACs", "train MSE", "test MSE"], rows, self.title, note)

    def data(self) -> Table:
        """For machines, and behind the picture: numbers unrounded."""
        return _data(self.rows, self.title)


def study_functions(
    data: str = "functions",
    models: Sequence[str] = NETWORKS,
    channels: Sequence[int] = CHANNELS,
    *,
    folds: int = FOLDS,
    epochs: int | None = None,
    lr: float | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    device: str = "auto",
    quiet: bool = False,
) -> FunctionStudy:
    """Train every network at every width on every fold, and draw error over parameters.

    Args:
        data: `functions` or `signed_distance`.
        models: names of the catalogue that start with `function_`.
        channels: last widths, powers of two from 16.
        folds: how many of the ten folds are held out in turn; fewer than ten are a quick look.
        epochs: the recipe's if None.
        lr: learning rate, the recipe's if None.
        seed: of first weights and sample order, the same for all.
        out: folder of the runs `MODEL_cCHANNELS_fFOLD`, of `functions.png`, `.svg`, `.csv` and `.json`; default
            `runs/<date>_<time>_study_<data>`. Naming the folder of an interrupted study continues it.
        device: as in `torchmg.fit`.
        quiet: no progress on standard error.

    Raises:
        UnknownNameError: data or a model that the study is not for; the message names the nearest.
        UsageError: no models or widths, a width that no doubling of 16 gives, folds outside 1..10.
        InterruptedRunError: Ctrl-C; the message names the folder to continue in.
        ResumeError: `out` holds a study with other settings.
        MissingExtraError: matplotlib is not installed.
    """
    recipe = _recipe(data, epochs, lr, seed)
    models, channels = list(dict.fromkeys(models)), sorted(set(channels))
    _check(models, channels, folds)
    pick_device(device)
    check_drawing()
    folder = Path(out or f"runs/{datetime.now():%Y-%m-%d_%H%M%S}_study_{data}")
    recipes = {
        _name(model, width, fold): replace(recipe, model=model, options=ModelOptions(channels=width), fold=fold)
        # the folds of one point after the other, so that what is finished early can already be looked at
        for width in channels
        for model in models
        for fold in range(folds)
    }
    records = train_all(recipes, folder, device=device, quiet=quiet)
    rows = []
    for model in models:
        for width in channels:
            found = [records[_name(model, width, fold)] for fold in range(folds)]
            train, test = (tuple(float(record[f"{split}_loss"]) for record in found) for split in ("train", "test"))
            rows.append(Approximated(model, width, found[0]["parameters"], found[0]["macs"], train, test))
    points = [FunctionError(r.model, r.channels, r.parameters, mean(r.test), deviation(r.test)) for r in rows]
    title = _title(recipe, folds)
    picture = draw_functions(points, folder / "functions", title=title, rows=_data(rows, title))
    study = FunctionStudy(tuple(rows), recipe, folds, folder, picture)
    write_text(folder / "functions.json", study.data().json(**origin(records)) + "\n")
    return study


def _recipe(data: str, epochs: int | None, lr: float | None, seed: int) -> Recipe:
    if data not in DATA:
        others = " It is no function." if data in SETS else ""
        raise UnknownNameError(f"The study of functions has no data '{data}'.{others}{did_you_mean(data, DATA)}")
    given = {"epochs": epochs, "lr": lr, "seed": seed}
    return replace(BASES[data], **{key: value for key, value in given.items() if value is not None})


def _check(models: Sequence[str], channels: Sequence[int], folds: int) -> None:
    for model in models:
        if model not in NETWORKS:
            raise UnknownNameError(f"The study of functions has no model '{model}'.{did_you_mean(model, NETWORKS)}")
    if not models or not channels:
        raise UsageError("Name at least one model and one width, such as --models function_mgic --channels 16 32.")
    for width in channels:
        stage_widths(width)
    if not isinstance(folds, int) or not 1 <= folds <= FOLDS:
        raise UsageError(f"folds must be 1 to {FOLDS}; got {folds!r}.")


def _name(model: str, channels: int, fold: int) -> str:
    return f"{model}_c{channels}_f{fold}"


def _title(recipe: Recipe, folds: int) -> str:
    return f"{recipe.data}, {recipe.epochs} epochs, {_folds(folds)}"


def _folds(folds: int) -> str:
    return f"{FOLDS} folds" if folds == FOLDS else f"{folds} of {FOLDS} folds"


def _data(rows: Sequence[Approximated], title: str) -> Table:
    columns = "model channels parameters macs folds train_mean train_std test_mean test_std"
    cells = [
        (
            *(r.model, r.channels, r.parameters, r.macs, len(r.test)),
            *(mean(r.train), deviation(r.train), mean(r.test), deviation(r.test)),
        )
        for r in rows
    ]
    return Table(columns.split(), cells, title)
