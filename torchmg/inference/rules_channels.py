"""Which ATen operations are channel maps: sums, scales, and everything that rearranges channels."""

from dataclasses import replace
from math import prod
from typing import Any

import torch
from torch import Tensor, fx

from torchmg.inference.channels import ChannelMap
from torchmg.inference.fold import Folder, Known
from torchmg.inference.rule import arguments, constant, rule

aten = torch.ops.aten


def _factor(folder: Folder, x: ChannelMap, other: Any) -> Tensor | None:
    """A constant that has one number for each channel, shaped to broadcast over the axes of `x`."""
    if isinstance(other, int | float):
        return torch.tensor(float(other), dtype=torch.float64)
    known = constant(folder, other)
    if known is None:
        return None
    rank = 1 + len(x.axes) + len(x.space)
    if known.dim() > rank:
        return None
    full = known.view(*[1] * (rank - known.dim()), *known.shape)
    if full.shape[0] != 1 or prod(full.shape[1 + len(x.axes) :]) != 1:
        return None
    return full.view(full.shape[1 : 1 + len(x.axes)])


@rule(aten.mul.Tensor, aten.mul.Scalar, aten.div.Tensor, aten.div.Scalar)
def _mul(folder: Folder, node: fx.Node) -> Known:
    left, right = node.args
    divides = node.target in (aten.div.Tensor, aten.div.Scalar)
    x, y = folder.channel_map(left), folder.channel_map(right)
    if x is None and y is not None and not divides:
        x, left, right, y = y, right, left, None
    if x is None:
        return None
    if y is None:
        factor = _factor(folder, x, right)
        if factor is None:
            return None
        made = x.scaled(1 / factor if divides else factor)
        return made if made.axes == x.axes and _fits(folder, node, made) else None
    if divides or x.source is None or y.source is None or len(x.axes) != 1 or x.axes != y.axes:
        return None
    if x.space == y.space:
        values = [folder.value(left), folder.value(right)]
        return folder.whole(folder.add("mul", values, folder.shape(node)))
    if x.space == (1, 1):
        left, right, x, y = right, left, y, x
    if len(x.space) == 2 and y.space == (1, 1):
        values = [folder.value(left), folder.value(right)]
        return folder.whole(folder.add("scale", values, folder.shape(node)))
    return None


def _fits(folder: Folder, node: fx.Node, made: ChannelMap) -> bool:
    return folder.shape(node) == (*made.axes, *made.space)


@rule(aten.add.Tensor, aten.sub.Tensor, aten.add.Scalar, aten.sub.Scalar)
def _add(folder: Folder, node: fx.Node) -> Known:
    a = arguments(node)
    left, right = a["self"], a["other"]
    alpha = float(a["alpha"]) * (1.0 if node.target in (aten.add.Tensor, aten.add.Scalar) else -1.0)
    x, y = folder.channel_map(left), folder.channel_map(right)
    if x is None and y is None:
        return None
    if x is None or y is None:
        here, other, own, its = (x, right, 1.0, alpha) if x is not None else (y, left, alpha, 1.0)
        assert here is not None
        shift = _factor(folder, here, other)
        if shift is None:
            return None
        made = (here if own == 1.0 else here.scaled(torch.tensor(own))).shifted(its * shift)
        return made if made.axes == here.axes and _fits(folder, node, made) else None
    if x.axes != y.axes or x.space != y.space:
        return None
    if x.source == y.source or x.source is None or y.source is None:
        made = x.plus(y, alpha)
        if made is not None:
            return made
    if len(x.axes) != 1 or len(x.space) not in (0, 2) or x.source is None or y.source is None:
        return None
    values = [folder.value(left), folder.value(right)]
    return folder.whole(folder.add("binary", values, folder.shape(node), alpha=1.0, beta=alpha))


@rule(aten.neg.default)
def _neg(folder: Folder, node: fx.Node) -> Known:
    x = folder.channel_map(node.args[0])
    return None if x is None else x.scaled(torch.tensor(-1.0))


