"""A small search for a recipe, scored on training samples that are held out; the test set is not looked at.

Successive halving (Jamieson and Talwalkar 2016, algorithm 1): a fixed list of candidates is trained for few epochs, the
best third for three times as many, and so on until one is left. Every run starts anew and takes its own schedule to the
end, because a score in the middle of a cosine says little about its end; that costs a third more than going on.

Optuna and Ray have this scheduler too. They keep trials in stores and workers of their own, which a run folder that
continues bit for bit already is; what would be left for them to do are the thirty lines of `_halve`.
"""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from torchmg.data.names import DATASETS, check_pictures
from torchmg.data.sets import loaded_once
from torchmg.errors import DivergedError, UsageError
from torchmg.hierarchy import check_choice
from torchmg.models.catalog import find
from torchmg.models.options import ModelOptions
from torchmg.models.registry import create
from torchmg.nn.norm import zero_last_norms
from torchmg.study.runs import RunsLine, train_one
from torchmg.study.space import MIRRORS, candidates, space_for
from torchmg.tables import Table
from torchmg.train.engine import pick_device
from torchmg.train.files import write_text
from torchmg.train.recipe import BASES, Recipe

HOLDOUT: Mapping[str, int] = {"digits": 288, "stl10": 1000}
"""Training samples that are held out of the small sets, about a fifth; of the others 5,000."""
SEEDS = (0, 1, 2)
"""Of the runs on the test set."""


@dataclass(frozen=True)
class RecipeStudy:
    """What `study_recipe` found, and where."""

    record: dict[str, Any]
    """As in `search.json`."""
    folder: Path
    winner: Recipe
    """The best candidate with all of the training samples and the final number of epochs."""
    final: tuple[dict[str, Any], ...]
    """Records of the winner's runs on the test set, if there were any."""

    def table(self) -> Table:
        """A row for each candidate, the best first."""
        return search_table(self.record)

    def final_table(self) -> Table:
        """The winner on the test set, a row for each seed; with mirrored pictures in a column of its own."""
        rows = [
            tuple(record.get(key) for key in ("train_accuracy", "test_accuracy", "test_flip_accuracy"))
            for record in self.final
        ]
        cells = [(seed, *row) for seed, row in zip(SEEDS, rows, strict=False)]
        return Table(["seed", "train %", "test %", "test % with mirror image"], cells, "The winner on the test set")

    def data(self) -> Table:
        """A row for each run of the search, in the order in which they were made."""
        columns = ["candidate", "epochs", "score", "loss", "train", "seconds"]
        rows = [(*(run[key] for key in columns), _settings(run["settings"])) for run in self.record["runs"]]
        return Table([*columns, "settings"], rows, self.table().title)


