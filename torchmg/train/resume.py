"""Continuing a run, and saying when that cannot be exact."""

import warnings
from pathlib import Path
from typing import Any

from torchmg.data.batches import Batches
from torchmg.data.order import epoch_order, order_hash
from torchmg.errors import ExactnessWarning, ResumeError
from torchmg.train.checkpoint import Progress, Trained, read_checkpoint, restore
from torchmg.train.environment import differences
from torchmg.train.folder import RunFolder


def resume(run: RunFolder, trained: Trained, train: Batches, data: dict[str, str], here: dict[str, Any]) -> Progress:
    """Restore weights, optimiser and random state from the run's checkpoint; returns where it was.

    Raises:
        CheckpointError: the checkpoint is damaged or does not fit.
        ResumeError: the checkpoint belongs to another recipe, or the data is not the same.

    Warns:
        ExactnessWarning: torch, device, processor, threads or sample order differ from before.
    """
    path: Path = run.checkpoint
    checkpoint = read_checkpoint(path)
    if checkpoint.recipe != run.recipe().to_json():
        raise ResumeError(f"{path} belongs to another recipe than {run.config}. Train again in a new folder.")
    if checkpoint.data != data:
        parts = ", ".join(key for key in data if checkpoint.data.get(key) != data[key])
        raise ResumeError(f"The data is not what {run.path} was trained on (differs in {parts}). Check --data-dir.")
    at = restore(checkpoint, trained, path, train.rank)
    changed = differences(checkpoint.environment, here)
    if at.order != consumed_order(train, at):
        changed.append("the sample order is drawn differently")
    if changed:
        warnings.warn(
            f"Continuing {run.path} is not exact, the last bits may differ from an unbroken run: {'; '.join(changed)}.",
            ExactnessWarning,
            stacklevel=3,
        )
    return at


def consumed_order(train: Batches, at: Progress) -> str:
    """The chained hash of the sample ids that a run at `at` should have consumed."""
    hashed = ""
    for epoch in range(at.epoch + 1):
        order = epoch_order(train.seed, epoch, len(train.split))
        for first, last in train.cuts if epoch < at.epoch else train.cuts[: at.batch]:
            hashed = order_hash(hashed, order[first:last])
    return hashed
