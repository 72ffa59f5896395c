"""Cross-validation: every sample is held out in exactly one fold."""

import torch

from torchmg.data.arrays import ArraySet, ArraySplit
from torchmg.data.order import epoch_order
from torchmg.errors import UsageError


def folded(data: ArraySet, fold: int, folds: int = 10, seed: int = 0) -> ArraySet:
    """The set of one fold: its share of all samples, training and test together, is held out as the test split.

    Samples are dealt out in an order that depends on nothing but their number and `seed`, so that folds are the same
    for every network that is compared. Sizes of folds differ by one at most. The set's own split plays no role.

    Args:
        data: what to divide; its samples are numbered through, training ones first.
        fold: which one is held out, 0 to `folds` - 1.
        folds: how many there are; 10 in the MGIC paper's function approximation.
        seed: of the order.

    Raises:
        UsageError: fewer than two folds, more folds than samples, no such fold, a seed outside 0..2**64-1.
    """
    inputs, targets = (
        torch.cat([getattr(data.train, name), getattr(data.test, name)]) for name in ("inputs", "targets")
    )
    size = len(inputs)
    if not 2 <= folds <= size:
        raise UsageError(f"{size} samples can be cut into 2 to {size} folds; got folds={folds}.")
    if not 0 <= fold < folds:
        raise UsageError(f"Folds count from 0 to {folds - 1}; got fold={fold}.")
    order = epoch_order(seed, 0, size)
    held_out = torch.zeros(size, dtype=torch.bool)
    held_out[order[fold::folds]] = True
    name = f"{data.name}, fold {fold} of {folds}"
    return ArraySet(
        name,
        data.classes,
        ArraySplit(inputs[~held_out], targets[~held_out]),
        ArraySplit(inputs[held_out], targets[held_out]),
    )
