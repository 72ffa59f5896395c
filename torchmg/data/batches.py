"""Batches of a split, in an order that is a function of (seed, epoch)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from torchmg.data.order import epoch_order
from torchmg.data.samples import Preparation, Split
from torchmg.errors import UsageError


class Plan(NamedTuple):
    """A batch before its samples are touched: all that `Batches.samples` needs."""

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
    """What a training step takes; unpacks to (inputs, targets, indices)."""

    inputs: Tensor
    """float32 (B, ...) on the device, normalised and augmented."""
    targets: Tensor
    """(B, ...) on the device: labels, masks or numbers."""
    indices: Tensor
    """int64 (B,) on the CPU: the place of each sample in its split."""
    everyone: Tensor
    """int64 on the CPU: the samples of all ranks together, in order; `indices` where there is one rank."""

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.inputs, self.targets, self.indices))


class Batches:
    """Every sample of a split once in each epoch, cut into batches.

    A split that is held in memory stays as it is stored on the device, where it takes less than half of the free
    memory, so that a step copies nothing; otherwise it stays on the host, or on the disk, and each batch is copied.
    Position is a number, not a state: the batches
    from `start` on are the same whether or not the ones before were drawn.

    The last batch may be smaller. Only where it would leave a rank with fewer than two samples does it join the batch
    before: batch normalisation cannot work on one sample of one pixel.

    Several processes share an epoch: each draws the same order and takes its own part of every batch, `part` of it,
    so that all together see the very batches that one process would. The one difference is a last batch that is too
    small for all of them. Unshuffled batches, for evaluation, are cut as for one process, and a part may be empty.

    Raises:
        UsageError: A batch size below one, a bad seed, a rank outside 0..world-1, shuffled batches or a split too small
            to give each rank two samples.
    """

    def __init__(
        self,
        split: Split,
        preparation: Preparation,
        *,
        batch_size: int,
        seed: int = 0,
        device: torch.device | str = "cpu",
        channels_last: bool = False,
        shuffle: bool = True,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        """Args are checked here and not changed later.

        Args:
            split: The samples.
            preparation: What is done to them, see `Preparation`; augmentation is its own.
            batch_size: Samples in a batch, of all ranks together.
            seed: Of the order and of the augmentation.
            device: Where batches are wanted.
            channels_last: Whether images come in the channels-last memory format.
            shuffle: False for the order of the split, as evaluation wants it.
            rank: Which of the processes this one is, from 0.
            world: How many processes share each batch.
        """
        self.split, self.seed, self.shuffle = split, seed, shuffle
        self.batch_size, self.device = batch_size, torch.device(device)
        self.rank, self.world = rank, world
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        if batch_size < 1:
            raise UsageError(f"A batch holds at least one sample; got batch_size={batch_size}.")
        if not 0 <= rank < world:
            raise UsageError(f"A rank lies in 0..world-1; got rank={rank} and world={world}.")
        if shuffle:
            _enough_for_all(len(split), batch_size, world)
        epoch_order(seed, 0, 0)
        self._prepare = preparation.to(self.device)
        self._prepare.table(seed, 0, 0)
        self.cuts = bounds(len(split), batch_size, world if shuffle else 1)
        self._held = _held(split, self.device)

    def __len__(self) -> int:
        """Steps in an epoch."""
        return len(self.cuts)

    @property
    def resident(self) -> bool:
        """Whether the split lies on the device: only then does `samples` run without the host."""
        return self._held is not None and self._held[0].device.type == self.device.type

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, without the first `start`, which cost nothing: `plan`, then `samples`.

        Raises:
            UsageError: `start` outside 0..len(self), or an epoch below zero.
        """
        return map(self._batch, self.plan(epoch, start))

    def plan(self, epoch: int, start: int = 0) -> Iterator[Plan]:
        """What `epoch` will draw, before any sample is touched.

        A training step that is captured once and replayed takes `chosen` and `rows` as its inputs and calls `samples`
        inside.

        Raises:
            UsageError: `start` outside 0..len(self), or an epoch below zero.
        """
        if not 0 <= start <= len(self):
            raise UsageError(f"An epoch has {len(self)} batches; cannot start at {start}.")
        size = len(self.split)
        order = epoch_order(self.seed, epoch, size) if self.shuffle else torch.arange(size)
        table = self._prepare.table(self.seed, epoch, size)
        return self._plans(order, None if table is None else table[order], start)

    def samples(self, chosen: Tensor, rows: Tensor | None) -> tuple[Tensor, Tensor]:
        """(inputs, targets) of a batch on the device, normalised and augmented.

        A pure function of its arguments. Where the split is resident it is made of tensor operations of fixed shapes
        on the device alone, without waiting for the host, so that a CUDA graph can hold it.

        Args:
            chosen: `Plan.chosen`.
            rows: `Plan.rows`.
        """
        if self._held is not None:
            raw = tuple(values[chosen] for values in self._held)
        else:
            raw = self.split.take(chosen, None if rows is None else rows.cpu())
        # Formatted before it is normalised, while a pixel is still one byte.
        first, second = (self._formatted(self._delivered(values)) for values in raw)
        inputs, targets = self._prepare(first, second, rows)
        return self._formatted(inputs), targets

    def _batch(self, plan: Plan) -> Batch:
        return Batch(*self.samples(plan.chosen, plan.rows), plan.indices, plan.everyone)

    def _plans(self, order: Tensor, rows: Tensor | None, start: int) -> Iterator[Plan]:
        # One copy for the whole epoch: a copy in each step would make the device wait for the host.
        there = order if self._held is None else order.to(self._held[0].device)
        rows = None if rows is None else rows.to(self.device)
        for first, last in self.cuts[start:]:
            own = part(first, last, self.rank, self.world)
            yield Plan(there[own], None if rows is None else rows[own], order[own], order[first:last])

    def _delivered(self, values: Tensor) -> Tensor:
        """Values on the device, wherever the split lies."""
        if not self.resident and self.device.type == "cuda":
            return values.pin_memory().to(self.device, non_blocking=True)
        return values.to(self.device)

    def _formatted(self, values: Tensor) -> Tensor:
        """Maps in the memory format that was asked for; anything else contiguous."""
        return values.contiguous(memory_format=self._format if values.dim() == 4 else torch.contiguous_format)


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


def _held(split: Split, device: torch.device) -> tuple[Tensor, Tensor] | None:
    """Inputs and targets of a split that is held in memory, on the device where they fit; None for one on the disk."""
    inputs, targets = getattr(split, "inputs", None), getattr(split, "targets", None)
    if not isinstance(inputs, Tensor) or not isinstance(targets, Tensor):
        return None
    home = device if _fits(inputs.nbytes + targets.nbytes, device) else inputs.device
    return inputs.to(home), targets.to(home)


def _fits(size: int, device: torch.device) -> bool:
    """Whether so many bytes may move to the device."""
    if device.type != "cuda":
        return device.type == "cpu"
    free, _ = torch.cuda.mem_get_info(device)
    return size < free // 2
