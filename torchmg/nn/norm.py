"""Normalisations by the number of axes, and later uses of a module with norms of their own."""

from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from itertools import repeat
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from torchmg.hierarchy import Dims
from torchmg.nn.pixel_norm import PixelNorm

NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm, PixelNorm)
"""What counts as a normalisation: its parameters belong to one place in a network and are not weight decay's."""


def batch_norm(channels: int, dims: Dims) -> nn.Module:
    """Batch normalisation of (batch, channels, *spatial) with `dims` spatial axes."""
    kinds: dict[Dims, type[nn.Module]] = {0: nn.BatchNorm1d, 1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
    return kinds[dims](channels)


def norms_and_biases(model: nn.Module) -> set[int]:
    """Identities of the parameters that neither decay nor have limits, where only weights do."""
    return {
        id(parameter)
        for module in model.modules()
        for name, parameter in module.named_parameters(recurse=False)
        if isinstance(module, NORMS) or name == "bias"
    }


def next_use(module: nn.Module) -> nn.Module:
    """A module for another use of `module`: the same parameters, but norms of its own, as new as the first ones.

    Without norms it is the module itself. Buffers that are not a norm's are copied.
    """
    parts = list(module.modules())
    if not any(isinstance(part, NORMS) for part in parts):
        return module
    weights = [p for part in parts if not isinstance(part, NORMS) for p in part.parameters(recurse=False)]
    return deepcopy(module, {id(weight): weight for weight in weights})


def later_uses(modules: nn.ModuleList, uses: Sequence[int]) -> nn.ModuleList:
    """For each module those for its second and later uses; none where the module serves every time."""
    return nn.ModuleList(
        nn.ModuleList(use for _ in range(count - 1) if (use := next_use(module)) is not module)
        for module, count in zip(modules, uses, strict=True)
    )


def zero_last_norms(model: nn.Module) -> int:
    """Set the scale of the last norm of every residual and correction to 0, in place; how many norms these are.

    Modules say which norms those are (`last_norms`), for themselves and what is in them. What they add is then zero at
    first, and grows as its norm's scale does (Goyal et al. 2017, section 5.1).
    """
    found: list[nn.Module] = []

    def look(module: nn.Module) -> None:
        if (last := getattr(module, "last_norms", None)) is not None:
            found.extend(last())
            return
        for child in module.children():
            look(child)

    look(model)
    scales = [scale for norm in found if isinstance(scale := getattr(norm, "weight", None), nn.Parameter)]
    for scale in scales:
        nn.init.zeros_(scale)
    return len(scales)


def all_uses(modules: nn.ModuleList, later: nn.ModuleList) -> list[Iterable[Callable[..., Any]]]:
    """Each module as it is at each of its uses, in order; `later` is what `later_uses` made."""
    return [
        [module, *others] if isinstance(others, nn.ModuleList) and len(others) else repeat(module)
        for module, others in zip(modules, later, strict=True)
    ]
