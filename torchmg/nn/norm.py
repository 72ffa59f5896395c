"""Normalisations by the number of axes, and a second use of a module with norms of its own."""

from copy import deepcopy

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from torchmg.hierarchy import Dims

NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
"""What counts as a normalisation: its parameters belong to one place in a network and are not weight decay's."""


def batch_norm(channels: int, dims: Dims) -> nn.Module:
    """Batch normalisation of (batch, channels, *spatial) with `dims` spatial axes."""
    kinds: dict[Dims, type[nn.Module]] = {0: nn.BatchNorm1d, 1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
    return kinds[dims](channels)


def next_use(module: nn.Module) -> nn.Module:
    """A module for another use of `module`: the same parameters, but norms of its own, as new as the first ones.

    Without norms it is the module itself. Buffers that are not a norm's are copied.
    """
    parts = list(module.modules())
    if not any(isinstance(part, NORMS) for part in parts):
        return module
    weights = [p for part in parts if not isinstance(part, NORMS) for p in part.parameters(recurse=False)]
    return deepcopy(module, {id(weight): weight for weight in weights})
