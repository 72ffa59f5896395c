"""Labelled point clouds in memory, and how they become a network's inputs.

What happens to a cloud is a pure function of a few integers of its own: noise for every point is hashed from them on
the device, so a table of an epoch stays small and a run continued elsewhere meets the same numbers.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from math import pi
from typing import ClassVar, Self

import torch
from torch import Tensor

from torchmg.data.names import CLOUD_AUGMENTATIONS
from torchmg.data.order import draws
from torchmg.errors import ShapeError, UnknownNameError, UsageError, did_you_mean

JITTER = 0.01
"""Standard deviation of the noise on a coordinate, where a cloud has radius 1 (Qi et al., PointNet, CVPR 2017)."""
JITTER_LIMIT = 0.05
"""The largest noise on a coordinate (as `JITTER`)."""
DROPOUT = 0.875
"""The largest ratio of points left out of a cloud (Qi et al., PointNet++, NeurIPS 2017)."""
STEPS = 2**24
"""In how many steps angles and ratios are drawn: as finely as float32 can tell them apart."""
_WORD = 2**32 - 1
_JITTER_STREAM, _DROPOUT_STREAM = 1, 2


@dataclass(frozen=True, eq=False)
class CloudSplit:
    """Point clouds and the class of each.

    Raises:
        ShapeError: clouds that are not (N, P, 3), no points at all, or not one label for each cloud.
        UsageError: clouds that are not float32, that hold NaN or infinite values, labels that are not int64, or a
            negative label.
    """

    inputs: Tensor
    """float32 (N, P, 3): x, y, z of every point, z up."""
    targets: Tensor
    """int64 (N,), values 0..num_classes - 1."""

    def __post_init__(self) -> None:
        shape = tuple(self.inputs.shape)
        if len(shape) != 3 or shape[2] != 3 or 0 in shape:
            hint = " Use clouds.transpose(1, 2)." if len(shape) == 3 and shape[1] == 3 else ""
            raise ShapeError(f"Expected point clouds (clouds, points, 3) with points in them; got {shape}.{hint}")
        if tuple(self.targets.shape) != shape[:1]:
            got = tuple(self.targets.shape)
            raise ShapeError(f"Expected labels ({shape[0]},), one for each cloud; got {got}.")
        if self.inputs.dtype != torch.float32:
            raise UsageError(f"Expected float32 clouds; got {self.inputs.dtype}. Use clouds.float().")
        if self.targets.dtype != torch.int64:
            raise UsageError(f"Expected int64 labels; got {self.targets.dtype}. Use labels.long().")
        bad = (~self.inputs.isfinite()).flatten(1).any(1).nonzero()
        if len(bad):
            raise UsageError(f"{len(bad)} clouds hold NaN or infinite values, the first is number {int(bad[0])}.")
        if int(self.targets.min()) < 0:
            raise UsageError(f"Labels count from 0; got {int(self.targets.min())}.")

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, chosen: Tensor, rows: Tensor | None) -> tuple[Tensor, Tensor]:
        """Clouds (B, P, 3) and labels (B,) of the samples `chosen`, int64 (B,); `rows` is of no account here."""
        return self.inputs[chosen], self.targets[chosen]


@dataclass(frozen=True, eq=False)
class CloudSet:
    """A named data set: class names, a training split and a test split with the same number of points a cloud.

    Raises:
        ShapeError: test clouds of another number of points than the training clouds.
        UsageError: a label that has no class name.
    """

    task: ClassVar[str] = "points"
    name: str
    """As in `torchmg.data.DATASETS`, or the user's own."""
    classes: tuple[str, ...]
    """The name of each class, by label."""
    train: CloudSplit
    test: CloudSplit

    def __post_init__(self) -> None:
        train, test = self.train.inputs.shape[1], self.test.inputs.shape[1]
        if train != test:
            raise ShapeError(f"Training clouds have {train} points, test clouds {test}; they must agree.")
        highest = max(int(self.train.targets.max()), int(self.test.targets.max()))
        if highest >= len(self.classes):
            raise UsageError(f"Label {highest} has no name: there are {len(self.classes)} classes, counted from 0.")

    @property
    def shape(self) -> tuple[int, int]:
        """(3, P), one cloud as a network takes it."""
        return 3, self.train.inputs.shape[1]

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.classes)

    def preparation(self, augment: str = "none") -> "CloudPreparation":
        """Coordinates before points, and an augmentation; raises as `CloudPreparation`."""
        return CloudPreparation(augment)

    def hashes(self) -> dict[str, str]:
        """Sha256 of points and labels of both splits: what a record says it was trained on."""
        return dict(self._hashes)

    @cached_property
    def _hashes(self) -> dict[str, str]:
        splits = {"train": self.train, "test": self.test}
        points = {f"{name}_points": _sha256(split.inputs, "<f4") for name, split in splits.items()}
        return points | {f"{name}_labels": _sha256(split.targets, "<i8") for name, split in splits.items()}


