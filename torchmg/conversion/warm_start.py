"""The warm start `project`: the unit whose weights are nearest to the dense ones, and an estimate of how near."""

from math import prod

import torch
from torch import Tensor, nn

from torchmg.conversion.block import MultigridBlock
from torchmg.conversion.compensate import compensated
from torchmg.conversion.factor import estimated_loss
from torchmg.conversion.narrow import copy_part
from torchmg.conversion.order import group_order
from torchmg.conversion.project import project_coupling, project_layer
from torchmg.conversion.schemes import MGIC, Scheme
from torchmg.conversion.sites import Site
from torchmg.conversion.units import OnLastAxis, build
from torchmg.nn.additive import MultigridLayer
from torchmg.nn.coupling import ChannelCoupling
from torchmg.nn.layer_shape import Dense, dense_kernel

Moments = tuple[Tensor, Tensor]
"""E[x z^T] and E[z z^T] over channels, (in, in), of a layer's inputs in the original network and now."""


@torch.no_grad()
def project(site: Site, module: nn.Module, unit: nn.Module, moments: Moments | None = None) -> float:
    """Fill a fresh unit with what it can hold of its original.

    A layer's unit gets the nearest kernel in the Frobenius norm and the bias. A block's gets, on the finest level, the
    block itself with its kernels cut to their groups, after its channels were sorted; coarser levels stay as drawn and
    are silent at first, see `MultigridBlock`.

    Args:
        site: the layer or block.
        module: the original; it is not changed.
        unit: what `build` made for it.
        moments: of a layer's inputs: the kernel is compensated for the difference between then and now, and errors
            count as the inputs let them show. Not for blocks.

    Returns:
        ||W - W'|| / ||W||; of a block over all kernels of its dense layers together, on the finest level.
    """
    if isinstance(unit, MultigridBlock):
        return _project_block(site, module, unit)
    layer = _dense(module)
    weight = dense_kernel(layer)
    if moments is not None:
        weight = compensated(weight, *moments)
    inner = unit.coupling if isinstance(unit, OnLastAxis) else unit
    if isinstance(inner, MultigridLayer):
        error = project_layer(weight, inner, input_moment=None if moments is None else moments[1])
    else:
        assert isinstance(inner, ChannelCoupling)
        error = project_coupling(weight if weight.dim() > 2 else weight[..., None], inner)
    if layer.bias is not None:
        assert isinstance(inner.bias, nn.Parameter)
        inner.bias.copy_(layer.bias)
    return error


def _project_block(site: Site, module: nn.Module, unit: MultigridBlock) -> float:
    groups = unit.cycle.hierarchy.levels[0].groups
    if unit.order is not None and groups > 1:
        unit.order.copy_(group_order(_strength(site, module), groups))
    copy_part(module, unit.finest, unit.order)
    kept = whole = 0.0
    for name in site.layers:
        kept += _energy(unit.finest, name)
        whole += _energy(module, name)
    return max(1 - kept / whole, 0.0) ** 0.5 if whole else 0.0


def _energy(block: nn.Module, name: str) -> float:
    return block.get_submodule(name).get_parameter("weight").double().square().sum().item()


def _strength(site: Site, module: nn.Module) -> Tensor:
    """How strongly a block's channels are coupled, (channels, channels): the energies of its layers, one after another.

    Of grouped and depthwise layers nothing is lost, and they keep channels in their places.
    """
    strength: Tensor | None = None
    for name in site.layers:
        layer = _dense(module.get_submodule(name))
        if getattr(layer, "groups", 1) == 1:
            energy = layer.weight.double().square().flatten(2).sum(2)  # a block's layers are convolutions
            strength = energy if strength is None else energy @ strength
    assert strength is not None
    return strength + strength.T


@torch.no_grad()
def estimated_errors(site: Site, module: nn.Module, scheme: Scheme) -> list[float]:
    """About ||W - W'|| / ||W|| of a setting (`estimated_loss`, without sorting); without values, by count alone.

    One number for a layer; of a block one for each of its dense layers, as if they were converted one by one.
    """
    layers = [module] if site.shape is not None else [module.get_submodule(name) for name in site.layers]
    return [_layer_error(site, layer, scheme) for layer in layers if getattr(layer, "groups", 1) == 1]


def _layer_error(site: Site, module: nn.Module, scheme: Scheme) -> float:
    layer = _dense(module)
    kernel = dense_kernel(layer)
    out, inn, taps = kernel.shape[0], kernel.shape[1], prod(kernel.shape[2:])
    if not isinstance(scheme, MGIC):
        unit = build(site, module, scheme)
        if kernel.is_meta:
            return max(1 - sum(p.numel() for p in unit.parameters()) / kernel.numel(), 0.0) ** 0.5
        return project(site, module, unit)
    levels = scheme.layer_hierarchy(inn, out)
    if kernel.is_meta:
        return max(1 - levels.weights(taps) / kernel.numel(), 0.0) ** 0.5
    return estimated_loss(kernel.reshape(out, inn, taps), levels.groups) ** 0.5


def _dense(module: nn.Module) -> Dense:
    assert isinstance(module, Dense)
    return module
