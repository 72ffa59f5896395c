"""What stands in for a layer or block: whether it can, building it, and what it costs."""

import warnings
from dataclasses import dataclass
from math import gcd
from typing import Any

import torch
from torch import Tensor, nn

from torchmg.conversion.block import MultigridBlock
from torchmg.conversion.observe import Seen
from torchmg.conversion.schemes import MGIC, Circulant, Lean, Scheme
from torchmg.conversion.sites import Site
from torchmg.counting.macs import meta_copy
from torchmg.counting.report import count
from torchmg.errors import HierarchyWarning, TorchmgError
from torchmg.nn.additive import MultigridLayer
from torchmg.nn.coupling import ChannelCoupling, channel_coupling
from torchmg.nn.layer_shape import LayerShape


class OnLastAxis(nn.Module):
    """A coupling of one tap in the place of `nn.Linear`: (..., in_channels) -> (..., out_channels)."""

    def __init__(self, coupling: ChannelCoupling) -> None:
        super().__init__()
        self.coupling = coupling
        self.in_features, self.out_features = coupling.in_channels, coupling.out_channels

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (torch's name, by which callers may pass it)
        """Apply the coupling to every vector."""
        y = self.coupling(input.reshape(-1, input.shape[-1], 1))
        return y.reshape(*input.shape[:-1], y.shape[1])


@dataclass(frozen=True)
class Cost:
    """What a unit has and does; `macs` is 0 where nothing was observed."""

    params: int
    macs: int = 0


def width_of(site: Site) -> int:
    """The width that a hierarchy halves: the common divisor of a layer's widths, the narrower of a block's."""
    if site.shape is None:
        return min(site.channels, site.hidden)
    return gcd(site.shape.in_channels, site.shape.out_channels)


def refusal(site: Site, scheme: Scheme) -> str:
    """Why a site cannot have this scheme, whatever its sizes; empty if it can."""
    shape = site.shape
    if isinstance(scheme, MGIC):
        width = width_of(site)
        what = "the common divisor of its widths" if shape else "its width"
        return f"{what}, {width}, has no half" if width % 2 or width < 4 else ""
    if shape is None:
        return "blocks are for MGIC"
    if isinstance(scheme, Lean) and shape.taps == 1:
        return "its kernel has one tap, of which lean couplings leave nothing out"
    if isinstance(scheme, Circulant) and width_of(site) == 1:
        return "its widths have no common divisor"
    return "" if shape.dims == 0 else _no_coupling(shape)


def _no_coupling(shape: LayerShape) -> str:
    """Why channel couplings do not have this geometry."""
    size = shape.kernel[0]
    if shape.transposed:
        return "couplings have no transposed form"
    if any(k != size for k in shape.kernel) or size % 2 == 0:
        return f"couplings have odd kernels of one size; this is {shape.kernel}"
    if any(s != shape.stride[0] for s in shape.stride):
        return f"couplings have one stride; this has {shape.stride}"
    if any(d != 1 for d in shape.dilation) and size > 1:
        return f"couplings have no dilation; this has {shape.dilation}"
    keeps = shape.padding == "same" or all(p == size // 2 for p in shape.padding)
    if not keeps and not (shape.padding == "valid" and size == 1):
        return f"couplings keep the resolution; this has padding={shape.padding} for {size} taps"
    if shape.padding_mode not in ("zeros", "circular") and size > 1:
        return f"couplings pad with zeros or periodically; this has {shape.padding_mode!r}"
    return ""


def build(site: Site, module: nn.Module, scheme: Scheme) -> nn.Module:
    """A fresh unit of fixed sizes for `module`, on its device and in its dtype; `module` is not changed.

    Raises:
        UsageError: sizes that the site cannot have, a block that cannot be narrowed.
    """
    unit, like = _build(site, module, scheme), next(module.parameters())
    return unit.to(device=like.device, dtype=like.dtype)


def _build(site: Site, module: nn.Module, scheme: Scheme) -> nn.Module:
    shape = site.shape
    if isinstance(scheme, MGIC):
        sizes: dict[str, Any] = {"group_size": scheme.group_size, "coarsest": scheme.coarsest}
        rules: dict[str, Any] = {"stop": scheme.stop, "group_rule": scheme.group_rule, "permuted": scheme.permute}
        if shape is None:
            first = module.get_submodule(site.layers[0])
            dims = first.get_parameter("weight").dim() - 2
            return MultigridBlock(module, site.channels, site.hidden, dims=dims, **sizes, **rules)  # pyright: ignore[reportArgumentType]
        return MultigridLayer(shape, **sizes, **rules)
    assert shape is not None
    name, options = _coupling(scheme, shape)
    how: dict[str, Any] = {"bias": shape.bias, **options}
    if shape.dims == 0:
        return OnLastAxis(channel_coupling(name, shape.in_channels, shape.out_channels, 1, dims=1, **how))
    padding = "circular" if shape.padding_mode == "circular" else "zeros"
    how |= {"stride": shape.stride[0], "padding": padding, "dims": shape.dims}
    return channel_coupling(name, shape.in_channels, shape.out_channels, shape.kernel[0], **how)


def _coupling(scheme: Scheme, shape: LayerShape) -> tuple[str, dict[str, Any]]:
    if isinstance(scheme, Lean):
        return "lean", {"stencil": scheme.stencil, "group_size": gcd(scheme.group_size or 1, shape.in_channels)}
    assert isinstance(scheme, Circulant)
    common = gcd(shape.in_channels, shape.out_channels)
    block = next(b for b in range(min(scheme.block or 1, common), 0, -1) if common % b == 0)
    return "circulant", {"block": block}


def ghost(site: Site, module: nn.Module, scheme: Scheme) -> nn.Module:
    """The unit of `build` without values.

    Raises:
        UsageError: as `build`.
    """
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore", HierarchyWarning)
        return build(site, meta_copy(module), scheme)


def cost(site: Site, module: nn.Module, scheme: Scheme, seen: Seen | None) -> Cost:
    """What the unit of `build` will cost, a layer's in closed form, without drawing weights."""
    shape = site.shape
    if shape is not None and isinstance(scheme, MGIC):
        levels = scheme.layer_hierarchy(shape.in_channels, shape.out_channels)
        macs = levels.transposed_macs if shape.transposed else levels.macs
        bias = shape.out_channels if shape.bias else 0
        return Cost(levels.weights(shape.taps) + bias, macs(shape.taps, seen.inside, seen.outside) if seen else 0)
    if shape is None and seen is None and not site.squeeze:
        return Cost(_block_params(site, module, scheme))
    unit = ghost(site, module, scheme)
    params = sum(parameter.numel() for parameter in unit.parameters())
    return Cost(params, _macs(unit, seen) if seen else 0)


def _block_params(site: Site, module: nn.Module, scheme: Scheme) -> int:
    """Parameters of a `MultigridBlock` without squeeze-excitation, from the block's own, in closed form."""
    assert isinstance(scheme, MGIC)
    hierarchy = scheme.block_hierarchy(site.channels, site.hidden)
    dense = sum(
        layer.get_parameter("weight").numel()
        for layer in map(module.get_submodule, site.layers)
        if getattr(layer, "groups", 1) == 1
    )
    others = site.parameters - dense
    params = 0
    for index, level in enumerate(hierarchy.levels):
        share = site.channels // level.channels
        params += dense // share**2 // level.groups + others // share
        if index + 1 < len(hierarchy.levels):
            params += 2 * hierarchy.transfer_weights(index) + 2 * level.channels
    return params


def dense_cost(site: Site, module: nn.Module, seen: Seen | None) -> Cost:
    """What the original costs."""
    shape = site.shape
    if shape is None:
        return Cost(site.parameters, _macs(module, seen) if seen else 0)
    positions = 0 if seen is None else seen.inside if shape.transposed else seen.outside
    return Cost(site.parameters, shape.weights * positions)


def _macs(unit: nn.Module, seen: Seen) -> int:
    """Of all calls, counted on inputs of the observed sizes."""
    try:
        single = meta_copy(unit).float()  # counted on inputs of that type
        return sum(count(single, size).macs * calls for size, calls in seen.samples.items())
    except TorchmgError:
        return 0
