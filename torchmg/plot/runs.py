"""What training runs left behind, read and checked: which folders are runs, and their logs."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from math import isfinite
from pathlib import Path

from torchmg.errors import CheckpointError
from torchmg.train.folder import RunFolder
from torchmg.train.recipe import Recipe
from torchmg.train.scores import Score


def logged(score: Score) -> tuple[str, ...]:
    """The columns of `log.csv` that are drawn, of runs with this score."""
    return ("epoch", "lr", "train_loss", f"train_{score.key}", "test_loss", f"test_{score.key}")


def run_folders(paths: Iterable[str | Path]) -> list[RunFolder]:
    """The run folders among `paths`, and those up to two folders deep in the others, each once.

    Raises:
        CheckpointError: a path that is no run folder and holds none; the message names those beside it.
    """
    found: dict[Path, RunFolder] = {}
    for path in map(Path, paths):
        inside = [] if (path / "config.json").is_file() else runs_inside(path)
        for run in inside or [RunFolder.existing(path)]:
            found.setdefault(run.path.resolve(), run)
    return list(found.values())


def runs_inside(path: Path) -> list[RunFolder]:
    """The run folders in a folder and in its folders, by name."""
    configs = [*path.glob("*/config.json"), *path.glob("*/*/config.json")] if path.is_dir() else []
    return [RunFolder(config.parent) for config in sorted(configs)]


def read_log(run: RunFolder, score: Score) -> list[dict[str, float]]:
    """The rows of a run's `log.csv`, one for each finished epoch; none before the first.

    Raises:
        CheckpointError: the log is damaged; the message names the line.
    """
    path = run.path / "log.csv"
    if not path.is_file():
        return []
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}.") from error
    reader = csv.DictReader(text.splitlines())
    if missing := [name for name in logged(score) if name not in (reader.fieldnames or ())]:
        raise CheckpointError(
            f"{path}, line 1: no column {', '.join(missing)}. It is not the log of a run, or damaged."
        )
    wanted = logged(score)
    return [{name: _number(row[name], f"{path}, line {reader.line_num}", name) for name in wanted} for row in reader]


def _number(text: str | None, where: str, column: str) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = float("nan")
    if not isfinite(value):
        raise CheckpointError(f"{where}: {column} is {text!r}, not a finite number. The log is damaged.")
    return value


def distinct_names(recipes: Sequence[Recipe]) -> list[str]:
    """A name for each recipe: its model, and those settings in which not all of the recipes agree.

    Where all have one model but different couplings, the coupling stands for it.
    """
    settings = [{**asdict(recipe), **asdict(recipe.options)} for recipe in recipes]
    varying = [
        key
        for key in (settings[0] if settings else ())
        if key not in ("model", "options") and any(s[key] != settings[0][key] for s in settings)
    ]
    named = "model"
    if len({recipe.model for recipe in recipes}) == 1 and all(recipe.options.coupling for recipe in recipes):
        named = "coupling" if "coupling" in varying else "model"
    return [
        " ".join(
            [
                s[named].rpartition("/")[2],
                *(f"{key}={s[key]}" for key in varying if key != named and s[key] is not None),
            ]
        )
        for s in settings
    ]
