"""Kernels for inputs that earlier conversions have changed.

Layers are converted one after the other, and what a later one gets is no longer what it was trained on. Its kernel can
make good for that, as far as a linear map of the new inputs can tell the old ones: the kernel that is projected is then
that of the least-squares estimate, not the trained one.
"""

import torch
from torch import Tensor

from torchmg.errors import ShapeError, UsageError


@torch.no_grad()
def compensated(weight: Tensor, cross_moment: Tensor, input_moment: Tensor, *, ridge: float = 1e-2) -> Tensor:
    """The kernel whose outputs on the new inputs z are nearest to those of `weight` on the old inputs x.

        V = W (E[x z^T] + r) (E[z z^T] + r)^-1

    tap by tap, with r the ridge times the mean variance of z; for z = x it is W itself. Give it to `project_layer` with
    the same `input_moment`, layer after layer from the input on, with the moments of the network converted so far.

    Args:
        weight: (out, in, *kernel), a floating type.
        cross_moment: (in, in), the mean of x z^T over data and positions: rows are the trained network's inputs.
        input_moment: (in, in), the mean of z z^T over the same.
        ridge: keeps to `weight` where data say little; 0.01 fits thousands of positions a channel.

    Returns:
        A tensor like `weight`.

    Raises:
        ShapeError: moments of another width.
        UsageError: entries that are not finite, or a ridge that is not positive.
    """
    width = weight.shape[1]
    for moment in (cross_moment, input_moment):
        if moment.shape != (width, width):
            raise ShapeError(f"The moment of {width} inputs is ({width}, {width}); got {tuple(moment.shape)}.")
        if not bool(torch.isfinite(moment).all()):
            raise UsageError("The moment of inputs has entries that are not finite numbers.")
    if not ridge > 0:
        raise UsageError(f"ridge must be positive, so that silent inputs keep their weights; got {ridge}.")
    cross, own = (moment.to(weight.device, torch.float64) for moment in (cross_moment, input_moment))
    added = ridge * own.diagonal().mean()
    if not bool(added > 0):
        return weight.clone()
    diagonal = added * torch.eye(width, dtype=torch.float64, device=weight.device)
    estimate = torch.linalg.solve((own + own.T) / 2 + diagonal, cross + diagonal, left=False)
    return torch.einsum("oi...,ij->oj...", weight.double(), estimate).to(weight.dtype)
