"""Continuing a run, and saying when that cannot be exact."""

import os
import warnings
from pathlib import Path
from typing import Any

from torchmg.data.batches import Batches
from torchmg.data.order import epoch_order, order_hash
from torchmg.errors import CheckpointError, CheckpointWarning, ExactnessWarning, ResumeError
from torchmg.train.checkpoint import Checkpoint, Progress, Trained, read_checkpoint, restore
from torchmg.train.environment import differences
from torchmg.train.files import set_aside
from torchmg.train.folder import RunFolder
from torchmg.train.recipe import Recipe


def resume(
    run: RunFolder, trained: Trained, train: Batches, data: dict[str, str], here: dict[str, Any], teacher: str = ""
) -> Progress:
    """Restore weights, optimiser and random state from the run's newest checkpoint; returns where it was.

    Without a checkpoint nothing is restored, and the run is at its beginning.

    Raises:
        CheckpointError: the checkpoints are damaged or do not fit.
        ResumeError: the checkpoint belongs to another recipe, or the data or the teacher's weights are not the same.

    Warns:
        CheckpointWarning: the last checkpoint is damaged or missing, and the run continues from the one before.
        ExactnessWarning: torch, device, processor, threads or sample order differ from before.
    """
    if not run.saved:
        return Progress()
    path, checkpoint = newest(run)
    if Recipe.from_json(checkpoint.recipe, str(path)) != run.recipe():  # those of before lack later settings
        raise ResumeError(f"{path} belongs to another recipe than {run.config}. Train again in a new folder.")
    if checkpoint.data != data:
        parts = ", ".join(key for key in data if checkpoint.data.get(key) != data[key])
        raise ResumeError(f"The data is not what {run.path} was trained on (differs in {parts}). Check --data-dir.")
    if checkpoint.teacher != teacher:
        raise ResumeError(
            f"{run.path} imitates a teacher of other weights (sha256 {checkpoint.teacher[:12]}) than "
            f"{run.recipe().distill_from} has now ({teacher[:12]}). Exact resume is impossible. Put its weights back, "
            "or train again in a new folder."
        )
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


def newest(run: RunFolder) -> tuple[Path, Checkpoint]:
    """The last checkpoint and its place; if it is damaged or missing the one before, and the damaged one is set aside.

    Both lead to the same end, bit for bit: the one before only has more left to train.
    """
    way_out = "Train again in a new folder, or restore the file from a copy."
    try:
        return run.checkpoint, read_checkpoint(run.checkpoint)
    except CheckpointError as error:
        damage = error
    if not os.path.lexists(run.previous):
        raise CheckpointError(f"{damage} {way_out}") from damage
    try:
        checkpoint = read_checkpoint(run.previous)
    except CheckpointError as error:
        raise CheckpointError(f"{damage} Nor can the one before it be used: {error} {way_out}") from error
    aside = ""
    if os.path.lexists(run.checkpoint):
        aside = f" The damaged file is kept as {set_aside(run.checkpoint).name}."
    step = checkpoint.progress.step
    warnings.warn(f"{damage} Continuing from {run.previous.name}, step {step}.{aside}", CheckpointWarning, stacklevel=4)
    return run.previous, checkpoint


def consumed_order(train: Batches, at: Progress) -> str:
    """The chained hash of the sample ids that a run at `at` should have consumed."""
    hashed = ""
    for epoch in range(at.epoch + 1):
        order = epoch_order(train.seed, epoch, len(train.split))
        for first, last in train.cuts if epoch < at.epoch else train.cuts[: at.batch]:
            hashed = order_hash(hashed, order[first:last])
    return hashed