@rule(
    aten.clone.default,
    aten.contiguous.default,
    aten.alias.default,
    aten.detach.default,
    aten.dropout.default,
    aten.lift_fresh_copy.default,
)
def _same(folder: Folder, node: fx.Node) -> Known:
    if node.target is aten.dropout.default and node.args[2]:
        return None
    return folder.channel_map(node.args[0])


@rule(aten.zeros_like.default)
def _zeros(folder: Folder, node: fx.Node) -> Known:
    shape = folder.shape(node)
    if len(shape) not in (1, 3):
        return None
    return ChannelMap(None, shape[:1], shape[1:], torch.zeros(shape[0], 0, dtype=torch.float64))


@rule(aten.view.default, aten.reshape.default, aten._unsafe_view.default, aten.flatten.using_ints)
@rule(aten.unflatten.int, aten.unsqueeze.default, aten.squeeze.dim, aten.squeeze.dims, aten.expand.default)
def _view(folder: Folder, node: fx.Node) -> Known:
    x = folder.channel_map(node.args[0])
    if x is None:
        return None
    shape, channels = folder.shape(node), prod(x.axes)
    if prod(shape) != channels * prod(x.space):
        return None
    spaces = list(dict.fromkeys((x.space, (prod(x.space),), (), (1, 1))))
    for space in sorted(spaces, key=lambda space: space != shape[1:]):
        axes = shape[: len(shape) - len(space)]
        if prod(space) == prod(x.space) and shape == (*axes, *space) and prod(axes) == channels and axes:
            if space != x.space and x.step != (1, 1):
                return None
            made = x
            if axes != x.axes:
                made = x.on_axes(lambda rows: rows.reshape(*axes, rows.shape[-1]))  # noqa: B023
                made = _identity_again(made)
            return replace(made, space=space)
    return None


def _identity_again(made: ChannelMap) -> ChannelMap:
    """Identity rows in one axis are the identity, which costs nothing."""
    if len(made.axes) == 1 and made.rows is not None and made.source is not None:
        rows = made.rows
        if rows.shape[0] == rows.shape[1] and torch.equal(rows, torch.eye(rows.shape[0], dtype=rows.dtype)):
            return replace(made, rows=None)
    return made


@rule(aten.permute.default, aten.transpose.int)
def _permute(folder: Folder, node: fx.Node) -> Known:
    x = folder.channel_map(node.args[0])
    if x is None:
        return None
    rank = 1 + len(x.axes) + len(x.space)
    order = list(range(rank))
    if node.target is aten.transpose.int:
        first, second = (int(dim) % rank for dim in node.args[1:3])  # pyright: ignore
        order[first], order[second] = second, first
    else:
        order = [int(dim) % rank for dim in node.args[1]]  # pyright: ignore
    channels = 1 + len(x.axes)
    if order[0] != 0 or order[channels:] != list(range(channels, rank)):
        return None
    axes = [dim - 1 for dim in order[1:channels]]
    return x.on_axes(lambda rows: rows.permute(*axes, len(axes)))


