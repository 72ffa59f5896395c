"""Loss and scores of a model on a data set."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Literal

import torch
from torch import Tensor, nn

from torchmg.data.batches import Batches
from torchmg.data.samples import DataSet
from torchmg.hierarchy import check_choice
from torchmg.train.settings import Precision
from torchmg.train.tasks import Metrics, Task, task_of

__all__ = ["Metrics", "Mirrored", "autocast", "evaluate", "evaluate_batches"]


class Mirrored(nn.Module):
    """The mean of a network's outputs for pictures and for their mirror images, left to right.

    Args:
        network: maps pictures (batch, C, H, W) to outputs that may be averaged, such as logits.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """The mean, of the shape of the network's outputs."""
        return (self.network(x) + self.network(x.flip(-1))) / 2


def evaluate(
    model: nn.Module,
    data: DataSet,
    split: Literal["train", "test"] = "test",
    *,
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    channels_last: bool = True,
    precision: Precision = "fp32",
) -> Metrics:
    """Loss and scores of the data's task in evaluation mode, without augmentation; every module's mode is put back.

    Args:
        model: maps prepared inputs (batch, *data.shape) to the outputs that the task wants.
        data: as `torchmg.load` gives it; its training moments normalise both splits.
        split: which part of `data`.
        batch_size: samples at once, by default as many as the task finds good; the result does not depend on it but
            for rounding.
        device: where to compute; default where the model's first parameter is.
        channels_last: memory layout of the images.
        precision: as in a recipe; a run is measured in the precision that it was trained in.
    """
    check_choice("split", split, ("train", "test"))
    device = torch.device(device or next(model.parameters()).device)
    task = task_of(data)
    batches = Batches(
        data.train if split == "train" else data.test,
        data.preparation(),
        batch_size=task.batch if batch_size is None else batch_size,
        device=device,
        channels_last=channels_last,
        shuffle=False,
    )
    return evaluate_batches(model, batches, task, precision)


@torch.no_grad()
def evaluate_batches(
    model: nn.Module,
    batches: Batches,
    task: Task,
    precision: Precision = "fp32",
    together: Callable[[Tensor], Tensor] | None = None,
) -> Metrics:
    """`evaluate` over batches that are already where the model is.

    Args:
        model: as in `evaluate`.
        batches: all of a split, or this process's share of it.
        task: what is measured.
        precision: as in `evaluate`.
        together: adds a tensor up over all processes, where several share the split.
    """
    modes = {module: module.training for module in model.modules()}
    model.eval()
    sums = torch.zeros(task.sums, dtype=torch.float64, device=batches.device)
    try:
        for inputs, targets, *_ in batches.epoch(0):
            if not len(targets):
                continue
            with autocast(precision, batches.device):
                outputs = model(inputs)
            task.measure(sums, outputs.float(), targets)
    finally:
        for module, training in modes.items():
            module.training = training
    return task.metrics((together(sums) if together else sums).tolist())


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """Lower precision where torch deems it safe; nothing for fp32."""
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    return torch.autocast(device.type, dtype if precision != "fp32" else None, enabled=precision != "fp32")
