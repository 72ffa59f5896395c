"""Loss and accuracy of a model on a data set."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchmg.data.batches import Batches
from torchmg.data.images import ImageSet
from torchmg.hierarchy import check_choice
from torchmg.train.recipe import Precision


class Metrics(NamedTuple):
    """Means over a split: cross entropy in nats, top-1 accuracy in percent."""

    loss: float
    accuracy: float


def evaluate(
    model: nn.Module,
    data: ImageSet,
    split: Literal["train", "test"] = "test",
    *,
    batch_size: int = 500,
    device: torch.device | str | None = None,
    channels_last: bool = True,
    precision: Precision = "fp32",
) -> Metrics:
    """Cross entropy and top-1 accuracy in evaluation mode, without augmentation; every module's mode is put back.

    Args:
        model: maps normalised images (batch, channels, H, W) to logits (batch, classes).
        data: as `torchmg.load` gives it; its training mean and deviation normalise both splits.
        split: which part of `data`.
        batch_size: samples at once; the result does not depend on it but for rounding.
        device: where to compute; default where the model's first parameter is.
        channels_last: memory layout of the images.
        precision: as in a recipe; a run is measured in the precision that it was trained in.
    """
    check_choice("split", split, ("train", "test"))
    device = torch.device(device or next(model.parameters()).device)
    batches = Batches(
        data.train if split == "train" else data.test,
        batch_size=batch_size,
        mean=data.mean,
        std=data.std,
        device=device,
        channels_last=channels_last,
        shuffle=False,
    )
    return evaluate_batches(model, batches, precision)


@torch.no_grad()
def evaluate_batches(
    model: nn.Module,
    batches: Batches,
    precision: Precision = "fp32",
    together: Callable[[Tensor], Tensor] | None = None,
) -> Metrics:
    """`evaluate` over batches that are already where the model is.

    Args:
        model: as in `evaluate`.
        batches: all of a split, or this process's share of it.
        precision: as in `evaluate`.
        together: adds a tensor up over all processes, where several share the split.
    """
    modes = {module: module.training for module in model.modules()}
    model.eval()
    sums = torch.zeros(3, dtype=torch.float64, device=batches.device)
    try:
        for images, labels, *_ in batches.epoch(0):
            if not len(labels):
                continue
            with autocast(precision, batches.device):
                logits = model(images)
            logits = logits.float()
            sums[0] += F.cross_entropy(logits, labels, reduction="sum")
            sums[1] += (logits.argmax(1) == labels).sum()
            sums[2] += len(labels)
    finally:
        for module, training in modes.items():
            module.training = training
    loss, correct, seen = (together(sums) if together else sums).tolist()
    return Metrics(loss / seen, 100 * correct / seen)


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """Lower precision where torch deems it safe; nothing for fp32."""
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    return torch.autocast(device.type, dtype if precision != "fp32" else None, enabled=precision != "fp32")
