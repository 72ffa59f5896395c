"""The feature map B that is the transpose of the data map A."""

from math import log

import torch
from torch import Tensor, nn

from torchmg.nn.coupling import adjoint
from torchmg.nn.polynomial import SPECTRUM


class AdjointFeature(nn.Module):
    """B = h A^T with a learned step h > 0: a level then needs the weights of A only, as in a symmetric layer.

    Without norms and with the activation inside alone, u + h A^T relu(f - A u) does not expand differences of u for
    h ||A||^2 <= 2, whatever f is (lowcost spec, T4; `torchmg.nn.SymmetricSmoother`); a relation has a norm and an
    activation behind B, too, so here that is a motive, not a promise. At the start h = 1 / rho^2, with rho the norm to
    be expected of a new convolution.
    """

    def __init__(self) -> None:
        super().__init__()
        self.log_step = nn.Parameter(torch.empty(1))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Set the first step; nothing is random."""
        self.log_step.fill_(-2 * log(SPECTRUM))

    def forward(self, r: Tensor, data_map: nn.Module) -> Tensor:
        """H A^T r, of the shape of r."""
        return self.log_step.exp() * adjoint(data_map, r)
