"""A moving average of a model's weights, which often tests better than the weights themselves."""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn


class Average:
    """The exponential moving average of a model (Polyak and Juditsky 1992): a <- decay * a + (1 - decay) * w.

    The first update copies. Running statistics are averaged like weights; what is no floating-point number (a count, a
    table of indices) is copied, where `torch.optim.swa_utils.AveragedModel` would average it and round down. Tensors
    that the model shares are shared in the average too.

    Args:
        model: copied as it is now.
        decay: share of the old average that each update keeps, in [0, 1).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.module = deepcopy(model).requires_grad_(False)
        self.decay, self.updates = decay, 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the present state of the model that this is the average of."""
        pairs = list(zip(_tensors(self.module), _tensors(model), strict=True))
        averaged = [pair for pair in pairs if pair[0].is_floating_point()] if self.updates else []
        if averaged:
            old, new = [list(tensors) for tensors in zip(*averaged, strict=True)]
            torch._foreach_lerp_(old, new, 1 - self.decay)  # pyright: ignore[reportPrivateImportUsage]
        for old, new in pairs:
            if not (self.updates and old.is_floating_point()):
                old.copy_(new)
        self.updates += 1

    def state_dict(self) -> dict[str, Any]:
        """For `load_state_dict`."""
        return {"updates": self.updates, "module": self.module.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved average."""
        self.updates = int(state["updates"])
        self.module.load_state_dict(state["module"])


def _tensors(model: nn.Module) -> list[Tensor]:
    # gathered anew each time: a model may put another tensor in a buffer's place
    return [tensor.detach() for tensor in (*model.parameters(), *model.buffers())]
