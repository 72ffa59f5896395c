"""Archives of torch.export: a graph and its weights that torch runs without the model's Python code."""

import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.export import ExportedProgram

from torchmg.errors import ExportError
from torchmg.exporting.formats import Facts, Format
from torchmg.inference.capture import reason


class Archive(Format):
    """`.pt2`: read by `torch.export.load(path).module()`, also from C++ after ahead-of-time compilation."""

    name = "torch.export archive"

    def versions(self) -> dict[str, str]:
        """Of torch, which needs nothing else."""
        return {"torch": str(torch.__version__)}

    def write(self, program: ExportedProgram, path: Path, facts: Facts) -> None:
        """Save; facts become extra files `torchmg.<name>`."""
        with path.open("wb") as file:
            try:
                torch.export.save(program, file, extra_files={f"torchmg.{name}": text for name, text in facts.items()})
            except OSError:
                raise
            except Exception as error:
                raise ExportError(f"torch.export cannot save this model: {reason(error)}") from error

    def read(self, path: Path, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
        """The loaded program."""
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given buffer is not writable")  # torch 2.11 about its own buffers
            try:
                return torch.export.load(file).module()
            except Exception as error:
                raise ExportError(f"torch.export cannot load what it saved: {reason(error)}") from error
