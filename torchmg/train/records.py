"""Records of finished runs, read and checked: `record.json`, and the copies of it in `results/`. No torch."""

import json
from math import isfinite
from pathlib import Path
from typing import Any

from torchmg.errors import CheckpointError
from torchmg.train.files import read_text
from torchmg.train.recipe import Recipe


def read_record(path: Path) -> tuple[Recipe, dict[str, Any]]:
    """The recipe in a `record.json`, and all of the record.

    Raises:
        CheckpointError: it is not a record, or damaged; the message says where.
        UsageError: its recipe has settings that this version does not know.
    """
    try:
        record = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise CheckpointError(f"{path}, line {error.lineno}: {error.msg}. It is not a record, or damaged.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}.") from error
    kinds = {"recipe": dict, "parameters": int, "macs": int, "train_accuracy": float, "test_accuracy": float}
    for key, kind in kinds.items():
        value = record.get(key) if isinstance(record, dict) else None
        if not isinstance(value, kind) or (isinstance(value, float) and not isfinite(value)):
            raise CheckpointError(f"{path} is not the record of a finished run: its '{key}' is {value!r}.")
    return Recipe.from_json(record["recipe"], str(path)), record
