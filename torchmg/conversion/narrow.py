"""The same residual block on fewer channels, its dense layers cut into groups: a level of a multigrid block."""

import copy
import math
import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from torchmg.conversion.hooks import without_hooks
from torchmg.conversion.narrow_layers import LastAxisLinear, copy_layer, narrow_layer, widths
from torchmg.errors import TorchmgError, UsageError

_SIDE = 8  # pixels an axis of the trial run
_SQUEEZE = re.compile(r"squeeze|excit|(^|[._])se([._\d]|$)", re.IGNORECASE)
_SQUEEZE_CLASS = re.compile(r"squeeze|excit|^SE([A-Z]|$)|(?<=[a-z])SE([A-Z]|$)")


def narrowed(block: nn.Module, channels: int, to: int, groups: int, *, dims: int | None = None) -> nn.Module:
    """A new block of `block`'s structure in which every width is multiplied by to / channels.

    (batch, channels, *spatial) -> (batch, out, *spatial') becomes (batch, to, *) -> (batch, out * to / channels, *).
    Dense convolutions and linear maps get `groups` groups of neighbouring channels and Kaiming-normal weights with the
    fan-in of a group; their biases are zero. Depthwise convolutions stay so, other grouped ones keep their group count
    or take the largest common divisor. Norms are as newly built, with their settings. Layer scales keep their mean.
    Convolutions of one channel (over the axis of channels, as in efficient channel attention) are copied.
    Squeeze-and-excitation parts stay dense, and their squeezed width is rounded up where it does not divide. Classes,
    shared modules, strides, activations, modes, dtypes, devices and `requires_grad` are the block's; hooks are dropped.

    Args:
        block: A module of one tensor whose first axis after the batch is channels; it is not changed.
        channels: Its input width.
        to: The input width of the copy.
        groups: Groups of dense layers; 1 keeps them dense.
        dims: Spatial axes of its input; default: those of its convolutions, 0 without any.

    Raises:
        GroupError: a dense layer that cannot be cut into `groups` groups.
        UsageError: a width that does not divide, a layer that torchmg cannot narrow, or a block whose forward only
            works on its own width; the message says where.
    """
    if channels < 1 or to < 1 or groups < 1:
        raise UsageError(f"Widths and groups are at least 1; got channels={channels}, to={to}, groups={groups}.")
    parts = dict(block.named_modules())
    squeezers = {part for root in _squeeze_parts(block) for part in root.modules()}
    known = frozenset(width for part in parts.values() for width in widths(part))

    def scale(width: int, where: str) -> int:
        if width * to % channels == 0:
            return width * to // channels
        step = channels // math.gcd(channels, width)
        near = sorted({max(step, to // step * step), (to // step + 1) * step})
        raise UsageError(
            f"{where}: {width} channels times {to} / {channels} is no whole number. "
            f"Nearest widths of the narrow block that work there: {', '.join(map(str, near))}."
        )

    def scale_up(width: int, where: str) -> int:
        return -(-width * to // channels)

    memo = without_hooks(block)
    attributes: dict[str, dict[str, Any]] = {}
    for path, part in parts.items():
        inside = part in squeezers
        change = narrow_layer(part, path, scale_up if inside else scale, 1 if inside else groups, known)
        # A copy takes from this memo what is already there, at every place that refers to the old one.
        memo |= {id(getattr(part, name)): tensor for name, tensor in change.tensors.items()}
        if change.module is not None:
            memo[id(part)] = change.module
        attributes[path] = change.attributes
    narrow = _copied(block, memo)
    for path, values in attributes.items():
        for name, value in values.items():
            setattr(narrow.get_submodule(path), name, value)
    _check_runs(block, narrow, channels, to, _dims(block) if dims is None else dims)
    return narrow


def copy_part(block: nn.Module, narrow: nn.Module, order: Tensor | None = None) -> None:
    """Fill `narrow`, a `narrowed(block, c, c, groups)` at full width, with what it has room for of `block`.

    Norms with their statistics, biases, layer scales and depthwise weights are taken as they are, dense weights only
    within their groups: the rest of the block is for coarser levels. With an `order`, channel i of `narrow` stands for
    channel order[i] of `block`, on every axis as wide as the order is long; other axes keep their order.

    Args:
        block: The full block; it is not changed.
        narrow: Its copy of the same widths, changed in place.
        order: A permutation of the channels, int64 (c,); default: none.

    Raises:
        UsageError: `narrow` has other parts or widths, or `order` is no permutation.
    """
    if order is not None and not torch.equal(order.sort().values, torch.arange(len(order), device=order.device)):
        raise UsageError(f"order must be a permutation of 0 .. c - 1; got shape {tuple(order.shape)}.")
    parts, copies = dict(block.named_modules()), dict(narrow.named_modules())
    if other := sorted(set(parts) ^ set(copies)):
        raise UsageError(f"The narrow block is no copy of this block: only one of them has '{other[0]}'.")
    for path, part in parts.items():
        try:
            copy_layer(part, copies[path], {} if order is None else {len(order): order})
        except UsageError as error:
            raise UsageError(f"{path or 'The block itself'}: {error} Narrow the block to its own width.") from None


def _squeeze_parts(block: nn.Module) -> Iterator[nn.Module]:
    """Squeeze-and-excitation parts: called so, or pooled; one or two dense maps of single pixels and nothing wider."""
    for path, part in block.named_modules():
        if not path or not any(True for _ in part.children()):
            continue
        layers = [layer for layer in part.modules() if isinstance(layer, _ConvNd | nn.Linear | LastAxisLinear)]
        pointwise = all(layer.weight[0, 0].numel() == 1 for layer in layers)
        pooled = any(_is_global_pool(child) for child in part.children())
        called = _SQUEEZE.search(path.rpartition(".")[2]) or _SQUEEZE_CLASS.search(type(part).__name__)
        if 1 <= len(layers) <= 2 and pointwise and (pooled or called):
            yield part


def _is_global_pool(module: nn.Module) -> bool:
    """Whether a module averages over all pixels."""
    kinds = nn.AdaptiveAvgPool1d | nn.AdaptiveAvgPool2d | nn.AdaptiveAvgPool3d
    if not isinstance(module, kinds):
        return False
    size = module.output_size
    return all(side == 1 for side in (size if isinstance(size, tuple) else (size,)))


def _dims(block: nn.Module) -> int:
    return max((len(part.kernel_size) for part in block.modules() if isinstance(part, _ConvNd)), default=0)


def _copied(block: nn.Module, memo: dict[int, Any]) -> nn.Module:
    try:
        return copy.deepcopy(block, memo)
    except (RuntimeError, TypeError) as error:
        raise UsageError(f"A {type(block).__name__} cannot be copied: {error} Leave this block out.") from error


def _check_runs(block: nn.Module, narrow: nn.Module, channels: int, to: int, dims: int) -> None:
    """Raise unless the narrow block takes a map of its width to the block's own output shape, narrowed."""
    full = _trial(block, channels, dims, f"The block, a {type(block).__name__},")
    got = _trial(narrow, to, dims, f"{type(block).__name__} narrowed from {channels} to {to} channels")
    wanted = (full[0], full[1] * to // channels, *full[2:])
    if got != wanted:
        raise UsageError(
            f"{type(block).__name__} narrowed from {channels} to {to} channels gives {got} instead of {wanted}: "
            "its forward has widths of its own written in. Leave this block out."
        )


def _trial(module: nn.Module, width: int, dims: int, what: str) -> tuple[int, ...]:
    """Output shape of a module for two maps of `width` channels, found on the meta device."""
    memo = without_hooks(module)
    tensor: Tensor
    for tensor in module.parameters():
        memo[id(tensor)] = nn.Parameter(torch.empty_like(tensor, device="meta"), tensor.requires_grad)
    for tensor in module.buffers():
        memo[id(tensor)] = torch.empty_like(tensor, device="meta")
    dtype = next((t.dtype for t in module.parameters() if t.is_floating_point()), torch.get_default_dtype())
    x = torch.empty(2, width, *[_SIDE] * dims, device="meta", dtype=dtype)
    try:
        with torch.no_grad():
            y = _copied(module, memo).eval()(x)
    except TorchmgError:
        raise
    except Exception as error:  # a block's own forward may raise anything
        first = str(error).strip().split("\n")[0]
        raise UsageError(
            f"{what} does not run on a tensor of shape {tuple(x.shape)}: {first.rstrip('.')}. "
            "Blocks must take one (batch, channels, ...) tensor and no width may be written into their forward."
        ) from error
    if not isinstance(y, Tensor):
        raise UsageError(f"{what} returns a {type(y).__name__}. Blocks must return one tensor.")
    return tuple(y.shape)
