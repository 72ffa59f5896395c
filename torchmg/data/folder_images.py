"""Labelled picture files on disk, decoded when a batch asks for them: a split, a set, and what follows in a batch."""

import hashlib
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal, Self, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from torchmg.data.crops import COLUMNS, HIGH, evaluation_box, training_box
from torchmg.data.names import FOLDER_AUGMENTATIONS
from torchmg.data.order import draws
from torchmg.data.pictures import THREADS, listing_hash, open_picture
from torchmg.errors import DataError, DataWarning, ShapeError, UnknownNameError, UsageError, did_you_mean

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Mean of each channel of ImageNet's training pictures, where 255 counts as 1, as torchvision publishes it."""
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Standard deviation of each channel, likewise."""

Damaged = Literal["raise", "skip"]
"""What becomes of a picture that cannot be decoded: an error, or a warning and the next one of the split."""

_MOST_DAMAGED = 100
"""Damaged files in a row after which the disk is to blame, not the files."""


@dataclass(frozen=True, eq=False)
class FolderSplit:
    """Labelled picture files of any size and colour mode, all delivered as RGB of one size.

    Pictures are shown upright (EXIF orientation), which torchvision's ImageFolder does not do.

    Raises:
        ShapeError: not one target for each file, or no file at all.
        UsageError: targets that are not int64 or are negative, a side or a number of threads below 1.
        UnknownNameError: another word for `damaged`.
    """

    root: Path
    """The folder that holds all files."""
    names: tuple[str, ...]
    """Each file, relative to `root`, with "/" between parts."""
    targets: Tensor
    """int64 (N,), the class of each file."""
    side: int = 224
    """Height and width of what `take` returns, in pixels; 224 is what ImageNet's networks are compared at."""
    title: str = "Image folder"
    """Of the data set, for messages."""
    damaged: Damaged = "raise"
    """With "skip", a file that cannot be decoded is replaced, picture and target, by the next one of the split that can
    be, and a DataWarning names it once. A file that has vanished is an error in either case."""
    threads: int = THREADS
    """Pictures decoded at once by one `take`; the results do not depend on it."""
    _known: dict[int, str] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if tuple(self.targets.shape) != (len(self.names),) or not self.names:
            got = tuple(self.targets.shape)
            raise ShapeError(
                f"Expected one target for each file, and a file at least; got {len(self.names)} and {got}."
            )
        if self.targets.dtype != torch.int64:
            raise UsageError(f"Expected int64 targets; got {self.targets.dtype}. Use targets.long().")
        if int(self.targets.min()) < 0:
            raise UsageError(f"Targets count from 0; got {int(self.targets.min())}.")
        if self.side < 1 or self.threads < 1:
            raise UsageError(f"Side and threads are at least 1; got side={self.side} and threads={self.threads}.")
        if self.damaged not in get_args(Damaged):
            raise UnknownNameError(
                f"Unknown '{self.damaged}' for damaged.{did_you_mean(self.damaged, get_args(Damaged))}"
            )

    def __len__(self) -> int:
        return len(self.names)

    def path(self, index: int) -> Path:
        """The file of a sample."""
        return self.root / self.names[index]

    def listing_hash(self) -> str:
        """Sha256 (hex) over name and size of every file; targets follow from the folders in the names."""
        return listing_hash([self.path(index) for index in range(len(self))], self.root)

    def take(self, chosen: Tensor, rows: Tensor | None) -> tuple[Tensor, Tensor]:
        """Decode some samples; each depends on its file and its row alone, not on the rest of the batch.

        Args:
            chosen: int64 (B,) on the CPU, places in the split.
            rows: int64 (B, 5) on the CPU, uniform in 0..2**31-1 (`FolderPreparation.table`): the crop of
                `torchmg.data.crops.training_box`, resized to side x side, and mirrored where the last number is odd.
                None for evaluation: the shorter side resized to side * 256 / 224, and the centre cropped. Both
                resize as Pillow's bilinear filter, which widens when it shrinks (antialias).

        Returns:
            Pictures, uint8 (B, 3, side, side), and their targets, int64 (B,).

        Raises:
            ShapeError: not one row of five numbers for each chosen sample.
            UsageError: a place outside the split.
            DataError: a file is missing, or damaged (with "skip": a hundred files in a row, or all of them).

        Warns:
            DataWarning: with "skip", each damaged file once.
        """
        places, crops = self._checked(chosen, rows)
        pixels = np.empty((len(places), 3, self.side, self.side), np.uint8)

        def fill(number: int) -> tuple[int, dict[int, str]]:
            crop = None if crops is None else crops[number]
            picture, place, failed = self._sound(places[number])
            pixels[number] = _seen(picture, self.side, crop).transpose(2, 0, 1)
            return place, failed

        with ThreadPoolExecutor(min(self.threads, max(1, len(places)))) as pool:
            found = list(pool.map(fill, range(len(places))))
        self._report({place: text for _, failed in found for place, text in failed.items()})
        return torch.from_numpy(pixels), self.targets[[place for place, _ in found]]

    def _checked(self, chosen: Tensor, rows: Tensor | None) -> tuple[list[int], list[list[int]] | None]:
        if chosen.ndim != 1 or (rows is not None and tuple(rows.shape) != (len(chosen), COLUMNS)):
            got = "None" if rows is None else tuple(rows.shape)
            raise ShapeError(
                f"Expected chosen (B,) and rows (B, {COLUMNS}) or None; got {tuple(chosen.shape)} and {got}."
            )
        places: list[int] = chosen.tolist()
        if outside := [place for place in places if not 0 <= place < len(self)]:
            raise UsageError(f"A place lies in 0..{len(self) - 1}; got {outside[0]}.")
        return places, None if rows is None else rows.tolist()

    def _sound(self, place: int) -> tuple[Image.Image, int, dict[int, str]]:
        """The picture at a place, or the next one that can be decoded, its place, and what failed before."""
        failed: dict[int, str] = {}
        for following in range(min(len(self), _MOST_DAMAGED)):
            there = (place + following) % len(self)
            if there in self._known:
                continue
            try:
                return open_picture(self.path(there), self.title), there, failed
            except DataError as error:
                if self.damaged == "raise" or not self.path(there).is_file():
                    raise
                failed[there] = str(error)
        raise DataError(
            f"{self.title}: {self.path(place)} and all that follow it, up to {_MOST_DAMAGED}, cannot be decoded; "
            "look at the disk and copy the files anew."
        )

    def _report(self, failed: dict[int, str]) -> None:
        for place, text in sorted(failed.items()):
            if place not in self._known:
                self._known[place] = text
                warnings.warn(f"Replaced by the next picture: {text}", DataWarning, stacklevel=3)


