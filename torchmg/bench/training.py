"""A training step that can be timed again and again."""

from collections.abc import Callable

import torch
from torch import Tensor

LEARNING_RATE = 1e-4
"""So low that steps on the same images, repeated, cannot diverge: numbers that are not finite have other times."""


def training_step(loss: Callable[[], Tensor], optimizer: torch.optim.Optimizer) -> Callable[[], Tensor]:
    """Forward, backward and the optimizer's step, as a function that returns the loss.

    Args:
        loss: a forward pass, on samples that stay the same.
        optimizer: of the parameters; should have `LEARNING_RATE`.
    """

    def step() -> Tensor:
        found = loss()
        found.backward()
        optimizer.step()
        optimizer.zero_grad()
        return found.detach()

    return step


def plain_sgd(model: torch.nn.Module) -> torch.optim.Optimizer:
    """SGD with momentum and weight decay over all parameters, at `LEARNING_RATE`."""
    return torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=0.9, weight_decay=1e-4)
