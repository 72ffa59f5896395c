"""One layer on fewer channels: its new widths, groups and first values, and what it takes from the full one."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.utils.parametrize import is_parametrized

from torchmg.errors import UsageError
from torchmg.hierarchy import check_groups
from torchmg.nn.conv import pointwise

Scale = Callable[[int, str], int]  # a width and where it is -> the narrow width
Order = Mapping[int, Tensor]  # width -> which full channel stands at each place of a narrow axis of that width

_FIRST = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}


@dataclass
class Change:
    """What of one module is new in its copy: whole tensors or the module itself, and attributes."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)
    module: nn.Module | None = None


class LastAxisLinear(nn.Module):
    """A linear map in `groups` blocks along the last axis, (..., in_features) -> (..., out_features).

    `weight` is (out_features, in_features / groups): rows of block j see the j-th part of the inputs. It does for
    tokens and channels-last maps what a grouped 1x1 convolution does for images.
    """

    bias: nn.Parameter | None

    def __init__(self, weight: Tensor, bias: Tensor | None, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.out_features, self.in_features = weight.shape[0], weight.shape[1] * groups
        self.weight = nn.Parameter(weight, weight.requires_grad)
        self.bias = None if bias is None else nn.Parameter(bias, bias.requires_grad)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the map."""
        y = pointwise(x.reshape(-1, x.shape[-1]), self.weight, self.groups).reshape(*x.shape[:-1], -1)
        return y if self.bias is None else y + self.bias

    def extra_repr(self) -> str:
        """Widths and groups."""
        return f"{self.in_features} -> {self.out_features}, groups={self.groups}, bias={self.bias is not None}"


def widths(module: nn.Module) -> tuple[int, ...]:
    """The channel counts that a layer works on: (in, out) of convolutions and linear maps, (C,) of norms."""
    match module:
        case _ConvNd():
            return module.in_channels, module.out_channels
        case nn.Linear() | LastAxisLinear():
            return module.in_features, module.out_features
        case _NormBase():
            return (module.num_features,)
        case nn.GroupNorm():
            return (module.num_channels,)
        case nn.LayerNorm() | nn.RMSNorm():
            return tuple(module.normalized_shape[-1:])
        case nn.PReLU():
            return (module.num_parameters,)
        case _:
            return ()


def narrow_layer(module: nn.Module, path: str, scale: Scale, groups: int, known: frozenset[int]) -> Change:
    """What changes of one module (its children apart) when every width is scaled and dense layers get `groups` groups.

    Args:
        module: A part of a block.
        path: Where it is, for messages.
        scale: The narrow width of a width.
        groups: Of dense layers.
        known: All channel counts of the block: other per-channel parameters must have one of these lengths.

    Raises:
        GroupError: narrow widths that `groups` does not divide.
        UsageError: a module whose parameters torchmg does not know how to narrow.
    """
    where = f"{path or 'the block itself'}, {type(module).__name__}"
    if is_parametrized(module):
        raise UsageError(
            f"{where} has a parametrization, which only fits its full width. "
            "Bake it in first: torch.nn.utils.parametrize.remove_parametrizations."
        )
    match module:
        case _ConvNd() if widths(module) == (1, 1):
            return Change()
        case _ConvNd() | nn.Linear():
            return _narrow_dense(module, where, scale, groups)
        case nn.GroupNorm():
            width = scale(module.num_channels, where)
            parts = module.num_groups if width % module.num_groups == 0 else math.gcd(width, module.num_groups)
            return _fresh_norm(module, where, width, num_channels=width, num_groups=parts)
        case _NormBase():
            width = scale(module.num_features, where)
            return _fresh_norm(module, where, width, num_features=width)
        case nn.LayerNorm() | nn.RMSNorm():
            if len(module.normalized_shape) != 1:
                raise UsageError(
                    f"{where} normalises over {tuple(module.normalized_shape)}, which fixes the resolution. "
                    "Only norms over channels can be narrowed."
                )
            width = scale(module.normalized_shape[0], where)
            return _fresh_norm(module, where, width, normalized_shape=(width,))
        case nn.PReLU() if module.num_parameters > 1:
            width = scale(module.num_parameters, where)
            return Change(_per_channel(module, where, scale, known), {"num_parameters": width})
        case _ if module._buffers.get("running_var") is not None:
            width = scale(len(module.get_buffer("running_var")), where)
            return _fresh_norm(
                module, where, width, **({"num_features": width} if hasattr(module, "num_features") else {})
            )
        case _:
            return Change(_per_channel(module, where, scale, known))


def _narrow_dense(module: nn.Module, where: str, scale: Scale, groups: int) -> Change:
    """A convolution or linear map: cut into groups where dense, as grouped as it was where not."""
    weight, bias = module._parameters.get("weight"), module._parameters.get("bias")
    if weight is None or set(module._parameters) != {"weight", "bias"}:
        raise UsageError(
            f"{where} has other parameters than weight and bias: {', '.join(module._parameters)}. "
            "Bake weight norm or the like in first, or leave this block out."
        )
    wide_in, wide_out = widths(module)
    narrow_in, narrow_out = scale(wide_in, where), scale(wide_out, where)
    grouped = module.groups if isinstance(module, _ConvNd) else 1
    if grouped == 1:
        check_groups(narrow_in, groups, f"inputs of {where}")
        check_groups(narrow_out, groups, f"outputs of {where}")
    elif grouped == wide_in:
        groups = narrow_in
    else:
        groups = math.gcd(narrow_in, narrow_out, grouped)
    shape = (narrow_out, narrow_in // groups, *weight.shape[2:])
    if isinstance(module, _ConvTransposeNd):
        shape = (narrow_in, narrow_out // groups, *weight.shape[2:])
    # As torchmg draws: Kaiming-normal for ReLU with the fan-in of one group.
    deviation = math.sqrt(2 / (narrow_in // groups * weight[0, 0].numel()))
    tensors: dict[str, Tensor] = {"weight": _like(weight, torch.empty(shape).normal_(0, deviation))}
    if bias is not None:
        tensors["bias"] = _like(bias, torch.zeros(narrow_out))
    if isinstance(module, _ConvNd):
        return Change(tensors, {"in_channels": narrow_in, "out_channels": narrow_out, "groups": groups})
    if groups == 1:
        return Change(tensors, {"in_features": narrow_in, "out_features": narrow_out})
    return Change(module=LastAxisLinear(tensors["weight"], tensors.get("bias"), groups).train(module.training))


def _fresh_norm(module: nn.Module, where: str, width: int, **attributes: Any) -> Change:
    """A norm as newly built, on `width` channels."""
    tensors = {}
    for name, tensor in _own_tensors(module):
        if name in _FIRST:
            tensors[name] = _like(tensor, torch.full((width,), _FIRST[name]))
        elif tensor.dim():
            raise UsageError(f"{where} has a tensor '{name}' of shape {tuple(tensor.shape)}, unknown in norms.")
        else:
            tensors[name] = _like(tensor, torch.zeros(()))
    return Change(tensors, attributes)


def _per_channel(module: nn.Module, where: str, scale: Scale, known: frozenset[int]) -> dict[str, Tensor]:
    """Layer scales and the like, (C,), (C, 1, 1) or (1, C, 1, 1): their mean on the narrow channels."""
    tensors = {}
    for name, parameter in module._parameters.items():
        if parameter is None or parameter.numel() == 1:
            continue
        axis = _channel_axis(parameter)
        if axis is None or parameter.shape[axis] not in known:
            raise UsageError(
                f"{where} has a parameter '{name}' of shape {tuple(parameter.shape)}, which torchmg does not know how "
                "to narrow. Blocks of convolutions, linear maps, norms and layer scales can be; leave this one out."
            )
        shape = list(parameter.shape)
        shape[axis] = scale(shape[axis], where)
        tensors[name] = _like(parameter, parameter.detach().mean().expand(shape).clone())
    return tensors


@torch.no_grad()
def copy_layer(full: nn.Module, narrow: nn.Module, order: Order) -> None:
    """Take over what the full layer has, as far as the narrow one (of the same widths) has room for it.

    Args:
        full: A layer of a block.
        narrow: The same layer of `narrowed(block, c, c, groups)`.
        order: Which full channel stands at each place of axes of a width; others keep their order.

    Raises:
        UsageError: layers of other widths, or of other tensors.
    """
    if isinstance(full, _ConvNd | nn.Linear):
        _copy_weight(full, narrow, order)
    for name, tensor in _own_tensors(full):
        if name == "weight" and isinstance(full, _ConvNd | nn.Linear):
            continue
        target = dict(_own_tensors(narrow)).get(name)
        if target is None or target.shape != tensor.shape:
            raise UsageError(f"A narrow {type(narrow).__name__} of other widths cannot take '{name}' of the full one.")
        axis = _channel_axis(tensor)
        if axis is not None and (places := order.get(tensor.shape[axis])) is not None:
            tensor = tensor.index_select(axis, places.to(tensor.device))
        target.copy_(tensor)


def _copy_weight(full: _ConvNd | nn.Linear, narrow: nn.Module, order: Order) -> None:
    """The part of a weight matrix that the narrow layer's groups leave; zeros where the full one has no entry."""
    wide_in, wide_out = widths(full)
    if widths(narrow) != (wide_in, wide_out) or not isinstance(narrow, _ConvNd | nn.Linear | LastAxisLinear):
        raise UsageError(f"The narrow layer is {widths(narrow)} wide, the full one {(wide_in, wide_out)}.")
    full_groups = full.groups if isinstance(full, _ConvNd) else 1
    groups = 1 if isinstance(narrow, nn.Linear) else narrow.groups
    device = full.weight.device
    source = order.get(wide_in, torch.arange(wide_in)).to(device)
    target = order.get(wide_out, torch.arange(wide_out)).to(device)
    weight = full.weight
    if isinstance(full, _ConvTransposeNd):
        # torch keeps these as those of the convolution that they are the transpose of.
        wide_in, wide_out, source, target = wide_out, wide_in, target, source
    columns = source.view(groups, -1).repeat_interleave(wide_out // groups, 0)
    local = columns - (target // (wide_out // full_groups) * (wide_in // full_groups))[:, None]
    width = wide_in // full_groups
    there = (local >= 0) & (local < width)
    part = weight[target[:, None], local.clamp(0, width - 1)]
    narrow.weight.copy_(part * there.view(*there.shape, *[1] * (part.dim() - 2)))


def _own_tensors(module: nn.Module) -> list[tuple[str, Tensor]]:
    """Parameters and buffers of a module itself."""
    own = [*module.named_parameters(recurse=False, remove_duplicate=False)]
    return [*own, *module.named_buffers(recurse=False, remove_duplicate=False)]


def _channel_axis(tensor: Tensor) -> int | None:
    """The one axis of a tensor that is longer than 1; None when there is not exactly one."""
    long = [axis for axis, size in enumerate(tensor.shape) if size > 1]
    return long[0] if len(long) == 1 else None


def _like(old: Tensor, values: Tensor) -> Tensor:
    """New values in the dtype and on the device of an old tensor, a parameter if that is one."""
    values = values.to(device=old.device, dtype=old.dtype)
    return nn.Parameter(values, old.requires_grad) if isinstance(old, nn.Parameter) else values
