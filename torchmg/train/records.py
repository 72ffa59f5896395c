"""Records of finished runs, read and checked: `record.json`, and the copies of it in `results/`. No torch."""

import json
from math import isfinite
from pathlib import Path
from typing import Any

from torchmg.errors import CheckpointError
from torchmg.train.files import read_text
from torchmg.train.recipe import Recipe
from torchmg.train.scores import score_of


def read_record(path: Path) -> tuple[Recipe, dict[str, Any]]:
    """The recipe in a `record.json`, and all of the record.

    Raises:
        CheckpointError: it is not a record, damaged, or of a run without test score; the message says where.
        UsageError: its recipe has settings that this version does not know.
    """
    record = read_json(path)
    return recipe_of(record, path), record


def read_json(path: Path) -> Any:
    """What a record's file holds.

    Raises:
        CheckpointError: it cannot be read, or is no JSON; the message says where.
    """
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise CheckpointError(f"{path}, line {error.lineno}: {error.msg}. It is not a record, or damaged.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}.") from error


def recipe_of(record: Any, path: Path) -> Recipe:
    """The recipe in what should be a record, read from `path`.

    Raises:
        CheckpointError: it is not a record, or damaged.
        UsageError: its recipe has settings that this version does not know.
    """
    _check(record, {"recipe": dict, "parameters": int, "macs": int}, path)
    recipe = Recipe.from_json(record["recipe"], str(path))
    if recipe.holdout:
        raise CheckpointError(
            f"{path} has no test score: it was scored on {recipe.holdout:,} training samples that were held out. "
            "Such runs choose settings; train without holdout for a result."
        )
    key = score_of(recipe.data).key
    _check(record, {f"train_{key}": float, f"test_{key}": float}, path)
    return recipe


def _check(record: Any, kinds: dict[str, type], path: Path) -> None:
    for key, kind in kinds.items():
        value = record.get(key) if isinstance(record, dict) else None
        if not isinstance(value, kind) or (isinstance(value, float) and not isfinite(value)):
            raise CheckpointError(f"{path} is not the record of a finished run: its '{key}' is {value!r}.")
