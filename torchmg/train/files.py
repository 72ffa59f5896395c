"""Writing files so that a kill at any moment leaves the old one or the new one, never a part."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def write_atomic(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a new file beside `path`, flush it to the disk, and only then put it in `path`'s place."""
    new = path.with_name(f".{path.name}.new")
    try:
        write(new)
        with new.open("rb+") as file:
            os.fsync(file.fileno())
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Atomically write `value` as indented JSON."""
    write_atomic(path, lambda new: new.write_text(json.dumps(value, indent=2) + "\n"))


def write_text(path: Path, text: str) -> None:
    """Atomically write `text`."""
    write_atomic(path, lambda new: new.write_text(text))
