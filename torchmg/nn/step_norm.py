"""The norms and activations inside of residual steps, by name."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from torchmg.hierarchy import Dims, check_choice
from torchmg.nn.norm import batch_norm
from torchmg.nn.pixel_norm import PixelNorm

StepNorm = Literal["batch", "nonnegative", "tv", "none"]
"""`batch`: batch norm (default; the authors' drivers of May 2018). `nonnegative`: batch norm whose scale is |gamma|,
which certified steps need. `tv`: per pixel, see `PixelNorm` (the authors' later drivers). `none`."""
StepAct = Literal["relu", "tanh"]
"""Both are nondecreasing and 1-Lipschitz, which is what the theorems on symmetric steps ask for."""


class NonnegativeBatchNorm(_BatchNorm):
    """Batch norm with |gamma| in place of gamma, for any number of spatial axes; parameters and names as batch norm's.

    A negative gamma turns a step that damps into one that amplifies, whatever the norm of its kernel (spec 2.2).
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's name)
        """Normalise (batch, channels, *spatial)."""
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        gamma, momentum = self.weight.abs(), self.momentum or 0.0
        return F.batch_norm(
            input, self.running_mean, self.running_var, gamma, self.bias, self.training, momentum, self.eps
        )

    def gain(self) -> Tensor:
        """The largest |gamma| / std over channels: what the norm multiplies by at most in evaluation."""
        assert self.running_var is not None
        return (self.weight.abs() * torch.rsqrt(self.running_var + self.eps)).max()


def step_norm(kind: StepNorm, channels: int, dims: Dims) -> nn.Module:
    """The norm of that name for (batch, channels, *spatial).

    Raises:
        UnknownNameError: an unknown name.
    """
    check_choice("norm", kind, get_args(StepNorm))
    match kind:
        case "batch":
            return batch_norm(channels, dims)
        case "nonnegative":
            return NonnegativeBatchNorm(channels)
        case "tv":
            return PixelNorm(channels)
        case _:
            return nn.Identity()


def step_act(kind: StepAct) -> nn.Module:
    """The activation of that name.

    Raises:
        UnknownNameError: an unknown name.
    """
    check_choice("act", kind, get_args(StepAct))
    return nn.ReLU() if kind == "relu" else nn.Tanh()
