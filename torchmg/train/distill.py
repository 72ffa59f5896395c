"""Losses of distillation: how far a network is from the one that it imitates. Nothing here knows recipes or runs."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchmg.errors import UsageError


def soft_target_loss(outputs: Tensor, taught: Tensor, temperature: float) -> Tensor:
    """T^2 KL(softmax(taught / T) || softmax(outputs / T)) in nats, the mean over samples and places.

    Of Hinton, Vinyals and Dean 2015 (Distilling the knowledge in a neural network, section 2). Gradients of softened
    distributions shrink as 1 / T^2, hence the factor: the weight beside the task's loss then holds for any temperature.
    For high temperatures the gradient approaches (outputs - taught) / classes, of logits whose means agree.

    Args:
        outputs: logits (batch, classes, ...), of pixels (batch, classes, H, W).
        taught: the teacher's, of the same shape.
        temperature: T above 0.
    """
    ours, theirs = (F.log_softmax(logits / temperature, 1) for logits in (outputs, taught))
    divergence = F.kl_div(ours, theirs, reduction="none", log_target=True).sum(1)
    return divergence.mean() * temperature**2


def map_loss(maps: Sequence[Tensor], taught: Sequence[Tensor]) -> Tensor:
    """Mean squared error of each map over the mean square of the teacher's, then the mean over maps.

    FitNets (Romero et al. 2015) without their regressor, which maps of one shape do not need. 1 is what a network that
    gives zeros reaches, whatever the scale of a stage, so that a weight means the same everywhere.

    Args:
        maps: of any shapes, at least one.
        taught: the teacher's, of the same shapes.
    """
    errors = [
        F.mse_loss(ours, theirs) / theirs.square().mean().clamp_min(torch.finfo(theirs.dtype).eps)
        for ours, theirs in zip(maps, taught, strict=True)
    ]
    return torch.stack(errors).mean()


class Maps:
    """Takes the feature maps that a network's `forward_features` gives inside its forward pass, which is run once.

    The network is changed: its `forward_features` is wrapped. So a copy must be made before, not afterwards.

    Args:
        network: with a method `forward_features` that returns one map or several, and that its forward pass calls.
        name: what errors call it.

    Raises:
        UsageError: it has no such method.
    """

    def __init__(self, network: nn.Module, name: str) -> None:
        features = getattr(network, "forward_features", None)
        if not callable(features):
            raise UsageError(
                f"{name} has no forward_features, so distill_features has nothing to compare. Use distill_features 0."
            )
        self._name = name
        self._taken: object = None

        def forward_features(x: Tensor) -> object:
            given = features(x)
            self._taken = given
            return given

        network.forward_features = forward_features  # pyright: ignore[reportArgumentType]

    def take(self) -> list[Tensor]:
        """The maps of the last forward pass, once; they are not held on to.

        Raises:
            UsageError: the forward pass does not call `forward_features`, or that does not give tensors.
        """
        given, self._taken = self._taken, None
        several: Sequence[Any] = given if isinstance(given, list | tuple) else [given]
        maps = [one for one in several if isinstance(one, Tensor)]
        if not maps or len(maps) != len(several):
            raise UsageError(
                f"{self._name} does not call its forward_features in its forward pass, or that gives no feature maps. "
                "Use distill_features 0."
            )
        return maps
