"""What each ATen operation is in a folded network."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx

from torchmg.inference.channels import ChannelMap
from torchmg.inference.fold import Folder, Known, Rule
from torchmg.inference.graph import Act

aten = torch.ops.aten
RULES: dict[Any, Rule] = {}


def _rule(*targets: Any) -> Callable[[Rule], Rule]:
    def keep(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(targets, rule))
        return rule

    return keep


def _arguments(node: fx.Node) -> dict[str, Any]:
    """All arguments by their names in the schema, defaults filled in."""
    named = {}
    for place, argument in enumerate(node.target._schema.arguments):  # noqa: SLF001  # pyright: ignore
        given = node.args[place] if place < len(node.args) else node.kwargs.get(argument.name, argument.default_value)
        named[argument.name] = given
    return named


def _pair(value: Any) -> tuple[int, int]:
    """One number or two as two."""
    if isinstance(value, int):
        return value, value
    return (value[0], value[-1])


def _constant(folder: Folder, node: Any) -> Tensor | None:
    """A constant in float64."""
    known = folder.known.get(node) if isinstance(node, fx.Node) else None
    return known.double() if isinstance(known, Tensor) and known.is_floating_point() else None


@_rule(aten.conv2d.default)
def _conv(folder: Folder, node: fx.Node) -> Known:
    a = _arguments(node)
    x, weight = folder.channel_map(a["input"]), _constant(folder, a["weight"])
    bias = _constant(folder, a["bias"])
    stride, pad = _pair(a["stride"]), _pair(a["padding"])
    if x is None or weight is None or (bias is None and a["bias"] is not None):
        return None
    shape = folder.shape(node)
    if x.source is None and x.bias is None and bias is None:
        return ChannelMap(None, shape[:1], shape[1:], torch.zeros(shape[0], 0, dtype=torch.float64))
    if stride[0] != stride[1] or _pair(a["dilation"]) != (1, 1) or x.source is None:
        return None
    source = folder.value(a["input"])
    kernel = (weight.shape[2], weight.shape[3])
    if folder.shapes[source] != (weight.shape[1] * a["groups"], *shape_of(folder, source)[1:]):
        return None
    made = folder.add(
        "conv",
        [source],
        shape,
        weight=weight,
        bias=bias,
        groups=a["groups"],
        kernel=kernel,
        stride=stride[0],
        pad=pad,
    )
    return folder.whole(made, sole=True)


@_rule(aten.conv_transpose2d.input)
def _transposed(folder: Folder, node: fx.Node) -> Known:
    """Without stride, the transpose of a convolution is the convolution with turned taps and swapped channels."""
    a = _arguments(node)
    x, weight, bias = folder.channel_map(a["input"]), _constant(folder, a["weight"]), _constant(folder, a["bias"])
    plain = _pair(a["stride"]) == _pair(a["dilation"]) == (1, 1) and _pair(a["output_padding"]) == (0, 0)
    if x is None or x.source is None or weight is None or (bias is None and a["bias"] is not None) or not plain:
        return None
    pad, kernel = _pair(a["padding"]), (weight.shape[2], weight.shape[3])
    turned = weight.flip(2, 3).unflatten(0, (a["groups"], -1)).transpose(1, 2).flatten(0, 1)
    back = kernel[0] - 1 - pad[0], kernel[1] - 1 - pad[1]
    if min(back) < 0:
        return None
    fields = {"weight": turned, "bias": bias, "groups": a["groups"], "kernel": kernel, "pad": back}
    made = folder.add("conv", [folder.value(a["input"])], folder.shape(node), **fields)
    return folder.whole(made, sole=True)


def shape_of(folder: Folder, value: int) -> tuple[int, ...]:
    """The shape of a value that is known to have one."""
    shape = folder.shapes[value]
    assert shape is not None
    return shape


@_rule(aten.linear.default)
def _linear(folder: Folder, node: fx.Node) -> Known:
    a = _arguments(node)
    x, weight, bias = folder.channel_map(a["input"]), _constant(folder, a["weight"]), _constant(folder, a["bias"])
    if x is None or x.source is None or x.space or weight is None or (bias is None and a["bias"] is not None):
        return None
    source = folder.value(a["input"])
    if len(shape_of(folder, source)) != 1:
        return None
    return folder.whole(folder.add("linear", [source], folder.shape(node), weight=weight, bias=bias), sole=True)


@_rule(aten._native_batch_norm_legit_no_training.default)  # noqa: SLF001
def _batch_norm(folder: Folder, node: fx.Node) -> Known:
    a = _arguments(node)
    x = folder.follow(a["input"])
    mean, var = _constant(folder, a["running_mean"]), _constant(folder, a["running_var"])
    if x is None or len(x.axes) != 1 or mean is None or var is None:
        return None
    weight, bias = _constant(folder, a["weight"]), _constant(folder, a["bias"])
    scale = (var + a["eps"]).rsqrt()
    scale = scale if weight is None else scale * weight
    shift = -mean * scale
    return [x.scaled(scale).shifted(shift if bias is None else shift + bias)]


_ACTS: dict[Any, Act] = {
    aten.relu.default: "relu",
    aten.relu6.default: "relu6",
    aten.hardswish.default: "hardswish",
    aten.hardsigmoid.default: "hardsigmoid",
    aten.sigmoid.default: "sigmoid",
    aten.silu.default: "silu",
    aten.gelu.default: "gelu",
    aten.hardtanh.default: "relu6",
}


@_rule(*_ACTS)
def _act(folder: Folder, node: fx.Node) -> Known:
    a = _arguments(node)
    x = folder.channel_map(node.args[0])
    if a.get("approximate", "none") != "none" or (a.get("min_val", 0), a.get("max_val", 6)) != (0, 6):
        return None
    if x is None or x.source is None:
        return None
    act = _ACTS[node.target]
    source = folder.value(node.args[0])
    return folder.whole(folder.add("act", [source], folder.shape(node), act=act, beta=0.0), sole=True)


@_rule(aten.max_pool2d.default)
def _max_pool(folder: Folder, node: fx.Node) -> Known:
    a = _arguments(node)
    stride = _pair(a["stride"] or a["kernel_size"])
    if stride[0] != stride[1] or _pair(a["dilation"]) != (1, 1) or a["ceil_mode"] or not _is_map(folder, node):
        return None
    source = folder.value(node.args[0])
    fields = {"kernel": _pair(a["kernel_size"]), "stride": stride[0], "pad": _pair(a["padding"])}
    return folder.whole(folder.add("max", [source], folder.shape(node), **fields))


@_rule(aten.avg_pool2d.default)
def _mean_pool(folder: Folder, node: fx.Node) -> Known:
    a = _arguments(node)
    stride, pad, kernel = _pair(a["stride"] or a["kernel_size"]), _pair(a["padding"]), _pair(a["kernel_size"])
    counts_pads = a["count_include_pad"] or pad == (0, 0)
    if stride[0] != stride[1] or a["ceil_mode"] or not counts_pads or not _is_map(folder, node):
        return None
    divisor = a["divisor_override"] or kernel[0] * kernel[1]
    source = folder.value(node.args[0])
    fields = {"kernel": kernel, "stride": stride[0], "pad": pad, "alpha": 1 / divisor}
    return folder.whole(folder.add("mean_pool", [source], folder.shape(node), **fields))


def _is_map(folder: Folder, node: fx.Node) -> bool:
    """Whether the first argument is a known picture."""
    x = folder.channel_map(node.args[0])
    return x is not None and x.source is not None and len(x.space) == 2 and len(x.axes) == 1


@_rule(aten.adaptive_avg_pool2d.default)
def _adaptive(folder: Folder, node: fx.Node) -> Known:
    if not _is_map(folder, node) or folder.shape(node)[1:] != (1, 1):
        return None
    return folder.whole(folder.add("mean", [folder.value(node.args[0])], folder.shape(node)))


@_rule(aten.mean.dim)
def _mean(folder: Folder, node: fx.Node) -> Known:
    a = _arguments(node)
    x = folder.channel_map(node.args[0])
    if x is None or x.source is None or not x.space or a["dtype"] is not None:
        return None
    rank = 1 + len(x.axes) + len(x.space)
    dims = {dim % rank for dim in a["dim"] or ()}
    if dims != set(range(1 + len(x.axes), rank)) or len(x.axes) != 1:
        return None
    if len(x.space) == 1:
        x = replace(x, space=shape_of(folder, x.source)[1:])
        source = folder.carry_out(replace(x, sole=False))
    else:
        source = folder.value(node.args[0])
    if source is None or len(shape_of(folder, source)) != 3:
        return None
    return folder.whole(folder.add("mean", [source], folder.shape(node)))
