"""Training several models alike and setting them side by side."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from statistics import mean
from types import MappingProxyType
from typing import Any

import torch

from torchmg.bench.latency import Latency, latencies
from torchmg.data.names import SETS
from torchmg.errors import InterruptedRunError, UnknownNameError, UsageError
from torchmg.models.catalog import COMPARISONS, MODELS, Entry, find
from torchmg.models.options import ModelOptions
from torchmg.models.registry import option_names
from torchmg.models.user import build
from torchmg.plot import Point, check_drawing, draw_tradeoff
from torchmg.tables import Table, deviation, plus_minus
from torchmg.train.engine import pick_device
from torchmg.train.loop import fit
from torchmg.train.recipe import BASES, Recipe
from torchmg.train.scores import score_of

TIMED: Mapping[str, int] = MappingProxyType({"classify": 64, "segment": 4, "points": 8, "regress": 64})
"""Samples in a timed forward pass."""


@dataclass(frozen=True)
class Compared:
    """One model's numbers; scores in percent, one of each per seed."""

    model: str
    family: str
    parameters: int
    macs: int
    train: tuple[float, ...]
    test: tuple[float, ...]
    latency: Latency
    against: float | None
    """Milliseconds over those of the dense model; None where there is no dense model among the compared."""


@dataclass(frozen=True)
class Comparison:
    """What `compare` found, and the files it wrote."""

    rows: tuple[Compared, ...]
    recipe: Recipe
    seeds: int
    folder: Path
    device: str
    threads: int
    """Of the processor, while the models were timed."""

    @property
    def title(self) -> str:
        """What was compared, in a line."""
        seeds = f"{self.seeds} seed{'s' if self.seeds > 1 else ''}"
        return f"{self.recipe.data}, {self.recipe.epochs} epochs, {seeds}"

    def table(self) -> Table:
        """For people: means, with spread over seeds where there are several."""
        rows = [
            (
                *(r.model, r.parameters, r.macs),
                *(plus_minus(r.train), plus_minus(r.test), round(r.latency.median, 4), r.against),
            )
            for r in self.rows
        ]
        columns = ["model", "parameters", "MACs", "train %", "test %", "ms/sample", "time / dense"]
        batch = TIMED[SETS[self.recipe.data].task]
        note = (
            f"Same recipe and seeds for all; {score_of(self.recipe.data).label} of the last epoch, both splits in "
            f"evaluation mode; ms/sample: forward, fp32, batch {batch}, {self.device}, {self.threads} threads, "
            "measured in turn, median."
        )
        return Table(columns, rows, self.title, note)

    def data(self) -> Table:
        """For machines, and behind the picture: one row per model, numbers unrounded."""
        columns = "model family parameters macs seeds train_mean train_std test_mean test_std ms_median ms_low ms_high"
        rows = [
            (
                *(r.model, r.family, r.parameters, r.macs, len(r.test)),
                *(mean(r.train), deviation(r.train), mean(r.test), deviation(r.test)),
                *(*r.latency, r.against),
            )
            for r in self.rows
        ]
        return Table([*columns.split(), "ms_over_dense"], rows, self.title)


