"""Where data lies and where to compute, shared by the commands that do; and a look at one flag before parsing."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Place:
    """Data and device."""

    data_dir: Path | None = None
    """Where data sets lie (default ./data; the digits need none)."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""


def value_of(flag: str, arguments: Sequence[str]) -> str | None:
    """The value that `flag` has among unparsed arguments, which decides the defaults of the others."""
    for index, word in enumerate(arguments):
        if word == flag and index + 1 < len(arguments):
            return arguments[index + 1]
        if word.startswith(f"{flag}="):
            return word.partition("=")[2]
    return None
