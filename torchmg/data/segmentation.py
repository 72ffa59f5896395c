"""Pictures with a class for every pixel: splits in memory or decoded when asked for, and a set made of two of them."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from torchmg.data.images import check_image_shape, grey_levels, moments
from torchmg.data.paired import PairedPreparation
from torchmg.data.pictures import listing_hash, read_picture, stacked
from torchmg.data.samples import IGNORE
from torchmg.errors import DataError, ShapeError, UsageError

MOMENT_PICTURES = 100
"""Of a lazy split, from how many pictures mean and standard deviation are taken, at most."""


@dataclass(frozen=True, eq=False)
class PairSplit:
    """Pictures and their masks, whole in memory.

    Raises:
        ShapeError: Pictures that are not (N, 3, H, W), none at all, or masks that are not (N, H, W) like them.
        UsageError: Pictures or masks that are not uint8.
    """

    inputs: Tensor
    """uint8 (N, 3, H, W), values 0..255; normalising is left to a preparation."""
    targets: Tensor
    """uint8 (N, H, W): class ids, `IGNORE` where a pixel has none."""

    def __post_init__(self) -> None:
        shape = tuple(self.inputs.shape)
        check_image_shape(shape)
        if shape[1] != 3:
            raise ShapeError(f"Expected pictures of 3 channels (N, 3, H, W); got {shape}. Use x.expand(-1, 3, -1, -1).")
        wanted, got = (shape[0], *shape[2:]), tuple(self.targets.shape)
        if got != wanted:
            raise ShapeError(f"Expected masks {wanted}, an id for each pixel of the pictures; got {got}.")
        for what, values in (("pictures", self.inputs), ("masks", self.targets)):
            if values.dtype != torch.uint8:
                raise UsageError(f"Expected uint8 {what} (0..255); got {values.dtype}. Use .to(torch.uint8).")

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(3, H, W) of every picture."""
        channels, height, width = self.inputs.shape[1:]
        return channels, height, width

    def take(self, chosen: Tensor, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Pictures uint8 (B, 3, H, W) and masks uint8 (B, H, W) of the samples `chosen`, int64 (B,).

        Args:
            chosen: On the device of the split.
            rows: Not used: what happens to a sample is left to the preparation.
        """
        return self.inputs[chosen], self.targets[chosen]

    def levels(self) -> Tensor:
        """How many pixels have which grey level in which channel: int64 (3, 256), on the CPU."""
        return grey_levels(self.inputs.cpu())

    @cached_property
    def ids(self) -> Tensor:
        """How many pixels have which id: int64 (256,), on the CPU."""
        return torch.bincount(self.targets.cpu().reshape(-1), minlength=256)

    def hashes(self) -> dict[str, str]:
        """Sha256 (hex) of the contiguous bytes of pictures ("pixels") and masks ("labels")."""
        parts = {"pixels": self.inputs, "labels": self.targets}
        return {what: hashlib.sha256(part.cpu().contiguous().numpy().data).hexdigest() for what, part in parts.items()}


@dataclass(frozen=True, eq=False)
class LazyPairSplit:
    """Pictures and masks in files that are decoded, several at once, each time they are asked for.

    For data that do not fit into memory. All pictures have the size of the first one.

    Raises:
        ShapeError: No files, or not one mask for each picture.
        DataError: The first picture cannot be decoded.
    """

    pictures: tuple[Path, ...]
    masks: tuple[Path, ...]
    """In the order of the pictures."""
    read_ids: Callable[[Path], Tensor]
    """What makes uint8 (H, W) of a mask file: class ids and `IGNORE`; it raises DataError for an id it does not know.

    A function that pickles (of a module, or functools.partial of one) serves several processes too.
    """
    root: Path
    """The folder that file names are taken relative to, in the hash."""
    title: str
    """Of the data set, for messages."""

    def __post_init__(self) -> None:
        if not self.pictures or len(self.pictures) != len(self.masks):
            counts = f"{len(self.pictures)} pictures and {len(self.masks)} masks"
            raise ShapeError(f"Expected one mask for each picture, and at least one; got {counts}.")
        # Asked for here, because a wrong first file is better known before a run than in it.
        _ = self.shape

    def __len__(self) -> int:
        return len(self.pictures)

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        """(3, H, W) of every picture."""
        channels, height, width = read_picture(self.pictures[0], self.title).shape
        return channels, height, width

    def take(self, chosen: Tensor, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Pictures uint8 (B, 3, H, W) and masks uint8 (B, H, W) of the samples `chosen`, decoded now.

        Args:
            chosen: int64 (B,), on the CPU.
            rows: Not used: what happens to a sample is left to the preparation.

        Raises:
            DataError: A file that is missing, cannot be decoded, has an unknown id, or another size than the others.
        """
        places: list[int] = chosen.tolist()
        inputs, targets = read_pairs(
            [self.pictures[i] for i in places], [self.masks[i] for i in places], self.read_ids, self.title
        )
        if tuple(inputs.shape[1:]) != self.shape:
            raise DataError(
                f"{self.title}: {self.pictures[places[0]]} is {_size(inputs)} (height x width), "
                f"{self.pictures[0]} is {self.shape[1]} x {self.shape[2]}; all must have one size."
            )
        return inputs, targets

    def levels(self) -> Tensor:
        """As `PairSplit.levels`, over at most `MOMENT_PICTURES` pictures, evenly spaced from the first one on.

        All of Cityscapes would take minutes to decode, for a third digit that no training notices.
        """
        count = min(len(self), MOMENT_PICTURES)
        chosen = [self.pictures[i * len(self) // count] for i in range(count)]
        read = partial(read_picture, title=self.title)
        # In parts: a hundred pictures of Cityscapes are 600 MB.
        parts = [grey_levels(stacked(chosen[first : first + 10], read)) for first in range(0, count, 10)]
        return torch.stack(parts).sum(0)

    def hashes(self) -> dict[str, str]:
        """Sha256 (hex) over names and sizes of all files ("files"): the pixels are too many to be read."""
        return {"files": listing_hash([*self.pictures, *self.masks], self.root)}


@dataclass(frozen=True, eq=False)
class SegmentationSet:
    """A named data set for semantic segmentation: class names, a training and a test split of one picture size.

    Raises:
        ShapeError: Test pictures of another size than the training pictures.
        UsageError: No class names or more than 255, or an id in a mask that has no name and is not `IGNORE`.
    """

    task: ClassVar[str] = "segment"
    IGNORE: ClassVar[int] = IGNORE

    name: str
    classes: tuple[str, ...]
    """The name of each class, by id."""
    train: PairSplit | LazyPairSplit
    test: PairSplit | LazyPairSplit

    def __post_init__(self) -> None:
        if not 1 <= len(self.classes) <= IGNORE:
            raise UsageError(f"Expected 1..{IGNORE} classes, because {IGNORE} is no class; got {len(self.classes)}.")
        if self.train.shape != self.test.shape:
            sizes = f"{self.train.shape}, test pictures {self.test.shape}"
            raise ShapeError(f"Training pictures are (C, H, W) = {sizes}; they must agree.")
        for which, split in (("training", self.train), ("test", self.test)):
            # A lazy split checks each mask as it reads it.
            if isinstance(split, PairSplit) and (nameless := split.ids[len(self.classes) : IGNORE].nonzero()).numel():
                found = len(self.classes) + int(nameless[0])
                raise UsageError(
                    f"Id {found} in {int(split.ids[found]):,} pixels of the {which} masks has no name: there are "
                    f"{len(self.classes)} classes, counted from 0. Pixels without a class have the id {IGNORE}."
                )

    @property
    def shape(self) -> tuple[int, int, int]:
        """(3, H, W) of one picture."""
        return self.train.shape

    @property
    def num_classes(self) -> int:
        """How many classes there are; ignored pixels are none of them."""
        return len(self.classes)

    @property
    def mean(self) -> tuple[float, ...]:
        """Mean of each channel over the training pixels, where 255 counts as 1.

        Of a lazy split: over at most `MOMENT_PICTURES` pictures, evenly spaced.
        """
        return self._moments[0]

    @property
    def std(self) -> tuple[float, ...]:
        """Standard deviation (of the population) of each channel, over the pixels that `mean` takes, 255 being 1."""
        return self._moments[1]

    @cached_property
    def _moments(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return moments(self.train.levels())

    def preparation(self, augment: str = "none", crop: int = 0) -> PairedPreparation:
        """Normalising by the training pixels' moments, and an augmentation; raises as `PairedPreparation`.

        Args:
            augment: `none` or `scale_crop_flip`.
            crop: side of the squares that are cut; 0 for the pictures' own size.
        """
        return PairedPreparation(self.mean, self.std, augment, (crop, crop) if crop else None)

    def hashes(self) -> dict[str, str]:
        """Sha256 of pixels and masks of both splits; of lazy ones, of names and sizes of their files.

        The keys are train_pixels, train_labels and the same for test; train_files, test_files for lazy splits.
        """
        return dict(self._hashes)

    @cached_property
    def _hashes(self) -> dict[str, str]:
        splits = (("train", self.train), ("test", self.test))
        return {f"{which}_{what}": digest for which, split in splits for what, digest in split.hashes().items()}


def read_pairs(
    pictures: list[Path], masks: list[Path], read_ids: Callable[[Path], Tensor], title: str
) -> tuple[Tensor, Tensor]:
    """Pictures uint8 (N, 3, H, W) and masks uint8 (N, H, W) from their files, several decoded at once.

    Raises:
        DataError: A file that is missing or cannot be decoded, an unknown id, or two files of different sizes.
    """
    inputs, targets = stacked(pictures, partial(read_picture, title=title)), stacked(masks, read_ids)
    if inputs.shape[-2:] != targets.shape[-2:]:
        raise DataError(
            f"{title}: {pictures[0]} is {_size(inputs)} (height x width), its mask {masks[0]} is {_size(targets)}; "
            "they must have one size."
        )
    return inputs, targets


def _size(values: Tensor) -> str:
    return " x ".join(map(str, values.shape[-2:]))
