"""What a file format has to be able to do, and the one that a file's name asks for."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.export import ExportedProgram

Facts = Mapping[str, str]
"""What a file says about itself, as text by name."""


class Format(ABC):
    """One file format."""

    name: str
    """For people, with the version of the format where it has one."""
    opset: int | None = None
    """Version of ONNX's operators."""

    @abstractmethod
    def versions(self) -> dict[str, str]:
        """Package -> version of what writes the file and of what reads it for the check.

        Raises:
            MissingExtraError: one of them is absent.
        """

    @abstractmethod
    def write(self, program: ExportedProgram, path: Path, facts: Facts) -> None:
        """Write `program` to `path`, whatever its ending.

        Raises:
            ExportError: the format cannot hold it.
            OSError: the file cannot be written.
        """

    @abstractmethod
    def read(self, path: Path, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
        """The file as a function of a (batch, *input) tensor of type `dtype`.

        Raises:
            ExportError: nothing here can run it.
        """
