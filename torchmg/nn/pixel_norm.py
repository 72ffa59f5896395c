"""Normalisation of every pixel by itself: the "TV" norm of PDE networks."""

import torch
from torch import Tensor, nn

from torchmg.errors import UsageError


class PixelNorm(nn.Module):
    """y / sqrt(sum over channels of y^2 + eps), then gamma y + beta per channel: (batch, channels, *spatial) -> same.

    It sees one pixel at a time, so it needs no statistics and is the same in training and evaluation. It has the 2
    channels parameters of a batch norm. Sums are taken in float32 at least.

    Source: the inner norm of the authors' Meganet code, called TV there (lowcost spec 2.7 [F]).

    Args:
        channels: width of y.
        eps: added to the sum of squares; 1e-4 as published.

    Raises:
        UsageError: channels below 1 or eps not above 0.
    """

    def __init__(self, channels: int, eps: float = 1e-4) -> None:
        super().__init__()
        if channels < 1 or not eps > 0:
            raise UsageError(f"A pixel norm needs channels from 1 and eps above 0; got {channels} and {eps!r}.")
        self.channels, self.eps = channels, eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, y: Tensor) -> Tensor:
        """Normalise."""
        wide = y.to(torch.promote_types(y.dtype, torch.float32))
        scale = torch.rsqrt(wide.square().sum(1, keepdim=True) + self.eps).to(y.dtype)
        shape = (-1, *(1,) * (y.dim() - 2))
        return y * scale * self.weight.view(shape) + self.bias.view(shape)

    def extra_repr(self) -> str:
        """Width and eps."""
        return f"{self.channels}, eps={self.eps}"
