"""Couplings as the ordinary convolutions they are equal to, for export and deployment."""

import torch
from torch import nn

from torchmg.nn.coupling.base import ChannelCoupling

_CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


@torch.no_grad()
def folded(coupling: ChannelCoupling) -> nn.Conv1d | nn.Conv2d | nn.Conv3d:
    """The dense convolution that computes the same map, (batch, in, *spatial) -> (batch, out, *spatial).

    Its weights are copies: training either does not change the other. It has k^dims in out of them, more than the
    coupling, but is one call that every runtime has.

    Args:
        coupling: any member; stays as it is.

    Returns:
        On the coupling's device, in its type and mode, with its padding and bias.
    """
    weight = coupling.dense_weight()
    convolution = _CONVOLUTIONS[coupling.dims](
        coupling.in_channels,
        coupling.out_channels,
        weight.shape[-1],
        stride=coupling.stride,
        padding=weight.shape[-1] // 2,
        bias=coupling.bias is not None,
        padding_mode=coupling.padding,
        device=weight.device,
        dtype=weight.dtype,
    )
    convolution.weight.copy_(weight)
    if coupling.bias is not None and convolution.bias is not None:
        convolution.bias.copy_(coupling.bias)
    return convolution.train(coupling.training)
