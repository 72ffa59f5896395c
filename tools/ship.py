"""Ship a finished run's weights with torchmg: weights, what is known of them, and their card.

    python tools/ship.py RUN NAME [--data-dir DATA_DIR]
    python tools/ship.py --cards           writes the cards of all that ship anew

NAME is that of the weights, by the rules of `torchmg.models.shipped`. The run's weights are read, checked and evaluated
on the test samples of its data, and have to reach what the record says. Then torchmg/weights/MODEL/ gets
NAME.safetensors, a copy of the run's file; NAME.json; and NAME.md. Nothing that ships is overwritten.
"""

import argparse
import hashlib
import json
import shutil
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from torchmg.card import finished, run_card
from torchmg.data.samples import DataSet
from torchmg.errors import CheckpointError, TorchmgError, UsageError
from torchmg.models import shipped
from torchmg.models.catalog import MODELS
from torchmg.train.evaluate import evaluate
from torchmg.train.files import read_text
from torchmg.train.folder import RunFolder
from torchmg.train.model import data_for, model_for
from torchmg.train.recipe import BASES, Recipe
from torchmg.train.reproduce import allowed, predictions_of

MOST_BYTES = 5_000_000
MOST_CLASSES = 256
SLICE = 1_000
"""Test samples, the first of them, whose right answers are counted apart: so many travel with the tests."""
LICENSE = "apache-2.0"


def ship(folder: Path, name: str, data_dir: Path | None = None) -> Path:
    """Copy a finished run's weights into the package; returns where they lie.

    Raises:
        UsageError: a run that does not ship, a name against the rules, or one that is taken.
        CheckpointError: a run that is damaged, or does not reach what its record says.
        DataError: data that cannot be read.
    """
    run = RunFolder.existing(folder)
    record, recipe = run.record(), run.recipe()
    _check(run, recipe, name)
    if record is None or record["recipe"] != recipe.to_json():
        raise UsageError(f"{folder} has no record of its recipe: the run is not finished, or was changed.")
    out = shipped.FOLDER / recipe.model
    target = out / f"{name}{shipped.ENDING}"
    if target.exists():
        raise UsageError(f"{target} ships already, and a name never changes its meaning. Take the next revision.")
    data = data_for(recipe, data_dir)
    if data.hashes() != record["data"]:
        raise UsageError(f"The data in {data_dir or 'data'} are not those that {folder} was trained on.")
    model = model_for(recipe, data)
    run.read_weights(model)
    right, chosen = _answers(model, recipe, data)
    recorded = record["test_accuracy"] * len(chosen) / 100
    if abs(int(right.sum()) - recorded) > allowed(len(chosen)):
        raise CheckpointError(f"{folder} gives {int(right.sum())} right answers, its record says {recorded:.0f}.")
    values = {
        "format": shipped.FORMAT,
        "sha256": hashlib.sha256(run.weights.read_bytes()).hexdigest(),
        "classes": list(data.classes),
        **{key: list(getattr(data, key)) for key in ("mean", "std") if hasattr(data, key)},
        "test": {"samples": len(right), "right": int(right.sum()), "predictions": shipped.packed(chosen.tolist())},
        "slice": {"samples": len(right[:SLICE]), "right": int(right[:SLICE].sum())},
        "record": json.loads(read_text(run.record_file)),
    }
    out.mkdir(parents=True, exist_ok=True)
    about = target.with_suffix(".json")
    about.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    write_card(about)
    shutil.copyfile(run.weights, target)  # last: without it there are no weights of this name
    return target


def write_card(about: Path) -> None:
    """Write the card of what a NAME.json describes beside it."""
    about.with_suffix(".md").write_text(run_card(finished(about), license=LICENSE), encoding="utf-8")


def _check(run: RunFolder, recipe: Recipe, name: str) -> None:
    """Raise `UsageError` unless the run is one that ships, under this name."""
    form = shipped.NAME.fullmatch(name)
    short = recipe.epochs if recipe.epochs < BASES[recipe.base].epochs else None
    words = f"{recipe.data}[_WORDS]{f'_s{short}' if short else ''}_r1"
    if form is None or not f"{form['data']}_".startswith(f"{recipe.data}_"):
        raise UsageError(f"{name} is no name for these weights; it has the form {words}.")
    if (form["epochs"] and int(form["epochs"])) != short:
        raise UsageError(f"{name} does not say how the run was shortened; it has the form {words}.")
    if recipe.seed != 0 or recipe.model not in MODELS or recipe.subset or recipe.fold is not None:
        raise UsageError("Only seed 0 of a model of the catalogue, trained on all samples, ships.")
    if MODELS[recipe.model].task not in ("classify", "points"):
        raise UsageError(f"{recipe.model} is no classifier, and shipped predictions are classes.")
    size = run.weights.stat().st_size if run.weights.is_file() else 0
    if size > MOST_BYTES:
        raise UsageError(f"{run.weights} has {size:,} bytes; at most {MOST_BYTES:,} ship.")


def _answers(model: nn.Module, recipe: Recipe, data: DataSet) -> tuple[Tensor, Tensor]:
    """Of each test sample whether the class is right, and the class, computed on the CPU."""
    if data.num_classes > MOST_CLASSES:
        raise UsageError(f"{data.name} has {data.num_classes} classes; predictions are stored as bytes.")
    with predictions_of(model) as batches:
        evaluate(model, data, "test", channels_last=recipe.layout != "channels_first", precision=recipe.precision)
    chosen = torch.cat(batches)
    _, targets = data.test.take(torch.arange(len(chosen)), None)
    return chosen == targets, chosen


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("name", nargs="?")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--cards", action="store_true")
    given = parser.parse_args()
    try:
        if given.cards:
            for about in sorted(shipped.FOLDER.glob("*/*.json")):
                write_card(about)
            return 0
        if given.name is None:
            parser.error("name a run folder and the weights, or --cards")
        print(ship(given.run, given.name, given.data_dir))
    except TorchmgError as error:
        print(f"ship: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