def study_recipe(
    model: str,
    data: str = "digits",
    *,
    options: ModelOptions | None = None,
    number: int = 27,
    epochs: int = 1,
    keep: int = 3,
    holdout: int | None = None,
    subset: int = 0,
    final_epochs: int | None = None,
    final: bool = False,
    seed: int = 0,
    minutes: float = math.inf,
    out: str | Path | None = None,
    data_dir: str | Path | None = None,
    device: str = "auto",
    quiet: bool = False,
) -> RecipeStudy:
    """Search for the settings that train a model best, by samples that are held out of the training set.

    Args:
        model: of the catalogue, for labelled pictures.
        data: a set of labelled pictures in memory; its recipe is the first candidate and gives what is not searched.
        options: of the model.
        number: of candidates, see `torchmg.study.space`.
        epochs: of the first rung.
        keep: one of so many candidates goes on to the next rung, which has so many times the epochs.
        holdout: training samples to score by; default 5,000, fewer of small sets.
        subset: train on so many samples only; 0: on all that are not held out.
        final_epochs: of the winner; default those of the recipe of the data. It shortens nothing in the search.
        final: afterwards train the winner on all training samples with `SEEDS`, and score it on the test set.
        seed: of the list of candidates, and of every run of the search.
        minutes: when they are over, everything is saved, and `InterruptedRunError` says how to go on.
        out: folder of the runs and of `search.json`; default `runs/<date>_<time>_study_recipe_<data>`. Naming the
            folder of a stopped search continues it, to the same record but for seconds and date.
        data_dir: as in `torchmg.fit`.
        device: as in `torchmg.fit`.
        quiet: no progress on standard error.

    Raises:
        UnknownNameError: an unknown model or data set; the message names the nearest.
        UsageError: data that are no labelled pictures in memory, fewer than two candidates, or numbers below 1.
        DivergedError: every candidate did.
        InterruptedRunError: Ctrl-C, or the minutes are over.
        ResumeError: `out` holds a search with other settings.
        DataError: the data cannot be read.
    """
    base = _base(model, data, options, seed)
    holdout = HOLDOUT.get(data, 5000) if holdout is None else holdout
    final_epochs = base.epochs if final_epochs is None else final_epochs
    _check(number=(number, 2), epochs=(epochs, 1), keep=(keep, 2), holdout=(holdout, 1), final_epochs=(final_epochs, 1))
    if not minutes > 0:
        raise UsageError(f"minutes must be above 0; got {minutes}.")
    pick_device(device)
    folder = Path(out or f"runs/{datetime.now():%Y-%m-%d_%H%M%S}_study_recipe_{data}")
    space = space_for(data, zero_init=zero_last_norms(create(model, **base.options.given())) > 0)
    drawn = candidates(base, space, number, seed)
    recipes = [replace(base, holdout=holdout, subset=subset, **settings) for settings in drawn]
    records: dict[str, dict[str, Any]] = {}
    deadline = time.monotonic() + 60 * minutes
    place: dict[str, Any] = {"data_dir": data_dir, "device": device, "deadline": deadline}
    rungs = rung_sizes(number, keep)
    with loaded_once():
        with RunsLine(sum(rungs), quiet) as line:

            def trained(rung: int, candidate: int) -> dict[str, Any]:
                recipe = replace(recipes[candidate], epochs=epochs * keep**rung)
                name = f"rung{rung}/c{candidate:02}"
                run = {"candidate": candidate, "epochs": recipe.epochs, "settings": drawn[candidate]}
                try:
                    record = records[name] = train_one(name, recipe, folder, line, **place)
                except DivergedError:
                    return {**run, "score": None, "loss": None, "train": None, "seconds": None}
                score, loss, train = (record[key] for key in ("holdout_accuracy", "holdout_loss", "train_accuracy"))
                return {**run, "score": score, "loss": loss, "train": train, "seconds": record["seconds"]}

            best, runs = _halve(rungs, trained)
        if best["score"] is None:
            raise DivergedError("Every candidate diverged. Search with more candidates, or for another model.")
        first = next(iter(records.values()))
        given = {"seed": seed, "subset": subset, "candidates": number, "keep": keep, "final_epochs": final_epochs}
        record = {
            "model": model,
            "data": data,
            "options": base.options.given(),
            **given,
            "holdout": holdout,
            "epochs": epochs,
            "space": {name: list(values) for name, values in space.items()},
            "runs": runs,
            "winner": {key: best[key] for key in ("candidate", "settings")},
            **{key: first[key] for key in ("parameters", "macs", "environment")},
            "hashes": first["data"],
        }
        winner = winning(record)
        record["command"] = winner.command()
        write_text(folder / "search.json", json.dumps(record, indent=2) + "\n")
        finals = []
        if final:
            with RunsLine(len(SEEDS), quiet) as line:
                named = {f"final_s{s}": replace(winner, seed=s) for s in SEEDS}
                finals = [train_one(name, recipe, folder, line, **place) for name, recipe in named.items()]
    return RecipeStudy(record, folder, winner, tuple(finals))


