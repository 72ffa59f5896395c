"""Batches of a split held in memory, in an order that is a function of (seed, epoch)."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from torchmg.data.augment import augment as apply_augmentation
from torchmg.data.augment import augmentation_table, margin
from torchmg.data.images import ImageSplit
from torchmg.data.order import epoch_order
from torchmg.errors import ShapeError, UsageError


class Batch(NamedTuple):
    """What a training step takes."""

    images: Tensor
    """float32 (B, C, H, W) on the device, normalised and augmented."""
    labels: Tensor
    """int64 (B,) on the device."""
    indices: Tensor
    """int64 (B,) on the CPU: the place of each sample in its split."""


class Batches:
    """Every sample of a split once in each epoch, cut into batches.

    The split stays uint8 on the device where it takes less than half of the free memory, so that a step copies
    nothing; otherwise it stays on the host and each batch is copied. Position is a number, not a state: the batches
    from `start` on are the same whether or not the ones before were drawn.

    The last batch may be smaller. Only where it would be a single sample does that sample join the batch before:
    batch normalisation cannot work on one sample of one pixel.

    Several processes can share an epoch by slicing what `bounds` gives for each global batch.

    Raises:
        ShapeError: `mean` or `std` without exactly one value for each channel.
        UsageError: A batch size below one, a standard deviation that is not positive, a bad seed or augmentation.
    """

    def __init__(
        self,
        split: ImageSplit,
        *,
        batch_size: int,
        seed: int = 0,
        mean: Sequence[float],
        std: Sequence[float],
        augment: str = "none",
        device: torch.device | str = "cpu",
        channels_last: bool = False,
        shuffle: bool = True,
    ) -> None:
        """Args are keywords; they are checked here and not changed later.

        Args:
            split: The samples.
            batch_size: Samples in a batch.
            seed: Of the order and of the augmentation.
            mean: For each channel, where 255 counts as 1 (`ImageSet.mean`).
            std: For each channel, where 255 counts as 1 (`ImageSet.std`).
            augment: A name in `AUGMENTATIONS`.
            device: Where batches are wanted.
            channels_last: Whether images come in the channels-last memory format.
            shuffle: False for the order of the split, as evaluation wants it.
        """
        self.split, self.seed, self.shuffle = split, seed, shuffle
        self.batch_size, self.augment, self.device = batch_size, augment, torch.device(device)
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        if batch_size < 1:
            raise UsageError(f"A batch holds at least one sample; got batch_size={batch_size}.")
        augmentation_table(augment, seed, 0, 0)
        self._padding = margin(*split.images.shape[2:])
        epoch_order(seed, 0, 0)
        self._mean = _per_channel("mean", mean, split).to(self.device)
        self._std = _per_channel("std", std, split).to(self.device)
        if not all(value > 0 for value in std):
            raise UsageError(f"std must be positive, got {tuple(std)}: a constant channel cannot be normalised.")
        self._bounds = bounds(len(split), batch_size)
        self._images = split.images.to(self.device) if _fits(split.images, self.device) else split.images
        self._labels = split.labels.to(self.device)

    def __len__(self) -> int:
        """Steps in an epoch."""
        return len(self._bounds)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, without the first `start`, which cost nothing.

        Raises:
            UsageError: `start` outside 0..len(self), or an epoch below zero.
        """
        if not 0 <= start <= len(self):
            raise UsageError(f"An epoch has {len(self)} batches; cannot start at {start}.")
        size = len(self.split)
        order = epoch_order(self.seed, epoch, size) if self.shuffle else torch.arange(size)
        table = augmentation_table(self.augment, self.seed, epoch, size, self._padding)
        return self._draw(order, None if table is None else table.to(self.device), start)

    def _draw(self, order: Tensor, table: Tensor | None, start: int) -> Iterator[Batch]:
        # One copy for the whole epoch: a copy in each step would make the device wait for the host.
        there = order.to(self.device)
        for first, last in self._bounds[start:]:
            chosen = there[first:last]
            images = self._normalised(self._gather(order[first:last], chosen))
            images = apply_augmentation(images, chosen, table, self._padding).contiguous(memory_format=self._format)
            yield Batch(images, self._labels[chosen], order[first:last])

    def _gather(self, indices: Tensor, there: Tensor) -> Tensor:
        if self._images.device == there.device:
            return self._images[there]
        images = self._images[indices]
        if self.device.type == "cuda":
            return images.pin_memory().to(self.device, non_blocking=True)
        return images.to(self.device)

    def _normalised(self, images: Tensor) -> Tensor:
        images = images.contiguous(memory_format=self._format)
        return images.float().div_(255).sub_(self._mean).div_(self._std)


def bounds(size: int, batch_size: int) -> list[tuple[int, int]]:
    """First and last (exclusive) place of each batch in the order of an epoch."""
    starts = list(range(0, size, batch_size))
    if len(starts) > 1 and size - starts[-1] == 1 < batch_size:
        del starts[-1]
    return list(zip(starts, [*starts[1:], size], strict=True))


def _per_channel(what: str, values: Sequence[float], split: ImageSplit) -> Tensor:
    channels = split.images.shape[1]
    if len(values) != channels:
        raise ShapeError(f"Expected {what} with {channels} values, one for each channel; got {len(values)}.")
    return torch.tensor(values, dtype=torch.float32)[:, None, None]


def _fits(images: Tensor, device: torch.device) -> bool:
    """Whether the split may move to the device."""
    if device.type != "cuda":
        return device.type == "cpu"
    free, _ = torch.cuda.mem_get_info(device)
    return images.nbytes < free // 2
