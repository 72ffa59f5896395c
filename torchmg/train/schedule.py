"""The learning rate and the optimiser's parameter groups."""

from math import cos, pi
from typing import Any

from torch import nn
from torch.optim import SGD

from torchmg.nn.norm import norms_and_biases
from torchmg.train.recipe import Recipe


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """The rate of optimiser step `step` (from 0), a pure function of its arguments.

    Warm-up is linear and reaches the peak after `warmup_epochs`; the cosine then falls from the peak to zero over
    the remaining steps, as does poly along (1 - part done) ** `power`; the step schedule multiplies by `gamma` at the
    start of every milestone epoch.
    """
    warmup, total = round(recipe.warmup_epochs * steps_per_epoch), recipe.epochs * steps_per_epoch
    if step < warmup:
        return recipe.lr * (step + 1) / warmup
    done = (step - warmup) / max(total - warmup, 1)
    if recipe.schedule == "cosine":
        return recipe.lr * 0.5 * (1 + cos(pi * done))
    if recipe.schedule == "poly":
        return recipe.lr * (1 - done) ** recipe.power
    if recipe.schedule == "constant":
        return recipe.lr
    return recipe.lr * recipe.gamma ** sum(step >= epoch * steps_per_epoch for epoch in recipe.milestones)


def sgd(model: nn.Module, recipe: Recipe) -> SGD:
    """SGD with momentum over all parameters, each once; with `decay="weights"` norms and biases do not decay.

    On a GPU it is the fused form, which reads its learning rate from a tensor, so that a CUDA graph can hold it.
    """
    exempt = norms_and_biases(model) if recipe.decay == "weights" else set()
    groups: list[dict[str, Any]] = [
        {"params": [p for p in model.parameters() if id(p) not in exempt], "weight_decay": recipe.weight_decay},
        {"params": [p for p in model.parameters() if id(p) in exempt], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    fused = any(p.is_cuda for p in model.parameters())
    return SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.nesterov, fused=fused or None)
