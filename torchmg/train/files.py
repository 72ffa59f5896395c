"""Writing files so that a kill at any moment leaves the old one or the new one, never a part."""

import json
import os
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from torchmg.errors import CheckpointError


def read_text(path: Path) -> str:
    """The text of a regular file; of a pipe in its place, where reading would wait for a writer for ever, an error.

    Raises:
        OSError: it cannot be read, or is no regular file.
        UnicodeDecodeError: it is not UTF-8.
    """
    if os.path.lexists(path) and not path.is_file():
        raise OSError("it is not a regular file")
    return path.read_text(encoding="utf-8")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say in one sentence when the system refuses to write `path`.

    Raises:
        CheckpointError: the disk is full, the folder read-only, or the like.
    """
    try:
        yield
    except OSError as error:
        is_run = os.path.lexists(path.with_name("config.json"))
        then = f", then continue: torchmg train --resume {shlex.quote(str(path.parent))}" if is_run else ""
        raise CheckpointError(
            f"{path} cannot be written: {error.strerror or error}. What was saved before, checkpoints too, is intact. "
            f"Make room or allow writing there{then}."
        ) from error


def write_atomic(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a new file beside `path`, flush it to the disk, and only then put it in `path`'s place.

    Raises:
        CheckpointError: it cannot be written; what was at `path` is as it was.
    """
    new = path.with_name(f".{path.name}.new")
    with writing(path):
        try:
            write(new)
            with new.open("rb+") as file:
                os.fsync(file.fileno())
            new.replace(path)
        except BaseException:
            with suppress(OSError):
                new.unlink(missing_ok=True)
            raise


def write_json(path: Path, value: Any) -> None:
    """Atomically write `value` as indented JSON."""
    write_atomic(path, lambda new: new.write_text(json.dumps(value, indent=2) + "\n"))


def write_text(path: Path, text: str) -> None:
    """Atomically write `text`."""
    write_atomic(path, lambda new: new.write_text(text))


def set_aside(path: Path) -> Path:
    """Rename whatever lies at `path` to `<name>.damaged`, or `.damaged2` and so on; returns where it lies now."""
    names = (path.with_name(f"{path.name}.damaged{number}") for number in ("", *range(2, 1000)))
    aside = next(name for name in names if not os.path.lexists(name))
    with writing(path):
        path.rename(aside)
    return aside