@dataclass(frozen=True)
class CloudPreparation:
    """Raw clouds (B, P, 3) to a network's inputs, float32 (B, 3, P).

    Raises:
        UnknownNameError: an unknown augmentation; the message names the nearest.
    """

    augment: str = "none"
    """One of `CLOUD_AUGMENTATIONS`: clouds as they are, or as `augment_clouds` changes them."""

    def __post_init__(self) -> None:
        if self.augment not in CLOUD_AUGMENTATIONS:
            near = did_you_mean(self.augment, CLOUD_AUGMENTATIONS)
            raise UnknownNameError(f"Point clouds have no augmentation '{self.augment}'.{near}")

    def to(self, device: object) -> Self:
        """The same: its constants are plain numbers."""
        return self

    def table(self, seed: int, epoch: int, size: int) -> Tensor | None:
        """What to do with each cloud in an epoch: int64 (size, 3), row i = (angle, dropout ratio, noise) of cloud i.

        Angle and ratio are 0..STEPS - 1 out of a full turn and of `DROPOUT`; noise is a seed, 0..2**32 - 1. None
        without augmentation. See `torchmg.data.order.draws`.
        """
        if self.augment == "none":
            return None
        return draws(seed, epoch, size, high=(STEPS, STEPS, _WORD + 1), columns=3)

    def __call__(self, inputs: Tensor, targets: Tensor, rows: Tensor | None) -> tuple[Tensor, Tensor]:
        """Clouds and labels of a batch, augmented as their rows say; `rows` None: as they are.

        Args:
            inputs: (B, P, 3).
            targets: (B,), returned as they are.
            rows: of `table`, those of the batch's samples, on the inputs' device.
        """
        clouds = inputs.float()
        if rows is not None and self.augment == "clouds":
            clouds = augment_clouds(clouds, rows)
        return clouds.transpose(1, 2).contiguous(), targets


def augment_clouds(clouds: Tensor, rows: Tensor) -> Tensor:
    """Turn, jitter and thin out clouds (B, P, 3), in this order, as rows (B, 3) of `CloudPreparation.table` say."""
    angles, ratios = rows[:, 0] * (2 * pi / STEPS), rows[:, 1] * (DROPOUT / STEPS)
    return drop_points(jitter(rotate(clouds, angles), rows[:, 2]), ratios, rows[:, 2])


def rotate(clouds: Tensor, angles: Tensor) -> Tensor:
    """Turn every cloud (B, P, 3) about the vertical axis z by its angle (B,), in radians, from x towards y."""
    cos, sin = (f(angles).to(clouds.dtype)[:, None] for f in (torch.cos, torch.sin))
    x, y, z = clouds.unbind(2)
    return torch.stack([cos * x - sin * y, sin * x + cos * y, z], 2)


def jitter(clouds: Tensor, seeds: Tensor) -> Tensor:
    """Add normal noise of deviation `JITTER`, cut at +-`JITTER_LIMIT`, to every coordinate of clouds (B, P, 3)."""
    radius, angle = uniform(seeds, _JITTER_STREAM, 4 * clouds.shape[1]).unflatten(1, (-1, 4)).chunk(2, 2)
    radius = torch.sqrt(-2 * torch.log(radius))  # Box and Muller 1958: two normal numbers from two uniform ones
    normal = torch.cat([radius * torch.cos(2 * pi * angle), radius * torch.sin(2 * pi * angle)], 2)[..., :3]
    return clouds + (JITTER * normal).clamp(-JITTER_LIMIT, JITTER_LIMIT).to(clouds.dtype)


def drop_points(clouds: Tensor, ratios: Tensor, seeds: Tensor) -> Tensor:
    """Leave out every point of clouds (B, P, 3) with its cloud's chance (B,); the first one kept takes its place.

    A cloud keeps its number of points, as networks of fixed shapes need, and at least its first point.
    """
    points = clouds.shape[1]
    places = torch.arange(points, device=clouds.device)
    kept = uniform(seeds, _DROPOUT_STREAM, points) >= ratios[:, None]
    first = torch.where(kept, places, points).amin(1, keepdim=True) % points
    return clouds.gather(1, torch.where(kept, places, first)[..., None].expand(-1, -1, 3))


def uniform(seeds: Tensor, stream: int, count: int) -> Tensor:
    """Uniform numbers in (0, 1] for every seed, float32 (B, count), a function of (seed, stream, place) alone.

    Args:
        seeds: int64 (B,), 0..2**32 - 1.
        stream: numbers of different streams are independent.
        count: how many for each seed.
    """
    places = torch.arange(count, device=seeds.device)
    words = _mix(_mix(_mix(seeds & _WORD)[:, None] + stream & _WORD) ^ _mix(places + 1))
    return ((words >> 8).float() + 0.5) / STEPS


def _mix(words: Tensor) -> Tensor:
    """Scramble 32-bit words, held in int64: the finaliser of MurmurHash3 (Appleby, public domain)."""
    # Factors less 2**32 are the same modulo 2**32, and keep every product within int64.
    for shift, factor in ((16, 0x85EBCA6B - 2**32), (13, 0xC2B2AE35 - 2**32)):
        words = ((words ^ (words >> shift)) * factor) & _WORD
    return words ^ (words >> 16)


def _sha256(values: Tensor, kind: str) -> str:
    return hashlib.sha256(values.cpu().contiguous().numpy().astype(kind).tobytes()).hexdigest()
