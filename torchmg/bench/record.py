"""What a benchmark leaves: a JSON file with numbers, command, machine and versions."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from torchmg.bench.engines import versions
from torchmg.errors import DataError
from torchmg.train.environment import environment


def write_record(
    path: Path,
    rows: Sequence[Mapping[str, Any]],
    command: str | None = None,
    *,
    device: torch.device | str = "cpu",
    **more: Any,
) -> None:
    """Write `{"command", "environment", "engines", ..., "rows"}`; numbers keep four digits.

    Args:
        path: a .json file.
        rows: what was measured.
        command: that made it; by default the one that is running, without folders.
        device: where it was measured.
        **more: such as the machine's peaks, or what was left out.

    Raises:
        DataError: the file cannot be written.
    """
    if command is None:
        command = " ".join(["python", *("benchmarks/" * a.endswith(".py") + Path(a).name for a in sys.argv)])
    record = {
        "command": command,
        "environment": environment(torch.device(device)),
        "engines": versions(),
        **more,
        "rows": list(rows),
    }
    beside = path.with_name(f".{path.name}")
    try:  # a record that is written again and again is whole at any time
        beside.write_text(json.dumps(rounded(record), indent=2) + "\n")
        beside.replace(path)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}.") from error


def rounded(value: Any) -> Any:
    """The same with floats of four significant digits, which is more than a busy machine gives."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, Mapping):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    return value
