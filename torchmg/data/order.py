"""Sample order and augmentation draws as pure functions of (seed, epoch, index).

Nothing here has a state: a run continued in mid-epoch, on another device or with another batch size meets the
numbers that an unbroken run would have met.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from torchmg.errors import UsageError

_ORDER, CROPS, POLICY, BOXES, BLENDS = 0, 1, 2, 3, 4
"""The purposes that random numbers serve, each with a stream of its own: order, crops and flips, policies, boxes that
are pasted or erased, shares of blended samples."""


def epoch_order(seed: int, epoch: int, size: int) -> Tensor:
    """The order of an epoch: a permutation of 0..size-1, int64 (size,), on the CPU.

    Raises:
        UsageError: A seed outside 0..2**64-1 or an epoch outside 0..2**32-1.
    """
    return torch.from_numpy(_stream(seed, epoch, _ORDER).permutation(size).astype(np.int64))


def draws(seed: int, epoch: int, size: int, high: int | Sequence[int], columns: int, stream: int = CROPS) -> Tensor:
    """Uniform integers for the augmentation of an epoch, int64 (size, columns), on the CPU.

    Row i belongs to sample i whatever its place in the epoch, and does not depend on `size`. The numbers are
    independent of `epoch_order`.

    Args:
        seed: Of the run.
        epoch: From 0.
        size: How many samples.
        high: Values are 0..high-1; one bound for all columns or one for each.
        columns: How many numbers a sample needs.
        stream: CROPS, POLICY or BOXES; their numbers are independent of each other.

    Raises:
        UsageError: A seed outside 0..2**64-1 or an epoch outside 0..2**32-1.
    """
    bounds = np.broadcast_to(np.asarray(high, np.int64), (columns,))
    return torch.from_numpy(_stream(seed, epoch, stream).randint(0, bounds, (size, columns), np.int64))


def shares(seed: int, epoch: int, size: int, alpha: float) -> Tensor:
    """Numbers in [0, 1] for the blends of an epoch, drawn from Beta(alpha, alpha): float64 (size,), on the CPU.

    Number i belongs to sample i, as in `draws`.

    Args:
        seed: Of the run.
        epoch: From 0.
        size: How many samples.
        alpha: Above 0; 1 is uniform, and the smaller it is the more numbers lie near 0 and 1.

    Raises:
        UsageError: A seed outside 0..2**64-1 or an epoch outside 0..2**32-1.
    """
    return torch.from_numpy(_stream(seed, epoch, BLENDS).beta(alpha, alpha, size))


def order_hash(previous: str, indices: Tensor) -> str:
    """Sha256 (hex) over the previous hash and the sample ids consumed since, as little-endian int64.

    Chained batch by batch from `""`, the hash stands for the whole history in constant space: a checkpoint
    carries it, and a continued run can prove that it saw the same samples in the same batches.
    """
    ids = indices.cpu().numpy().astype("<i8").tobytes()
    return hashlib.sha256(previous.encode() + ids).hexdigest()


def _stream(seed: int, epoch: int, stream: int) -> np.random.RandomState:
    """The random numbers of one purpose in one epoch.

    SeedSequence mixes four 32-bit words: seed (low, high), epoch, stream. It and RandomState are frozen by
    NumPy's compatibility policy, so an order lasts; torch gives no such promise for `randperm`, and of a seed its
    CPU generator keeps only 32 bits.
    """
    if not 0 <= seed < 2**64:
        raise UsageError(f"A seed lies in 0..2**64-1; got {seed}.")
    if not 0 <= epoch < 2**32:
        raise UsageError(f"An epoch lies in 0..2**32-1; got {epoch}.")
    words = np.random.SeedSequence([seed & 0xFFFFFFFF, seed >> 32, epoch, stream])
    return np.random.RandomState(np.random.MT19937(words))