def compare(
    models: Sequence[str] = (),
    recipe: Recipe | None = None,
    *,
    seeds: int = 1,
    out: str | Path | None = None,
    data_dir: str | Path | None = None,
    device: str = "auto",
    quiet: bool = False,
) -> Comparison:
    """Train every model with the same recipe and seeds, time them side by side, draw the trade-off.

    Args:
        models: names of the catalogue, all for the task of the data; by default those of `COMPARISONS`.
        recipe: what all of them share; its model is replaced by each, its options go to the models that have them,
            its seed is the first. Default: our recipe for the digits.
        seeds: runs of each model, with consecutive seeds.
        out: folder of the runs, `tradeoff.png`, `.svg` and `.csv`; default `runs/<date>_<time>_compare_<data>`. Naming
            the folder of an interrupted comparison continues it.
        data_dir: as in `fit`.
        device: as in `fit`; also where models are timed.
        quiet: as in `fit`.

    Raises:
        UnknownNameError: an unknown model, or an option that none of them has.
        UsageError: no seeds, or a recipe that holds training samples out: models are compared on test samples.
        InterruptedRunError: Ctrl-C; the message names the folder to continue in.
    """
    recipe = recipe or BASES["digits"]
    if recipe.holdout:
        raise UsageError(f"Models are compared on test samples; leave holdout={recipe.holdout} out.")
    if seeds < 1:
        raise UsageError(f"seeds must be at least 1; got {seeds}.")
    entries = [find(name) for name in dict.fromkeys(models or COMPARISONS[SETS[recipe.data].task])]
    recipes = {entry.name: replace(recipe, model=entry.name, options=_fitting(recipe, entry)) for entry in entries}
    _check_options(recipe.options, entries)
    pick_device(device)
    check_drawing()
    folder = Path(out or f"runs/{datetime.now():%Y-%m-%d_%H%M%S}_compare_{recipe.data}")
    records = {
        name: [
            _train(replace(r, seed=recipe.seed + n), folder, data_dir=data_dir, device=device, quiet=quiet)
            for n in range(seeds)
        ]
        for name, r in recipes.items()
    }
    comparison = _compare_records(records, recipe, folder, device)
    points = [Point(r.model, r.family, r.parameters, mean(r.test), deviation(r.test)) for r in comparison.rows]
    label = score_of(recipe.data).label
    draw_tradeoff(points, folder / "tradeoff", comparison.title, rows=comparison.data(), label=label)
    return comparison


def _train(recipe: Recipe, folder: Path, **where: Any) -> dict[str, Any]:
    try:
        return fit(recipe, folder=folder / f"{recipe.model}_s{recipe.seed}", **where).record
    except (InterruptedRunError, KeyboardInterrupt) as error:
        raise InterruptedRunError(
            f"Stopped and saved in {folder}. Continue: the same command with --out {shlex.quote(str(folder))}"
        ) from error


def _compare_records(records: dict[str, list[dict[str, Any]]], recipe: Recipe, folder: Path, device: str) -> Comparison:
    picked = pick_device(device)
    first = {name: runs[0] for name, runs in records.items()}
    shape = tuple(next(iter(first.values()))["input"])
    timed = {}
    for name, record in first.items():
        options = ModelOptions(**record["recipe"]["options"]).given()
        timed[name] = build(name, in_channels=shape[0], **options)
    batch = TIMED[SETS[recipe.data].task]
    times = latencies(timed, shape, batch_size=batch, device=picked, channels_last=recipe.layout != "channels_first")
    rows, score = [], score_of(recipe.data)
    for name, runs in records.items():
        dense = MODELS[name].dense or name
        against = round(times[name].median / times[dense].median, 3) if dense in times else None
        train, test = (tuple(score.of(run, split) for run in runs) for split in ("train", "test"))
        parameters, macs = runs[0]["parameters"], runs[0]["macs"]
        rows.append(Compared(name, MODELS[name].family, parameters, macs, train, test, times[name], against))
    seeds, threads = len(next(iter(records.values()))), torch.get_num_threads()
    return Comparison(tuple(rows), recipe, seeds, folder, picked.type, threads)


def _fitting(recipe: Recipe, entry: Entry) -> ModelOptions:
    """Those of the recipe's options that this model has."""
    known = option_names(entry)
    return ModelOptions(**{key: value for key, value in recipe.options.given().items() if key in known})


def _check_options(options: ModelOptions, entries: Sequence[Entry]) -> None:
    known = {name for entry in entries for name in option_names(entry)}
    for name in options.given():
        if name not in known:
            raise UnknownNameError(f"None of {', '.join(e.name for e in entries)} has an option '{name}'.")
