"""Labelled pictures made ready for a network: policies, normalising, crops and flips."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from torchmg.data.actions import Actions
from torchmg.data.augment import augment as apply_augmentation
from torchmg.data.augment import augmentation_table, margin
from torchmg.data.policies import POLICIES
from torchmg.errors import ShapeError, UsageError


class ImagePreparation:
    """uint8 pictures (B, C, H, W) -> float32, normalised and augmented; labels stay as they are.

    Policies act first, on the levels 0..255 of the whole picture, as in the published code of AutoAugment for CIFAR-10.
    Crops come after normalising, which makes the zeros of their margin the mean colour.

    Args:
        shape: (C, H, W) of the pictures.
        mean: For each channel, where 255 counts as 1.
        std: For each channel, where 255 counts as 1.
        augment: A name in `torchmg.data.AUGMENTATIONS` that is for labelled pictures.

    Raises:
        ShapeError: `mean` or `std` without exactly one value for each channel, or a policy for pictures of other than
            1 or 3 channels.
        UsageError: A standard deviation that is not positive.
        UnknownNameError: An unknown augmentation.
    """

    def __init__(
        self, shape: tuple[int, int, int], mean: Sequence[float], std: Sequence[float], augment: str = "none"
    ) -> None:
        augmentation_table(augment, 0, 0, 0)
        self.shape, self.augment = shape, augment
        self._padding = margin(*shape[1:])
        self._mean, self._std = per_channel("mean", mean, shape[0]), per_channel("std", std, shape[0])
        if not all(value > 0 for value in std):
            raise UsageError(f"std must be positive, got {tuple(std)}: a constant channel cannot be normalised.")
        self._actions = self._on("cpu")

    def to(self, device: torch.device | str) -> Self:
        """The same with its constants on a device."""
        self._mean, self._std, self._actions = self._mean.to(device), self._std.to(device), self._on(device)
        return self

    def table(self, seed: int, epoch: int, size: int) -> Tensor | None:
        """What to do with each sample in an epoch, see `augmentation_table`."""
        return augmentation_table(self.augment, seed, epoch, size, self._padding)

    def __call__(self, inputs: Tensor, targets: Tensor, rows: Tensor | None) -> tuple[Tensor, Tensor]:
        """Prepare a batch; `rows` int64 (B, columns) on its device."""
        if self._actions is not None and rows is not None:
            for ids in rows[:, 3:].unbind(1):
                inputs = self._actions(inputs, ids)
        images = inputs.float().div_(255).sub_(self._mean).div_(self._std)
        return apply_augmentation(images, rows, self._padding), targets

    def _on(self, device: torch.device | str) -> Actions | None:
        policy = POLICIES.get(self.augment)
        return None if policy is None else Actions(policy.actions(self.shape[1:]), self.shape, device)


def per_channel(what: str, values: Sequence[float], channels: int) -> Tensor:
    """A value for each channel as float32 (channels, 1, 1).

    Raises:
        ShapeError: Another number of values.
    """
    if len(values) != channels:
        raise ShapeError(f"Expected {what} with {channels} values, one for each channel; got {len(values)}.")
    return torch.tensor(values, dtype=torch.float32)[:, None, None]
