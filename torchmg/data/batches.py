"""Batches of a split held in memory, in an order that is a function of (seed, epoch)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from torchmg.data.actions import Actions
from torchmg.data.augment import augment as apply_augmentation
from torchmg.data.augment import augmentation_table, margin
from torchmg.data.images import ImageSplit
from torchmg.data.order import epoch_order
from torchmg.data.policies import POLICIES
from torchmg.errors import ShapeError, UsageError


class Plan(NamedTuple):
    """A batch before its pixels are touched: all that `Batches.images` and `Batches.labels` need."""

    chosen: Tensor
    """int64 (B,): the place of each sample in its split, where the split lies (`Batches.resident`)."""
    rows: Tensor | None
    """int64 (B, columns) on the device: how each sample is augmented; None where nothing is."""
    indices: Tensor
    """`chosen` on the CPU."""
    everyone: Tensor
    """int64 on the CPU: the samples of all ranks together, in order; `indices` where there is one rank."""


@dataclass(frozen=True, eq=False)
class Batch:
    """What a training step takes; unpacks to (images, labels, indices)."""

    images: Tensor
    """float32 (B, C, H, W) on the device, normalised and augmented."""
    labels: Tensor
    """int64 (B,) on the device."""
    indices: Tensor
    """int64 (B,) on the CPU: the place of each sample in its split."""
    everyone: Tensor
    """int64 on the CPU: the samples of all ranks together, in order; `indices` where there is one rank."""

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.images, self.labels, self.indices))


class Batches:
    """Every sample of a split once in each epoch, cut into batches.

    The split stays uint8 on the device where it takes less than half of the free memory, so that a step copies
    nothing; otherwise it stays on the host and each batch is copied. Position is a number, not a state: the batches
    from `start` on are the same whether or not the ones before were drawn.

    The last batch may be smaller. Only where it would leave a rank with fewer than two samples does it join the batch
    before: batch normalisation cannot work on one sample of one pixel.

    Several processes share an epoch: each draws the same order and takes its own part of every batch, `part` of it,
    so that all together see the very batches that one process would. The one difference is a last batch that is too
    small for all of them. Unshuffled batches, for evaluation, are cut as for one process, and a part may be empty.

    Raises:
        ShapeError: `mean` or `std` without exactly one value for each channel, or a policy for pictures of other than
            1 or 3 channels.
        UsageError: A batch size below one, a standard deviation that is not positive, a bad seed or augmentation, a
            rank outside 0..world-1, shuffled batches or a split too small to give each rank two samples.
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
        rank: int = 0,
        world: int = 1,
    ) -> None:
        """Args are keywords; they are checked here and not changed later.

        Args:
            split: The samples.
            batch_size: Samples in a batch, of all ranks together.
            seed: Of the order and of the augmentation.
            mean: For each channel, where 255 counts as 1 (`ImageSet.mean`).
            std: For each channel, where 255 counts as 1 (`ImageSet.std`).
            augment: A name in `AUGMENTATIONS`.
            device: Where batches are wanted.
            channels_last: Whether images come in the channels-last memory format.
            shuffle: False for the order of the split, as evaluation wants it.
            rank: Which of the processes this one is, from 0.
            world: How many processes share each batch.
        """
        self.split, self.seed, self.shuffle = split, seed, shuffle
        self.batch_size, self.augment, self.device = batch_size, augment, torch.device(device)
        self.rank, self.world = rank, world
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        if batch_size < 1:
            raise UsageError(f"A batch holds at least one sample; got batch_size={batch_size}.")
        if not 0 <= rank < world:
            raise UsageError(f"A rank lies in 0..world-1; got rank={rank} and world={world}.")
        if shuffle:
            _enough_for_all(len(split), batch_size, world)
        augmentation_table(augment, seed, 0, 0)
        channels, height, width = split.images.shape[1:]
        self._padding = margin(height, width)
        policy = POLICIES.get(augment)
        shape = (channels, height, width)
        self._actions = None if policy is None else Actions(policy.actions((height, width)), shape, self.device)
        epoch_order(seed, 0, 0)
        self._mean = _per_channel("mean", mean, split).to(self.device)
        self._std = _per_channel("std", std, split).to(self.device)
        if not all(value > 0 for value in std):
            raise UsageError(f"std must be positive, got {tuple(std)}: a constant channel cannot be normalised.")
        self.cuts = bounds(len(split), batch_size, world if shuffle else 1)
        home = self.device if _fits(split.images, self.device) else split.images.device
        self._images, self._labels = split.images.to(home), split.labels.to(home)

    def __len__(self) -> int:
        """Steps in an epoch."""
        return len(self.cuts)

    @property
    def resident(self) -> bool:
        """Whether the split lies on the device: only then do `images` and `labels` run without the host."""
        return self._images.device == self._mean.device

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, without the first `start`, which cost nothing: `plan`, then `images` and `labels`.

        Raises:
            UsageError: `start` outside 0..len(self), or an epoch below zero.
        """
        return map(self._batch, self.plan(epoch, start))

    def plan(self, epoch: int, start: int = 0) -> Iterator[Plan]:
        """What `epoch` will draw, before any pixel is touched.

        A training step that is captured once and replayed takes `chosen` and `rows` as its inputs and calls `images`
        and `labels` inside.

        Raises:
            UsageError: `start` outside 0..len(self), or an epoch below zero.
        """
        if not 0 <= start <= len(self):
            raise UsageError(f"An epoch has {len(self)} batches; cannot start at {start}.")
        size = len(self.split)
        order = epoch_order(self.seed, epoch, size) if self.shuffle else torch.arange(size)
        table = augmentation_table(self.augment, self.seed, epoch, size, self._padding)
        return self._plans(order, None if table is None else table[order], start)

    def images(self, chosen: Tensor, rows: Tensor | None) -> Tensor:
        """The pixels of a batch, float32 (B, C, H, W) on the device, normalised and augmented.

        Policies act first, on the levels 0..255 of the whole picture, as in the published code of AutoAugment for
        CIFAR-10. Crops come after normalising, which makes the zeros of their margin the mean colour.

        A pure function of its arguments. Where the split is resident it is made of tensor operations of fixed shapes
        on the device alone, without waiting for the host, so that a CUDA graph can hold it.

        Args:
            chosen: `Plan.chosen`.
            rows: `Plan.rows`.
        """
        pixels = self._delivered(self._images[chosen])
        if self._actions is not None and rows is not None:
            for ids in rows[:, 3:].unbind(1):
                pixels = self._actions(pixels, ids)
        images = self._normalised(pixels)
        return apply_augmentation(images, rows, self._padding).contiguous(memory_format=self._format)

    def labels(self, chosen: Tensor) -> Tensor:
        """The labels of a batch, int64 (B,) on the device; `images` says when without the host.

        Args:
            chosen: `Plan.chosen`.
        """
        return self._delivered(self._labels[chosen])

    def _batch(self, plan: Plan) -> Batch:
        return Batch(self.images(plan.chosen, plan.rows), self.labels(plan.chosen), plan.indices, plan.everyone)

    def _plans(self, order: Tensor, rows: Tensor | None, start: int) -> Iterator[Plan]:
        # One copy for the whole epoch: a copy in each step would make the device wait for the host.
        there = order.to(self._images.device)
        rows = None if rows is None else rows.to(self.device)
        for first, last in self.cuts[start:]:
            own = part(first, last, self.rank, self.world)
            yield Plan(there[own], None if rows is None else rows[own], order[own], order[first:last])

    def _delivered(self, values: Tensor) -> Tensor:
        """Values on the device, wherever the split lies."""
        if not self.resident and self.device.type == "cuda":
            return values.pin_memory().to(self.device, non_blocking=True)
        return values.to(self.device)

    def _normalised(self, images: Tensor) -> Tensor:
        images = images.contiguous(memory_format=self._format)
        return images.float().div_(255).sub_(self._mean).div_(self._std)


def bounds(size: int, batch_size: int, world: int = 1) -> list[tuple[int, int]]:
    """First and last (exclusive) place of each batch in the order of an epoch.

    Args:
        size: Samples in an epoch.
        batch_size: Samples in a batch; the last may be smaller, or larger by fewer than two for each rank.
        world: How many ranks share a batch and want two samples each.
    """
    starts = list(range(0, size, batch_size))
    if len(starts) > 1 and size - starts[-1] < min(2 * world, batch_size):
        del starts[-1]
    return list(zip(starts, [*starts[1:], size], strict=True))


def part(first: int, last: int, rank: int, world: int) -> slice:
    """The places of a rank in the batch first..last (exclusive): contiguous, of sizes that differ by one at most."""
    size = last - first
    return slice(first + size * rank // world, first + size * (rank + 1) // world)


def _enough_for_all(size: int, batch_size: int, world: int) -> None:
    if world > 1 and batch_size < 2 * world:
        raise UsageError(
            f"Each of {world} processes needs two samples of every batch; got batch_size={batch_size}. "
            f"Use batch_size={2 * world} or more."
        )
    if world > 1 and size < 2 * world:
        raise UsageError(
            f"Each of {world} processes needs two samples of every batch; there are {size} in all. "
            f"Use {max(1, size // 2)} or fewer."
        )


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
