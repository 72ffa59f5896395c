"""Finished runs as points of a trade-off: those that differ in nothing but their seed make one, with its spread."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

from torchmg.errors import CheckpointError, UsageError
from torchmg.hierarchy import check_choice
from torchmg.models.catalog import MODELS
from torchmg.plot.picture import Picture, check_stem
from torchmg.plot.points import SIZES, Point, Size, draw_tradeoff
from torchmg.plot.runs import distinct_names, run_folders, runs_inside
from torchmg.tables import Table, deviation
from torchmg.train.recipe import Recipe
from torchmg.train.records import read_record
from torchmg.train.scores import score_of

COLUMNS = ("name", "model", "family", "parameters", "macs", "seeds", "test_mean", "test_std", "train_mean", "train_std")


@dataclass(frozen=True)
class Result:
    """The finished runs of one recipe, one for each seed."""

    name: str
    recipe: Recipe
    records: tuple[dict[str, Any], ...]

    @property
    def family(self) -> str:
        """The catalogue's, or the model's name for a user's own; another coupling makes another family."""
        model, coupling = self.recipe.model, self.recipe.options.coupling
        family = MODELS[model].family if model in MODELS else model
        return f"{family} {coupling}" if coupling else family

    def spread(self, split: str) -> tuple[float, float | None]:
        """Mean score over seeds, and the standard deviation where there are several."""
        values = [score_of(self.recipe.data).of(record, split) for record in self.records]
        return mean(values), deviation(values)

    def point(self, size: Size) -> Point:
        """This result in the picture."""
        return Point(self.name, self.family, self.records[0][size], *self.spread("test"))


def tradeoff(sources: Sequence[str | Path], stem: str | Path = "tradeoff", size: Size = "parameters") -> Picture:
    """Draw the test score over size from what finished runs recorded.

    Runs that differ only in their seed make one point: the mean, with a bar of one standard deviation to each side.
    Points are named by their model and the settings in which they differ.

    Args:
        sources: run folders, records (`record.json`, or copies of it), or folders of either. Unfinished runs are left
            out, and so are repeats of a recipe with the same seed; the note of the table says so.
        stem: file name without ending; `.png`, `.svg` and `.csv` are written, those of an earlier picture replaced.
        size: `parameters`, or `macs` for the multiply-accumulates of one sample.

    Raises:
        CheckpointError: nothing finished, not a run folder or record, or a damaged one.
        UsageError: results on different data, or files that cannot be written or would replace another table.
        MissingExtraError: matplotlib is not installed.
    """
    check_choice("size", size, tuple(SIZES))
    stem = check_stem(stem, COLUMNS)
    files, unfinished = _records(sources)
    if not files:
        raise CheckpointError(f"No run is finished yet: {', '.join(unfinished)}. Continue: torchmg train --resume RUN")
    read = [(file, *read_record(file)) for file in files]
    _check_same_data(read)
    results, repeats = _grouped([(recipe, record) for _, recipe, record in read])
    notes = [f"Left out, not finished: {', '.join(unfinished)}."] if unfinished else []
    if repeats:
        notes.append(f"Left out, repeats of the same recipe and seed: {repeats}.")
    title = _title(results)
    rows = [
        (
            *(r.name, r.recipe.model, r.family, r.records[0]["parameters"], r.records[0]["macs"], len(r.records)),
            *(*r.spread("test"), *r.spread("train")),
        )
        for r in results
    ]
    table = Table(COLUMNS, rows, title, " ".join(notes))
    label = score_of(results[0].recipe.data).label
    return draw_tradeoff([result.point(size) for result in results], stem, title, rows=table, size=size, label=label)


def _records(sources: Sequence[str | Path]) -> tuple[list[Path], list[str]]:
    """Files of records, each once, and the names of run folders that have none yet."""
    if not sources:
        raise UsageError("Name at least one run folder or record, or a folder of them such as runs.")
    files: list[Path] = []
    unfinished = []
    for source in map(Path, sources):
        if source.is_file():
            files.append(source)
            continue
        is_run = (source / "config.json").is_file() or runs_inside(source)
        if not is_run and (copies := sorted(source.glob("*.json"))):
            files += copies
            continue
        for run in run_folders([source]):
            if run.record_file.exists():
                files.append(run.record_file)
            else:
                unfinished.append(run.path.name)
    return list({file.resolve(): file for file in files}.values()), unfinished


def _check_same_data(read: Sequence[tuple[Path, Recipe, dict[str, Any]]]) -> None:
    """Accuracies on different test images do not belong in one picture."""
    kinds: dict[tuple[str, str], list[str]] = {}
    for file, recipe, record in read:
        pixels = next((str(h) for name, h in (record.get("data") or {}).items() if name.startswith("test_")), "")
        name = file.parent.name if file.name == "record.json" else file.name
        kinds.setdefault((recipe.data, pixels[:8]), []).append(name)
    if len(kinds) > 1:
        listed = "; ".join(
            f"{data} (test images {pixels or '?'}): {', '.join(n)}" for (data, pixels), n in kinds.items()
        )
        raise UsageError(f"These results are on different data and cannot share a picture: {listed}.")


def _grouped(runs: Sequence[tuple[Recipe, dict[str, Any]]]) -> tuple[list[Result], int]:
    """One result for each recipe without its seed, and how many repeats were left out."""
    groups: dict[Recipe, dict[int, dict[str, Any]]] = {}
    for recipe, record in runs:
        groups.setdefault(replace(recipe, seed=0), {}).setdefault(recipe.seed, record)
    results = [
        Result(name, recipe, tuple(by_seed.values()))
        for name, (recipe, by_seed) in zip(distinct_names(list(groups)), groups.items(), strict=True)
    ]
    return results, len(runs) - sum(len(result.records) for result in results)


def _title(results: Sequence[Result]) -> str:
    epochs = sorted({result.recipe.epochs for result in results})
    seeds = sorted({len(result.records) for result in results})
    trained = f"{epochs[0]} epochs" if len(epochs) == 1 else f"{epochs[0]} to {epochs[-1]} epochs"
    counted = f"{seeds[0]} seed{'s' if seeds[0] > 1 else ''}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]} seeds"
    return f"{results[0].recipe.data}, {trained}, {counted}"
