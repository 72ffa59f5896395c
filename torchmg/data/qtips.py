"""Q-tips: bars whose class stands at their two ends, made here to try how far a segmentation network sees.

A picture shows one bar through its centre, at a random angle. Markers at the ends are white or black, and which ones
is the class of *every* pixel of the bar: pixels in the middle look the same in all classes, and near one end two
classes look the same. A network must bring together what lies a bar's length apart, 32 to 59 pixels.

The task is that of the networks with an implicit diffusion step (Haber, Lensink, Treister and Ruthotto 2019, "IMEXnet:
a forward stable deep neural network"). From their released generator are the facts: sizes, grey levels, classes, how
many pictures there are, and markers as long as the bar is wide. The pictures are our own. Theirs are drawn upright and
turned by an imaging library; ours are rasterised by a rule in whole numbers, so that they are the same bit for bit on
any machine, and no result on them can be compared with a published one to the last digit.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from math import cos, pi, sin
from typing import ClassVar, Final

import torch
from torch import Tensor

from torchmg.data.names import AUGMENTATIONS, OTHER_AUGMENTATIONS
from torchmg.data.order import draws
from torchmg.data.preparation import ImagePreparation
from torchmg.errors import UnknownNameError, UsageError, did_you_mean

SIDE: Final = 64
"""Pixels of a picture, each way."""
LENGTHS: Final = (32, 59)
"""Shortest and longest bar, in pixels, markers included."""
WIDTH: Final = 2
"""Of a bar, in pixels."""
MARKER: Final = WIDTH
"""Of a marker along the bar, in pixels: a square, as published. A square of side 2 holds the centre of at least one
pixel however it is turned, so that both ends always show."""
BACKGROUND, BAR, WHITE, BLACK = 112, 128, 255, 1
"""Grey levels. Black is 1 as published, where 0 was what turning left empty."""
CLASSES: Final = ("background", "white-white", "white-black", "black-black")
"""By id."""
TRAIN, TEST = 1024, 64
"""Pictures of the two splits, as published."""
ANGLES: Final = 1 << 16
"""Directions that a bar can have, evenly spaced over the whole turn: an end moves by 1/350 of a pixel between two."""
MEAN, STD = (BACKGROUND / 255,), (6 / 255,)
"""What normalising takes off and divides by, where 255 counts as 1: fixed, so that all seeds and sizes agree. The mean
is the background, which the zeros around a convolution's input then continue; the true one is 0.4 grey levels more.
Six levels are the standard deviation over the pixels, rounded."""
_SCALE: Final = 1 << 20
"""Directions are vectors of whole numbers of about this length."""
_PURPOSE: Final = {"train": 0, "test": 1}
"""Which numbers of a seed serve for which split."""


@dataclass(frozen=True, eq=False)
class QtipsSplit:
    """Pictures and their masks, whole in memory."""

    inputs: Tensor
    """uint8 (N, 1, 64, 64), values 0..255."""
    targets: Tensor
    """uint8 (N, 64, 64), ids of `CLASSES`; no pixel is without a class."""

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, chosen: Tensor, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Pictures uint8 (B, 1, 64, 64) and masks uint8 (B, 64, 64) of some samples; `rows` is not looked at."""
        return self.inputs[chosen], self.targets[chosen]

    def hashes(self) -> dict[str, str]:
        """Sha256 (hex) of the contiguous bytes of pictures ("pixels") and masks ("labels")."""
        parts = {"pixels": self.inputs, "labels": self.targets}
        return {what: hashlib.sha256(part.cpu().contiguous().numpy().data).hexdigest() for what, part in parts.items()}


class QtipsPreparation(ImagePreparation):
    """uint8 pictures -> float32, normalised by `MEAN` and `STD`; masks uint8 -> int64. Nothing is augmented."""

    def __init__(self) -> None:
        super().__init__((1, SIDE, SIDE), MEAN, STD)

    def __call__(self, inputs: Tensor, targets: Tensor, rows: Tensor | None) -> tuple[Tensor, Tensor]:
        """Pictures float32 (B, 1, 64, 64) and class ids int64 (B, 64, 64)."""
        return super().__call__(inputs, targets.long(), rows)


@dataclass(frozen=True, eq=False)
class QtipsSet:
    """The data set: a training and a test split."""

    task: ClassVar[str] = "segment"
    train: QtipsSplit
    test: QtipsSplit
    name: str = field(default="qtips", init=False)
    classes: tuple[str, ...] = field(default=CLASSES, init=False)
    num_classes: int = field(default=len(CLASSES), init=False)
    shape: tuple[int, int, int] = field(default=(1, SIDE, SIDE), init=False)
    """(C, H, W) of a picture."""

    def preparation(self, augment: str = "none", crop: int = 0) -> QtipsPreparation:
        """Normalising by `MEAN` and `STD`.

        Raises:
            UnknownNameError: no such augmentation.
            UsageError: one other than none, as bars lie at random already; a crop, which would cut their ends off.
        """
        if augment not in (known := {**AUGMENTATIONS, **OTHER_AUGMENTATIONS}):
            raise UnknownNameError(f"Unknown augmentation '{augment}'.{did_you_mean(augment, known)}")
        if augment != "none":
            raise UsageError(f"augment={augment!r} is not for qtips, whose bars lie at random already. Use none.")
        if crop:
            raise UsageError(f"crop={crop} is not for qtips: a bar's class is told by both of its ends. Use 0.")
        return QtipsPreparation()

    def hashes(self) -> dict[str, str]:
        """Sha256 (hex) of pixels and masks of both splits: train_pixels, train_labels and the same for test."""
        return dict(self._hashes)

    @cached_property
    def _hashes(self) -> dict[str, str]:
        splits = (("train", self.train), ("test", self.test))
        return {f"{which}_{what}": digest for which, split in splits for what, digest in split.hashes().items()}


