"""`torchmg.export`: a network as a file that has been verified."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from torchmg import __version__
from torchmg.errors import UsageError
from torchmg.exporting.archive import Archive
from torchmg.exporting.capture import capture, folded_or_itself, frozen_copy, input_type
from torchmg.exporting.checks import TOLERANCE, Check, compare, eager, samples
from torchmg.exporting.formats import Format
from torchmg.exporting.onnx_file import OnnxFile
from torchmg.tables import Table
from torchmg.train.files import write_atomic

FORMATS: dict[str, type[Format]] = {".onnx": OnnxFile, ".pt2": Archive}
"""Ending of a file's name -> its format."""


@dataclass(frozen=True)
class Exported:
    """A file that was written and verified; `print` shows a table."""

    path: Path
    format: str
    """Of the file, with ONNX's opset."""
    opset: int | None
    """Version of ONNX's operators; None for archives of torch.export."""
    bytes: int
    """Size of the file."""
    input: tuple[int, ...]
    """Shape of one sample; the batch size is free."""
    dtype: str
    """Type of input and output."""
    tolerance: float
    """Largest relative difference that was allowed."""
    checks: tuple[Check, ...]
    """One for each batch size."""
    versions: Mapping[str, str]
    """Package -> version of what wrote the file and of what read it for the check."""

    def table(self) -> Table:
        """A row for each batch size at which file and network were compared."""
        size = " x ".join(("batch", *map(str, self.input)))
        title = f"{self.path}: {self.format}, {self.bytes:,} bytes, input {size}, {self.dtype}"
        note = (
            f"Verified on seeded inputs, CPU: relative to the largest output, at most {self.tolerance:.0e} is allowed. "
            f"{', '.join(f'{package} {version}' for package, version in self.versions.items())}"
        )
        rows = [(check.batch, check.absolute, check.relative, check.same_argmax) for check in self.checks]
        return Table(["batch", "largest difference", "relative", "same argmax %"], rows, title, note)

    def __str__(self) -> str:
        return str(self.table())


def export(
    model: nn.Module,
    path: str | Path,
    input: tuple[int, ...] = (3, 32, 32),  # noqa: A002
    about: Mapping[str, Any] | None = None,
) -> Exported:
    """Write a network to a file that other programs run, for any batch size, and verify it.

    The file computes what the network does in evaluation mode. It is read again, by onnxruntime or torch, and compared
    with the network on seeded inputs of 1, 2 and 5 samples on the CPU; only then does it take its place.

    Args:
        model: takes one (batch, *input) tensor and returns one tensor. It is left as it is; a copy is exported, hooks
            with it, because what they return is part of what the network computes.
        path: ends in `.onnx` (opset 18, needs the extra `export`) or `.pt2` (torch.export). An older file is replaced.
        input: shape of one sample, without the batch axis.
        about: facts for the file's metadata, beside torchmg's version, the class and the shape; text, or else stored
            as JSON.

    Raises:
        UsageError: another ending, no such folder, an impossible shape.
        ShapeError: the network does not run on it.
        MissingExtraError: `.onnx` without onnx, onnxscript and onnxruntime: nothing is written unverified.
        ExportError: the format cannot hold the network, or the file computes something else; none is left behind.
        CheckpointError: the file cannot be written.
    """
    path = Path(path)
    file_format = _format(path)
    if not input or any(not isinstance(n, int) or n < 1 for n in input):
        raise UsageError(f"input must be positive sizes such as (3, 32, 32); got {input!r}.")
    versions = file_format.versions()
    twin, dtype = frozen_copy(model), input_type(model)
    inputs = samples(tuple(input), dtype)
    expected = eager(twin, inputs)
    program = capture(folded_or_itself(twin, tuple(input), dtype), inputs[1])
    facts = {"version": __version__, "model": type(model).__name__, "input": list(input), **(about or {})}
    checks: list[Check] = []

    def write(new: Path) -> None:
        file_format.write(program, new, {key: _text(value) for key, value in facts.items()})
        checks.extend(compare(file_format.read(new, dtype), inputs, expected))

    write_atomic(path, write)
    return Exported(
        path=path,
        format=file_format.name,
        opset=file_format.opset,
        bytes=path.stat().st_size,
        input=tuple(input),
        dtype=str(dtype).removeprefix("torch."),
        tolerance=TOLERANCE[expected[0].dtype],
        checks=tuple(checks),
        versions=versions,
    )


def _format(path: Path) -> Format:
    if path.suffix not in FORMATS:
        raise UsageError(f"{path} must end in {' or '.join(FORMATS)}, for ONNX or torch.export.")
    if not path.parent.is_dir():
        raise UsageError(f"There is no folder {path.parent} to write {path.name} in. Make it first.")
    if path.is_dir():
        raise UsageError(f"{path} is a folder. Name a file.")
    return FORMATS[path.suffix]()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
