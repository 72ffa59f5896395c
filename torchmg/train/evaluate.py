"""Loss and accuracy of a model on a data set."""

from typing import Literal, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from torchmg.data.batches import Batches
from torchmg.data.images import ImageSet
from torchmg.hierarchy import check_choice


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
) -> Metrics:
    """Cross entropy and top-1 accuracy in evaluation mode, without augmentation; every module's mode is put back.

    Args:
        model: maps normalised images (batch, channels, H, W) to logits (batch, classes).
        data: as `torchmg.load` gives it; its training mean and deviation normalise both splits.
        split: which part of `data`.
        batch_size: samples at once; the result does not depend on it but for rounding.
        device: where to compute; default where the model's first parameter is.
        channels_last: memory layout of the images.
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
    return evaluate_batches(model, batches)


@torch.no_grad()
def evaluate_batches(model: nn.Module, batches: Batches) -> Metrics:
    """`evaluate` over batches that are already where the model is."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    loss = torch.zeros((), dtype=torch.float64, device=batches.device)
    correct = torch.zeros((), dtype=torch.int64, device=batches.device)
    seen = 0
    try:
        for images, labels, _ in batches.epoch(0):
            logits = model(images).float()
            loss += F.cross_entropy(logits, labels, reduction="sum")
            correct += (logits.argmax(1) == labels).sum()
            seen += len(labels)
    finally:
        for module, training in modes.items():
            module.training = training
    return Metrics(loss.item() / seen, 100 * correct.item() / seen)