def load_qtips(seed: int = 0, *, train: int = TRAIN, test: int = TEST) -> QtipsSet:
    """The data set, a function of the arguments alone; nothing is downloaded.

    Lengths, classes and angles are uniform and independent. The splits are drawn apart, and a picture of the test split
    that the training split has too is passed over for the next one. Those of a smaller training split are the first
    of a larger one.

    Args:
        seed: which pictures, 0..2**64-1.
        train: how many to train on, at least 1.
        test: how many to test on, at least 1.

    Raises:
        UsageError: a number below 1, a seed out of bounds, or so many to train on that too few others are left.
    """
    for what, count in (("train", train), ("test", test)):
        if not isinstance(count, int) or count < 1:
            raise UsageError(f"{what} must be a whole number of pictures, at least 1; got {count!r}.")
    trained = list(_pictures(seed, "train", train))
    seen = {picture.numpy().tobytes() for picture, _ in trained}
    # With 1,024 to train on, one in fifty is met again; the spare ones serve twenty times as many.
    drawn = _pictures(seed, "test", 2 * test + 64)
    tested = [pair for pair in drawn if pair[0].numpy().tobytes() not in seen][:test]
    if len(tested) < test:
        raise UsageError(f"Of {train:,} training pictures too many are test pictures too. Use fewer than {train:,}.")
    return QtipsSet(_stacked(trained), _stacked(tested))


def qtip(length: int, kind: int, angle: int) -> tuple[Tensor, Tensor]:
    """One picture uint8 (64, 64) and its mask uint8 (64, 64).

    A pixel is of the bar where its centre lies within length / 2 along and 2 / 2 across the axis, of a marker where
    besides it is less than 2 away from an end. Both are decided in whole numbers, without rounding.

    Args:
        length: of the bar, in pixels, 1..59 (published: 32..59).
        kind: the class, 1..3.
        angle: of the first end, in 1/65536 of a turn from the right, clockwise as rows count downwards; this end is the
            white one of a white-black bar.

    Raises:
        UsageError: a length or class out of bounds.
    """
    if not 1 <= length <= LENGTHS[1]:
        raise UsageError(f"A bar is 1 to {LENGTHS[1]} pixels long, so that it fits however it lies; got {length}.")
    if not 1 <= kind < len(CLASSES):
        raise UsageError(f"A bar's class is 1 to {len(CLASSES) - 1}; got {kind}.")
    right, down = direction(angle)
    # Twice the distances of pixel centres from the picture's centre, times the direction's length.
    places = 2 * torch.arange(SIDE) - (SIDE - 1)
    along = places * right + places[:, None] * down
    across = places[:, None] * right - places * down
    squared = right**2 + down**2
    bar = (along**2 <= length**2 * squared) & (across**2 <= WIDTH**2 * squared)
    marker = bar & (along**2 > max(length - 2 * MARKER, 0) ** 2 * squared)
    first, second = (WHITE if kind < 3 else BLACK), (WHITE if kind == 1 else BLACK)
    picture = torch.full((SIDE, SIDE), BACKGROUND, dtype=torch.uint8)
    picture[bar] = BAR
    picture[marker & (along > 0)] = first
    picture[marker & (along <= 0)] = second
    return picture, bar.to(torch.uint8) * kind


def direction(angle: int) -> tuple[int, int]:
    """(right, down) of an angle in 1/65536 of a turn, as whole numbers; the vector's length is about 2**20.

    Mathematics libraries differ in the last digit of a sine. None of the numbers lies so close to the middle between
    two whole ones that this would show: the nearest is farther from it than 1e-5, that digit is 1e-10.
    """
    turn = 2 * pi * (angle % ANGLES) / ANGLES
    return round(_SCALE * cos(turn)), round(_SCALE * sin(turn))


def _pictures(seed: int, which: str, count: int) -> Iterator[tuple[Tensor, Tensor]]:
    """So many pictures of a split with their masks."""
    kinds = (LENGTHS[1] - LENGTHS[0] + 1, len(CLASSES) - 1, ANGLES)
    rows: list[list[int]] = draws(seed, _PURPOSE[which], count, kinds, columns=len(kinds)).tolist()
    return (qtip(LENGTHS[0] + longer, 1 + kind, angle) for longer, kind, angle in rows)


def _stacked(pairs: list[tuple[Tensor, Tensor]]) -> QtipsSplit:
    pictures, masks = zip(*pairs, strict=True)
    return QtipsSplit(torch.stack(pictures)[:, None], torch.stack(masks))
