"""One optimiser step: forward and backward over the parts of a batch, clip, update, average."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from torchmg.data.batches import Batches, Plan
from torchmg.nn.norm import norms_and_biases
from torchmg.nn.time_steps import time_smoothness
from torchmg.train.average import Average
from torchmg.train.capture import Captured
from torchmg.train.ranks import Ranks
from torchmg.train.recipe import Recipe
from torchmg.train.tasks import Task
from torchmg.train.teacher import Imitation

if TYPE_CHECKING:
    from lightning.fabric import Fabric
    from lightning.fabric.wrappers import _FabricModule


class Step:
    """A callable that trains on one batch, in place; what it measures waits on the device until `read`.

    Where nothing forbids it, on one GPU and with losses that are not scaled, the whole step from gathering samples to
    the moving average is recorded as a CUDA graph (see `Captured`), so that the host launches it once.

    Args:
        fabric: the engine.
        ranks: the processes.
        model: as it came to `fabric.setup`.
        network: what `fabric.setup` made of it.
        optimizer: what `fabric.setup` made of the optimiser.
        task: what is lost and measured.
        recipe: label smoothing, parts, clipping.
        average: the moving average, if there is one.
        batches: what turns plans into samples.
        imitation: makes the task's loss that of distillation, if there is a teacher.
    """

    def __init__(
        self,
        fabric: "Fabric",
        ranks: Ranks,
        model: nn.Module,
        network: "_FabricModule",
        optimizer: Optimizer,
        task: Task,
        recipe: Recipe,
        average: Average | None,
        batches: Batches,
        imitation: Imitation | None = None,
    ) -> None:
        self._fabric, self._model, self._network, self._optimizer = fabric, model, network, optimizer
        self._recipe, self._average, self._batches, self._ranks = recipe, average, batches, ranks
        self._imitation = imitation
        others = norms_and_biases(model)
        self._weights = [p for p in model.parameters() if p.requires_grad and id(p) not in others]
        self._task, self._sums = task, torch.zeros(task.sums, dtype=torch.float64, device=fabric.device)
        self.captured = fabric.device.type == "cuda" and ranks.world == 1 and recipe.precision != "fp16"
        self._rate = torch.zeros((), device=fabric.device) if self.captured else None
        self._run = Captured(self._train) if self.captured else self._train

    def __call__(self, plan: Plan, rate: float) -> None:
        """Train on the batch of a plan at learning rate `rate`."""
        self._set(rate)
        self._samples = len(plan.everyone)
        inputs = (plan.chosen,) if plan.rows is None else (plan.chosen, plan.rows)
        # samples that lie on the host cannot be gathered inside a graph
        self._run(*(inputs if self._batches.resident else self._batches.samples(plan.chosen, plan.rows)))

    def read(self) -> list[float]:
        """The task's sums since the last time, over all processes; waits for the device."""
        sums = self._ranks.sum(self._sums).tolist()
        self._sums.zero_()
        return sums

    def _set(self, rate: float) -> None:
        if self._rate is not None:
            self._rate.fill_(rate)
        for group in self._optimizer.param_groups:
            group["lr"] = rate if self._rate is None else self._rate  # a graph reads the rate from its tensor

    def _train(self, *inputs: Tensor) -> None:
        if self._batches.resident:
            samples, targets = self._batches.samples(inputs[0], inputs[1] if len(inputs) > 1 else None)
        else:
            samples, targets = inputs
        parts = min(self._recipe.accumulate, max(1, len(targets) // 2))  # batch statistics need two samples
        last = parts - 1
        for index, (x, y) in enumerate(zip(samples.tensor_split(parts), targets.tensor_split(parts), strict=True)):
            self._backward(x, y, synchronise=index == last)
        if self._recipe.clip:
            self._fabric.clip_gradients(
                self._model, self._optimizer, max_norm=self._recipe.clip, error_if_nonfinite=False
            )
        self._optimizer.step()
        self._optimizer.zero_grad()
        if self._recipe.limit:
            self._cut()
        if self._average is not None:
            self._average.update(self._model)

    @torch.no_grad()
    def _cut(self) -> None:
        """Bring weights back into the limits."""
        for weight in self._weights:
            weight.clamp_(-self._recipe.limit, self._recipe.limit)

    def _backward(self, samples: Tensor, targets: Tensor, *, synchronise: bool) -> None:
        processes = self._ranks.world
        with self._fabric.no_backward_sync(self._network, enabled=processes > 1 and not synchronise):
            outputs = self._network(samples)
            loss = fit = self._task.loss(outputs, targets, self._recipe.label_smoothing)
            if self._imitation is not None:
                loss = fit = self._imitation(samples, outputs, fit)
            if self._recipe.time_smoothness:
                loss = fit + self._recipe.time_smoothness * time_smoothness(self._model)
            # processes average their gradients, so each weighs its mean by its share of the batch
            share = processes * len(targets) / self._samples
            self._fabric.backward(loss if share == 1 else loss * share)
        with torch.no_grad():
            self._task.measure(self._sums, outputs, targets, fit)