@dataclass(frozen=True, eq=False)
class FolderImages:
    """A named data set of picture files in one folder for each class.

    Raises:
        ShapeError: training and test pictures of different sides.
        UsageError: a target that has no class name.
    """

    task: ClassVar[str] = "classify"

    name: str
    """As in `torchmg.data.DATASETS`, or the user's own."""
    classes: tuple[str, ...]
    """The name of each class, by target."""
    train: FolderSplit
    test: FolderSplit
    mean: tuple[float, ...] = IMAGENET_MEAN
    """Of each channel, where 255 counts as 1; ImageNet's by default, as published weights expect it."""
    std: tuple[float, ...] = IMAGENET_STD
    """Likewise."""

    def __post_init__(self) -> None:
        if self.train.side != self.test.side:
            raise ShapeError(f"Training pictures have side {self.train.side}, test pictures {self.test.side}.")
        highest = max(int(self.train.targets.max()), int(self.test.targets.max()))
        if highest >= len(self.classes):
            raise UsageError(f"Target {highest} has no name: there are {len(self.classes)} classes, counted from 0.")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(3, side, side): of one picture as `FolderSplit.take` returns it."""
        return 3, self.train.side, self.train.side

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.classes)

    def preparation(self, augment: str = "none") -> "FolderPreparation":
        """Normalising, and the crops that `FolderSplit.take` makes; raises as `FolderPreparation`."""
        return FolderPreparation(self.mean, self.std, augment)

    def hashes(self) -> dict[str, str]:
        """Sha256 of the listings (names and sizes of files) of both splits, and of the class names in their order."""
        return dict(self._hashes)

    @cached_property
    def _hashes(self) -> dict[str, str]:
        # A million files take most of a minute to be listed.
        return {
            "train_files": self.train.listing_hash(),
            "test_files": self.test.listing_hash(),
            "classes": hashlib.sha256("\n".join(self.classes).encode()).hexdigest(),
        }


@dataclass(frozen=True)
class FolderPreparation:
    """Draws the crops of an epoch, and normalises what `FolderSplit.take` has cropped and mirrored.

    Raises:
        ShapeError: mean and std of different lengths.
        UsageError: a standard deviation that is not positive.
        UnknownNameError: an augmentation that is not in `FOLDER_AUGMENTATIONS`.
    """

    mean: tuple[float, ...] = IMAGENET_MEAN
    """Of each channel, where 255 counts as 1."""
    std: tuple[float, ...] = IMAGENET_STD
    """Likewise."""
    augment: str = "inception"
    """One of `FOLDER_AUGMENTATIONS`; Inception's is what ImageNet's published networks were trained with."""

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std):
            raise ShapeError(f"Expected as many means as deviations; got {len(self.mean)} and {len(self.std)}.")
        if not all(value > 0 for value in self.std):
            raise UsageError(f"std must be positive, got {self.std}: a constant channel cannot be normalised.")
        if self.augment not in FOLDER_AUGMENTATIONS:
            hint = did_you_mean(self.augment, FOLDER_AUGMENTATIONS)
            raise UnknownNameError(f"Unknown augmentation '{self.augment}' of image folders.{hint}")

    def to(self, device: object) -> Self:
        """The same: its constants are plain numbers."""
        return self

    def table(self, seed: int, epoch: int, size: int) -> Tensor | None:
        """The row of each sample in an epoch, int64 (size, 5) in 0..2**31-1; None for "none".

        Raises:
            UsageError: a seed or epoch out of range.
        """
        return None if self.augment == "none" else draws(seed, epoch, size, HIGH, COLUMNS)

    def __call__(self, inputs: Tensor, targets: Tensor, rows: Tensor | None) -> tuple[Tensor, Tensor]:
        """Normalise a batch on its device; its memory format is kept.

        Args:
            inputs: uint8 (B, C, H, W), as `FolderSplit.take` returns them.
            targets: returned as they are.
            rows: not used, as `take` has followed them.

        Returns:
            float32 (B, C, H, W), (value / 255 - mean) / std, and the targets.

        Raises:
            ShapeError: not four axes, or not one channel for each mean.
        """
        if inputs.ndim != 4 or inputs.shape[1] != len(self.mean):
            raise ShapeError(f"Expected pictures (B, {len(self.mean)}, H, W); got {tuple(inputs.shape)}.")
        values = inputs.float()
        # Numbers, not tensors: a tensor would be copied to the device in each step and make it wait for the host.
        for channel, (mean, std) in enumerate(zip(self.mean, self.std, strict=True)):
            values[:, channel].sub_(255 * mean).div_(255 * std)
        return values, targets


def _seen(picture: Image.Image, side: int, row: Sequence[int] | None) -> NDArray[np.uint8]:
    """The part of a picture that a network sees, (side, side, 3)."""
    if row is None:
        box = evaluation_box(*picture.size, side)
        return np.asarray(picture.resize((side, side), Image.Resampling.BILINEAR, box=box))
    part = picture.crop(training_box(*picture.size, row)).resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(part)[:, :: -1 if row[4] % 2 else 1]
