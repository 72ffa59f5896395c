"""Parameters and MACs of a model, by module, level, role or kind."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from torchmg.counting.macs import forward_macs
from torchmg.errors import UsageError
from torchmg.hierarchy import check_choice
from torchmg.hierarchy.transforms import FFT_CONVENTION
from torchmg.nn.conv import GroupedLinear
from torchmg.nn.norm import NORMS
from torchmg.nn.transfer import Transfer
from torchmg.tables import Table

By = Literal["role", "level", "kind", "module"]


@dataclass(frozen=True)
class Row:
    """One module that has parameters or does work of its own."""

    module: str
    kind: str
    role: str
    level: int | None
    parameters: int
    macs: int


@dataclass(frozen=True)
class Count:
    """What a model has and what one forward pass of one sample costs; `print` shows a table."""

    name: str
    input: tuple[int, ...]
    rows: tuple[Row, ...]
    unknown: tuple[str, ...] = ()
    """Operators without a formula that were met; their work is missing from `macs`."""
    couplings: int = 0
    """MACs of channel couplings among `macs`: by their closed forms, whatever they call."""
    transforms: int = 0
    """MACs of Fourier transforms among `macs`: by formula, see `fft_macs`, as they have no exact number."""

    @property
    def parameters(self) -> int:
        """Unique parameter tensors' elements: a shared tensor counts once."""
        return sum(row.parameters for row in self.rows)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of convolutions and matrix products, and of Fourier transforms."""
        return sum(row.macs for row in self.rows)

    @property
    def conventions(self) -> str:
        """What was counted, in one line."""
        size = "x".join(map(str, self.input))
        line = (
            "Parameters: unique tensors. MACs: convolutions and matrix products of one forward pass, "
            f"one sample of {size}; norms, activations, pooling and bias additions are not counted."
        )
        if self.couplings:
            line += (
                f"\nChannel couplings by their closed forms ({self.couplings:,} MACs): taps that a stencil leaves out "
                "are not counted, a dense kernel gathered from fewer weights is counted as dense."
            )
        if self.transforms:
            line += f"\n{FFT_CONVENTION}, as MACs {self.transforms:,} of the whole."
        if self.unknown:
            line += f"\nNOT counted, no formula: {', '.join(self.unknown)}."
        return line

    def by(self, key: By) -> list[tuple[str | int, int, int]]:
        """(label, parameters, MACs) of every value of `key`, in order of appearance; levels in ascending order."""
        check_choice("by", key, ("role", "level", "kind", "module"))
        sums: dict[str | int, tuple[int, int]] = {}
        for row in self.rows:
            label = getattr(row, key)
            label = "outside" if label is None else label
            parameters, macs = sums.get(label, (0, 0))
            sums[label] = (parameters + row.parameters, macs + row.macs)
        items = [(label, *entry) for label, entry in sums.items()]
        if key == "level":
            items.sort(key=lambda item: (isinstance(item[0], str), item[0]))
        return items

    def table(self, by: By = "role") -> Table:
        """The breakdown by `by` with shares of the whole and a closing total."""
        rows: list[list[str | int]] = []
        for label, parameters, macs in [*self.by(by), ("total", self.parameters, self.macs)]:
            shares = [
                f"{100 * n / max(whole, 1):5.1f} %" for n, whole in ((parameters, self.parameters), (macs, self.macs))
            ]
            rows.append([str(label), parameters, shares[0], macs, shares[1]])
        columns = [by, "parameters", "share", "MACs", "share of MACs"]
        return Table(columns, rows, f"{self.name}, input {'x'.join(map(str, self.input))}", self.conventions)

    def __str__(self) -> str:
        return str(self.table())


def count(
    model: nn.Module,
    input: tuple[int, ...] = (3, 32, 32),  # noqa: A002
    name: str | None = None,
    *,
    dtype: torch.dtype | None = None,
) -> Count:
    """Count a model's unique parameters and forward MACs, without data and without memory for any.

    Args:
        model: any module that takes one (batch, *input) tensor; it is not changed.
        input: shape of one sample, without the batch axis.
        name: heading of the printed table; default the class name.
        dtype: of the input, an integer one for tokens; default that of the model's first floating parameter.

    Raises:
        UsageError: an impossible input shape.
        ShapeError: the model does not run on it.
    """
    if not input or any(not isinstance(n, int) or n < 1 for n in input):
        raise UsageError(f"input must be positive sizes such as (3, 32, 32); got {input!r}.")
    found = forward_macs(model, tuple(input), dtype)
    macs = found.by_path
    places = dict(_places(model))
    rows, seen = [], set()
    for path, module in model.named_modules():
        own = [p for p in module.parameters(recurse=False) if id(p) not in seen]
        seen.update(map(id, own))
        parameters = sum(p.numel() for p in own)
        if parameters or macs.get(path):
            role, level = _place(path, places)
            rows.append(Row(path, _kind(module), role, level, parameters, macs.get(path, 0)))
    return Count(
        name or type(model).__name__, tuple(input), tuple(rows), found.unknown, found.couplings, found.transforms
    )


def _places(model: nn.Module) -> Iterator[tuple[str, tuple[str, int | None]]]:
    """Role and level of every path that some module's `parts()` names; inner modules override outer ones."""
    for path, module in model.named_modules():
        parts = getattr(module, "parts", None)
        if callable(parts):
            for part in parts():  # pyright: ignore[reportGeneralTypeIssues]
                yield (f"{path}.{part.path}" if path else part.path), (part.role, part.level)


def _place(path: str, places: dict[str, tuple[str, int | None]]) -> tuple[str, int | None]:
    """The place of the longest named prefix of `path`."""
    while path:
        if path in places:
            return places[path]
        path = path.rpartition(".")[0]
    return "other", None


def _kind(module: nn.Module) -> str:
    if isinstance(module, Transfer):
        return "transfer"
    if isinstance(module, nn.modules.conv._ConvNd):
        if module.groups == 1:
            return "dense conv"
        return "depthwise conv" if module.groups == module.in_channels else "grouped conv"
    if isinstance(module, nn.Linear | GroupedLinear):
        return "linear" if getattr(module, "groups", 1) == 1 else "grouped linear"
    if isinstance(module, NORMS):
        return "norm"
    return type(module).__name__