@rule(aten.slice.Tensor)
def _slice(folder: Folder, node: fx.Node) -> Known:
    a = arguments(node)
    x = folder.channel_map(node.args[0])
    if x is None:
        return None
    rank = 1 + len(x.axes) + len(x.space)
    dim, step = a["dim"] % rank, a["step"]
    start, end = a["start"] or 0, a["end"]
    if 1 <= dim <= len(x.axes):
        cut = (slice(None),) * (dim - 1) + (slice(start, end, step),)
        if len(range(x.axes[dim - 1])[cut[-1]]) == x.axes[dim - 1]:
            return x
        return x.on_axes(lambda rows: rows[cut])
    if dim == 0:
        everything = start == 0 and step == 1 and isinstance(end, int | None) and (end is None or end > 2**62)
        return x if everything else None
    if not (isinstance(start, int) and (end is None or isinstance(end, int))):
        return None
    size = x.space[dim - 1 - len(x.axes)]
    if start != 0 or (end is not None and end < size) or len(x.space) != 2:
        return None
    place = dim - 1 - len(x.axes)
    steps = [x.step[axis] * (step if axis == place else 1) for axis in (0, 1)]
    space = [-(-x.space[axis] // (step if axis == place else 1)) for axis in (0, 1)]
    return replace(x, step=(steps[0], steps[1]), space=tuple(space))


@rule(aten.select.int)
def _select(folder: Folder, node: fx.Node) -> Known:
    x = folder.channel_map(node.args[0])
    dim, index = int(node.args[1]), int(node.args[2])  # pyright: ignore
    if x is None or not 1 <= dim <= len(x.axes) or len(x.axes) < 2:
        return None
    return x.on_axes(lambda rows: rows.select(dim - 1, index))


@rule(aten.repeat_interleave.self_int)
def _repeat(folder: Folder, node: fx.Node) -> Known:
    a = arguments(node)
    x = folder.channel_map(node.args[0])
    if x is None or a["dim"] is None or not 1 <= a["dim"] <= len(x.axes):
        return None
    return x.on_axes(lambda rows: rows.repeat_interleave(a["repeats"], a["dim"] - 1))


@rule(aten.index_select.default)
def _index_select(folder: Folder, node: fx.Node) -> Known:
    a = arguments(node)
    x, index = folder.channel_map(node.args[0]), folder.known.get(a["index"])
    if x is None or not isinstance(index, Tensor) or not 1 <= a["dim"] <= len(x.axes):
        return None
    return x.on_axes(lambda rows: rows.index_select(a["dim"] - 1, index))


@rule(aten.split.Tensor, aten.split_with_sizes.default, aten.chunk.default)
def _split(folder: Folder, node: fx.Node) -> Known:
    x = folder.channel_map(node.args[0])
    dim = int(node.args[2]) if len(node.args) > 2 else 0  # pyright: ignore
    if x is None or not 1 <= dim <= len(x.axes):
        return None
    sizes = [int(part.shape[dim]) for part in node.meta["val"]]
    starts = [sum(sizes[:place]) for place in range(len(sizes))]
    folder.settle(x)
    return [x.on_axes(lambda rows, i=i: rows.narrow(dim - 1, starts[i], sizes[i])) for i in range(len(sizes))]


@rule(aten.cat.default, aten.stack.default)
def _cat(folder: Folder, node: fx.Node) -> Known:
    parts = list(node.args[0])  # pyright: ignore
    dim = int(node.args[1]) if len(node.args) > 1 else 0  # pyright: ignore
    found = [folder.channel_map(part) for part in parts]
    maps = [x for x in found if x is not None]
    if len(maps) != len(parts):
        return None
    stacks = node.target is aten.stack.default
    dim = dim % (len(node.meta["val"].shape))
    first = maps[0]
    if not 1 <= dim <= len(first.axes) + stacks or any(x.space != first.space for x in maps):
        return None
    if all((x.source, x.step) == (first.source, first.step) for x in maps):
        join = torch.stack if stacks else torch.cat
        bias = None
        if any(x.bias is not None for x in maps):
            bias = join([x.dense_bias() for x in maps], dim - 1)
        made = first.rearranged(join([x.dense_rows() for x in maps], dim - 1), bias)
        return _identity_again(made)
    if stacks or any(len(x.axes) != 1 or x.source is None or len(x.space) not in (0, 2) for x in maps):
        return None
    return folder.whole(folder.add("concat", [folder.value(part) for part in parts], folder.shape(node)))


@rule(aten.pad.default, aten.constant_pad_nd.default)
def _pad(folder: Folder, node: fx.Node) -> Known:
    a = arguments(node)
    x = folder.channel_map(node.args[0])
    if x is None or a.get("mode", "constant") != "constant" or a["value"] or len(x.axes) != 1:
        return None
    pads = list(a["pad"])
    around, channels = pads[: 2 * len(x.space)], pads[2 * len(x.space) :]
    if any(around) or len(channels) != 2:
        return None
    before, after = channels
    return x.on_axes(lambda rows: torch.nn.functional.pad(rows, (0, 0, before, after)))
