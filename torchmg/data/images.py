"""Labelled pictures in memory: a split, and a set made of a training and a test split."""

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from torchmg.data.preparation import ImagePreparation
from torchmg.errors import ShapeError, UsageError


@dataclass(frozen=True, eq=False)
class ImageSplit:
    """Pictures and the class of each.

    Raises:
        ShapeError: Images that are not (N, C, H, W), no images at all, or not one label for each image.
        UsageError: Images that are not uint8, labels that are not int64, or a negative label.
    """

    images: Tensor
    """uint8 (N, C, H, W), values 0..255; normalising is left to whoever draws batches."""
    labels: Tensor
    """int64 (N,), values 0..num_classes - 1."""

    def __post_init__(self) -> None:
        check_image_shape(tuple(self.images.shape))
        if tuple(self.labels.shape) != (len(self.images),):
            got = tuple(self.labels.shape)
            raise ShapeError(f"Expected labels ({len(self.images)},), one for each image; got {got}.")
        if self.images.dtype != torch.uint8:
            raise UsageError(f"Expected uint8 images (0..255); got {self.images.dtype}.")
        if self.labels.dtype != torch.int64:
            raise UsageError(f"Expected int64 labels; got {self.labels.dtype}. Use labels.long().")
        if int(self.labels.min()) < 0:
            raise UsageError(f"Labels count from 0; got {int(self.labels.min())}.")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def inputs(self) -> Tensor:
        """The images, as every split calls them."""
        return self.images

    @property
    def targets(self) -> Tensor:
        """The labels, as every split calls them."""
        return self.labels

    def take(self, chosen: Tensor, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(images, labels) of some samples; `rows` is not looked at."""
        return self.images[chosen], self.labels[chosen]

    def pixel_hash(self) -> str:
        """Sha256 (hex) of the pixels as contiguous (N, C, H, W) bytes."""
        return hashlib.sha256(self.images.cpu().contiguous().numpy().data).hexdigest()

    def label_hash(self) -> str:
        """Sha256 (hex) of the labels as contiguous little-endian int64, eight bytes each."""
        return hashlib.sha256(self.labels.cpu().numpy().astype("<i8").tobytes()).hexdigest()


@dataclass(frozen=True, eq=False)
class ImageSet:
    """A named data set: class names, a training split and a test split of the same picture size.

    Raises:
        ShapeError: Test pictures of another size than the training pictures.
        UsageError: A label that has no class name.
    """

    task: ClassVar[str] = "classify"
    name: str
    """As in `torchmg.data.DATASETS`, or the user's own."""
    classes: tuple[str, ...]
    """The name of each class, by label."""
    train: ImageSplit
    test: ImageSplit

    def __post_init__(self) -> None:
        train, test = tuple(self.train.images.shape[1:]), tuple(self.test.images.shape[1:])
        if train != test:
            raise ShapeError(f"Training images are (C, H, W) = {train}, test images {test}; they must agree.")
        highest = max(int(self.train.labels.max()), int(self.test.labels.max()))
        if highest >= len(self.classes):
            raise UsageError(f"Label {highest} has no name: there are {len(self.classes)} classes, counted from 0.")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one picture."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.classes)

    @property
    def mean(self) -> tuple[float, ...]:
        """Mean of each channel over the training pixels, where 255 counts as 1."""
        return self._moments[0]

    @property
    def std(self) -> tuple[float, ...]:
        """Standard deviation (of the population) of each channel over the training pixels, 255 being 1."""
        return self._moments[1]

    @cached_property
    def _moments(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return moments(grey_levels(self.train.images.cpu()))

    def preparation(self, augment: str = "none") -> ImagePreparation:
        """Normalising by the training pixels' moments, and an augmentation; raises as `ImagePreparation`."""
        return ImagePreparation(self.shape, self.mean, self.std, augment)

    def hashes(self) -> dict[str, str]:
        """Sha256 of pixels and labels of both splits: what a record says it was trained on."""
        return dict(self._hashes)

    @cached_property
    def _hashes(self) -> dict[str, str]:
        return {
            "train_pixels": self.train.pixel_hash(),
            "test_pixels": self.test.pixel_hash(),
            "train_labels": self.train.label_hash(),
            "test_labels": self.test.label_hash(),
        }


def check_image_shape(shape: tuple[int, ...]) -> None:
    """Raise ShapeError unless `shape` can be (N, C, H, W) of at least one pixel."""
    if len(shape) == 4 and shape[3] in (1, 3, 4) and shape[1] > 4 and shape[2] > 4:
        hint = " This looks channels-last; permute to (0, 3, 1, 2)."
    elif len(shape) == 3:
        hint = " For grey images insert the channel axis: images[:, None]."
    elif len(shape) == 4 and math.prod(shape):
        return
    else:
        hint = " There must be at least one pixel." if len(shape) == 4 else ""
    raise ShapeError(f"Expected images (batch, channels, H, W); got {shape}.{hint}")


def grey_levels(pictures: Tensor) -> Tensor:
    """How many pixels of uint8 (N, C, H, W) have which grey level in which channel: int64 (C, 256), on their device."""
    return torch.stack([torch.bincount(channel.reshape(-1), minlength=256) for channel in pictures.unbind(1)])


def moments(levels: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Means and standard deviations (of the population) of channels, 255 being 1.

    Args:
        levels: as `grey_levels` counts them. Counts keep every sum an integer: no rounding, so no dependence on threads
            or device.
    """
    pairs = [_moments(counts) for counts in levels.tolist()]
    return tuple(mean for mean, _ in pairs), tuple(std for _, std in pairs)


def _moments(counts: list[int]) -> tuple[float, float]:
    """Of one channel."""
    n = sum(counts)
    total = sum(value * count for value, count in enumerate(counts))
    squares = sum(value * value * count for value, count in enumerate(counts))
    return total / (255 * n), math.sqrt(n * squares - total * total) / (255 * n)
