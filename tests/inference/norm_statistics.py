"""Norms with statistics of their own: fresh ones are the identity, which hides what folding does wrong."""

from typing import TypeVar

from torch import nn

Model = TypeVar("Model", bound=nn.Module)


def randomised(model: Model) -> Model:
    """The model in evaluation mode, every batch norm with random statistics, weights and biases of sane size."""
    for module in model.modules():
        if not isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            continue
        if module.weight is not None:
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
        if module.running_mean is not None and module.running_var is not None:
            nn.init.normal_(module.running_mean, 0, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model.eval()