def rung_sizes(number: int, keep: int) -> list[int]:
    """How many candidates each rung trains: all, then one of `keep`, rounded up, as long as there are several."""
    sizes = [number]
    while (left := math.ceil(sizes[-1] / keep)) > 1:
        sizes.append(left)
    return sizes


def winning(record: Mapping[str, Any]) -> Recipe:
    """The recipe that a search's record says is best: without hold-out, for the test set.

    A winner that was trained on mirrored pictures is also scored with them (`flip_test`).
    """
    base, settings = BASES[record["data"]], record["winner"]["settings"]
    best = replace(base, model=record["model"], options=ModelOptions(**record["options"]), **settings)
    return replace(best, epochs=record["final_epochs"], flip_test=best.augment in MIRRORS)


def search_table(record: Mapping[str, Any]) -> Table:
    """A search's record for people: a row for each candidate, the one that got furthest first."""
    lengths = sorted({run["epochs"] for run in record["runs"]})
    rows: dict[int, dict[int, Mapping[str, Any]]] = {}
    for run in record["runs"]:
        rows.setdefault(run["candidate"], {})[run["epochs"]] = run

    def merit(candidate: int) -> tuple[int, tuple[float, float, int]]:
        return -len(rows[candidate]), _merit(rows[candidate][max(rows[candidate])])

    cells = []
    for candidate in sorted(rows, key=merit):
        of = rows[candidate]
        reached = [_reached(of[length]) if length in of else "" for length in lengths]
        settings = _settings(next(iter(of.values()))["settings"]) or "the recipe of the data"
        cells.append((str(candidate), settings, *reached, f"{sum(run['seconds'] or 0 for run in of.values()):.0f}"))
    options = "".join(f", {name}={value}" for name, value in record["options"].items())
    title = f"{record['data']}, {record['model']}{options}, {record['candidates']} candidates"
    part = f" trained on {record['subset']:,} others," if record["subset"] else ""
    note = (
        f"Accuracy in percent on {record['holdout']:,} training samples that were held out,{part} after the epochs in "
        f"the head of the column; seed {record['seed']}. The best of one rung go on to the next; ties go to the lower "
        "loss."
    )
    heads = [f"{length} epoch{'s' if length > 1 else ''}" for length in lengths]
    return Table(["candidate", "settings", *heads, "seconds"], cells, title, note)


def _halve(
    rungs: Sequence[int], trained: Callable[[int, int], dict[str, Any]]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The best run of the last rung, and all runs.

    Args:
        rungs: how many candidates each rung has.
        trained: (rung, candidate) -> the run.
    """
    runs: list[dict[str, Any]] = []
    ranked: Sequence[dict[str, Any]] = [{"candidate": candidate} for candidate in range(rungs[0])]
    for rung, size in enumerate(rungs):
        chosen = sorted(run["candidate"] for run in ranked[:size])
        made = [trained(rung, candidate) for candidate in chosen]
        runs += made
        ranked = sorted(made, key=_merit)
    return ranked[0], runs


def _merit(run: Mapping[str, Any]) -> tuple[float, float, int]:
    """The lower the better: by score, then by loss, then the earlier candidate; what diverged is last."""
    if run["score"] is None:
        return math.inf, math.inf, run["candidate"]
    return -run["score"], run["loss"], run["candidate"]


def _base(model: str, data: str, options: ModelOptions | None, seed: int) -> Recipe:
    check_choice("data", data, tuple(DATASETS))
    check_pictures("The search", data)
    find(model)
    return replace(BASES[data], model=model, options=options or ModelOptions(), seed=seed)


def _check(**numbers: tuple[int, int]) -> None:
    for name, (value, least) in numbers.items():
        if not isinstance(value, int) or value < least:
            raise UsageError(f"{name} must be a whole number, at least {least}; got {value!r}.")


def _settings(settings: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in settings.items())


def _reached(run: Mapping[str, Any]) -> str:
    return "diverged" if run["score"] is None else f"{run['score']:.2f}"
