"""Samples of a function: arrays of real numbers in, arrays of real numbers out."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self

import torch
from torch import Tensor

from torchmg.errors import DataError, ShapeError, UsageError


@dataclass(frozen=True, eq=False)
class ArraySplit:
    """Inputs and the value that belongs to each.

    Raises:
        ShapeError: no samples, inputs of rank 1, or not one target for each input.
        UsageError: numbers that are not float32.
        DataError: numbers that are infinite or not a number.
    """

    inputs: Tensor
    """float32 (N, *shape), as the network takes them: points are (N, coordinates, 1, 1)."""
    targets: Tensor
    """float32 (N, components, *), what the network should answer."""

    def __post_init__(self) -> None:
        for name, tensor in (("inputs", self.inputs), ("targets", self.targets)):
            if tensor.dim() < 2 or not tensor.numel():
                hint = f" For single numbers insert an axis: {name}[:, None]." if tensor.dim() == 1 else ""
                raise ShapeError(
                    f"Expected {name} (N, components, ...), N at least 1; got {tuple(tensor.shape)}.{hint}"
                )
            if tensor.dtype != torch.float32:
                raise UsageError(f"Expected float32 {name}; got {tensor.dtype}. Use {name}.float().")
        if len(self.inputs) != len(self.targets):
            raise ShapeError(f"Expected one target for each of {len(self.inputs)} inputs; got {len(self.targets)}.")
        for name, tensor in (("inputs", self.inputs), ("targets", self.targets)):
            bad = (~tensor.isfinite()).flatten(1).any(1).nonzero().flatten()
            if len(bad):
                raise DataError(
                    f"{len(bad)} of {len(tensor)} {name} are infinite or not a number, first at sample {int(bad[0])}. "
                    "Leave those samples out."
                )

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, chosen: Tensor, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(inputs, targets) of the samples `chosen`, int64 (B,); `rows` has no meaning here."""
        return self.inputs[chosen], self.targets[chosen]

    def hashes(self) -> dict[str, str]:
        """Sha256 (hex) of inputs and targets as contiguous little-endian float32."""
        return {name: _hash(getattr(self, name)) for name in ("inputs", "targets")}


@dataclass(frozen=True, eq=False)
class ArraySet:
    """A named set of samples of a function, to be fitted by regression.

    Raises:
        ShapeError: splits of different shapes, or names that are not one for each component.
    """

    name: str
    """As in `torchmg.data.DATASETS`, or the user's own."""
    classes: tuple[str, ...]
    """The name of each component of the targets."""
    train: ArraySplit
    """What is fitted."""
    test: ArraySplit
    """What the fit is judged by."""
    task: ClassVar[str] = "regress"

    def __post_init__(self) -> None:
        for name in ("inputs", "targets"):
            train, test = (tuple(getattr(split, name).shape[1:]) for split in (self.train, self.test))
            if train != test:
                raise ShapeError(f"Training {name} are {train} each, test {name} {test}; they must agree.")
        components = self.train.targets.shape[1]
        if len(self.classes) != components:
            raise ShapeError(f"Targets have {components} components but {len(self.classes)} names: {self.classes}.")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        return tuple(self.train.inputs.shape[1:])

    @property
    def num_classes(self) -> int:
        """How many components a target has: the outputs that a network needs."""
        return len(self.classes)

    def preparation(self, augment: str = "none") -> "ArrayPreparation":
        """Nothing is done to numbers; raises `UsageError` for any augmentation but "none"."""
        return plain_numbers(self.name, augment)

    def hashes(self) -> dict[str, str]:
        """Sha256 of inputs and targets of both splits: what a record says it was trained on."""
        return dict(self._hashes)

    @cached_property
    def _hashes(self) -> dict[str, str]:
        splits = {"train": self.train, "test": self.test}
        return {f"{part}_{name}": value for part, split in splits.items() for name, value in split.hashes().items()}


@dataclass(frozen=True)
class ArrayPreparation:
    """Gives a network the numbers as they are: there is nothing to normalise and nothing to augment."""

    def to(self, device: object) -> Self:
        """The same: it has no constants."""
        return self

    def table(self, seed: int, epoch: int, size: int) -> Tensor | None:
        """None: no sample is changed in any epoch."""
        return None

    def __call__(self, inputs: Tensor, targets: Tensor, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The same inputs and targets."""
        return inputs, targets


def plain_numbers(name: str, augment: str) -> ArrayPreparation:
    """The preparation of a set of numbers called `name`; raises `UsageError` for any augmentation but "none"."""
    if augment != "none":
        raise UsageError(f"{name} has numbers, which no augmentation is for; got {augment!r}. Use none.")
    return ArrayPreparation()


def _hash(tensor: Tensor) -> str:
    return hashlib.sha256(tensor.detach().cpu().contiguous().numpy().astype("<f4").tobytes()).hexdigest()
