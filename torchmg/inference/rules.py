"""What each ATen operation is in a folded network."""

from dataclasses import replace
from typing import Any

import torch
from torch import fx

from torchmg.inference.channels import ChannelMap
from torchmg.inference.fold import Folder, Known
from torchmg.inference.graph import Act
from torchmg.inference.rule import arguments, constant, pair, rule, shape_of

aten = torch.ops.aten


@rule(aten.conv2d.default)
def _conv(folder: Folder, node: fx.Node) -> Known:
    a = arguments(node)
    x, weight = folder.channel_map(a["input"]), constant(folder, a["weight"])
    bias = constant(folder, a["bias"])
    stride, pad = pair(a["stride"]), pair(a["padding"])
    if x is None or weight is None or (bias is None and a["bias"] is not None):
        return None
    shape = folder.shape(node)
    if x.source is None and x.bias is None and bias is None:
        return ChannelMap(None, shape[:1], shape[1:], torch.zeros(shape[0], 0, dtype=torch.float64))
    if stride[0] != stride[1] or pair(a["dilation"]) != (1, 1) or x.source is None:
        return None
    kernel = (weight.shape[2], weight.shape[3])
    if x.rows is not None and (kernel, stride, pad) == ((1, 1), (1, 1), (0, 0)) and len(x.axes) == 1:
        # Channels that are rearranged before a 1x1 convolution: one map of both.
        made = x.through(weight.flatten(1), a["groups"])
        return made if bias is None else made.shifted(bias)
    source = folder.value(a["input"])
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
    return folder.whole(made)


@rule(aten.conv_transpose2d.input)
def _transposed(folder: Folder, node: fx.Node) -> Known:
    """Without stride, the transpose of a convolution is the convolution with turned taps and swapped channels."""
    a = arguments(node)
    x, weight, bias = folder.channel_map(a["input"]), constant(folder, a["weight"]), constant(folder, a["bias"])
    plain = pair(a["stride"]) == pair(a["dilation"]) == (1, 1) and pair(a["output_padding"]) == (0, 0)
    if x is None or x.source is None or weight is None or (bias is None and a["bias"] is not None) or not plain:
        return None
    pad, kernel = pair(a["padding"]), (weight.shape[2], weight.shape[3])
    turned = weight.flip(2, 3).unflatten(0, (a["groups"], -1)).transpose(1, 2).flatten(0, 1)
    back = kernel[0] - 1 - pad[0], kernel[1] - 1 - pad[1]
    if min(back) < 0:
        return None
    fields = {"weight": turned, "bias": bias, "groups": a["groups"], "kernel": kernel, "pad": back}
    made = folder.add("conv", [folder.value(a["input"])], folder.shape(node), **fields)
    return folder.whole(made)


@rule(aten.linear.default)
def _linear(folder: Folder, node: fx.Node) -> Known:
    a = arguments(node)
    x, weight, bias = folder.channel_map(a["input"]), constant(folder, a["weight"]), constant(folder, a["bias"])
    if x is None or x.source is None or x.space or weight is None or (bias is None and a["bias"] is not None):
        return None
    source = folder.value(a["input"])
    if len(shape_of(folder, source)) != 1:
        return None
    return folder.whole(folder.add("linear", [source], folder.shape(node), weight=weight, bias=bias))


@rule(aten._native_batch_norm_legit_no_training.default)
def _batch_norm(folder: Folder, node: fx.Node) -> Known:
    a = arguments(node)
    x = folder.channel_map(a["input"])
    mean, var = constant(folder, a["running_mean"]), constant(folder, a["running_var"])
    if x is None or len(x.axes) != 1 or mean is None or var is None:
        return None
    weight, bias = constant(folder, a["weight"]), constant(folder, a["bias"])
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


@rule(*_ACTS)
def _act(folder: Folder, node: fx.Node) -> Known:
    a = arguments(node)
    x = folder.channel_map(node.args[0])
    if a.get("approximate", "none") != "none" or (a.get("min_val", 0), a.get("max_val", 6)) != (0, 6):
        return None
    if x is None or x.source is None:
        return None
    act = _ACTS[node.target]
    source = folder.value(node.args[0])
    return folder.whole(folder.add("act", [source], folder.shape(node), act=act, beta=0.0))


@rule(aten.max_pool2d.default)
def _max_pool(folder: Folder, node: fx.Node) -> Known:
    a = arguments(node)
    stride = pair(a["stride"] or a["kernel_size"])
    if stride[0] != stride[1] or pair(a["dilation"]) != (1, 1) or a["ceil_mode"] or not _is_map(folder, node):
        return None
    source = folder.value(node.args[0])
    fields = {"kernel": pair(a["kernel_size"]), "stride": stride[0], "pad": pair(a["padding"])}
    return folder.whole(folder.add("max", [source], folder.shape(node), **fields))


@rule(aten.avg_pool2d.default)
def _mean_pool(folder: Folder, node: fx.Node) -> Known:
    a = arguments(node)
    stride, pad, kernel = pair(a["stride"] or a["kernel_size"]), pair(a["padding"]), pair(a["kernel_size"])
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


@rule(aten.adaptive_avg_pool2d.default)
def _adaptive(folder: Folder, node: fx.Node) -> Known:
    if not _is_map(folder, node) or folder.shape(node)[1:] != (1, 1):
        return None
    return folder.whole(folder.add("mean", [folder.value(node.args[0])], folder.shape(node)))


@rule(aten.mean.dim)
def _mean(folder: Folder, node: fx.Node) -> Known:
    a = arguments(node)
    x = folder.channel_map(node.args[0])
    if x is None or x.source is None or not x.space or a["dtype"] is not None:
        return None
    rank = 1 + len(x.axes) + len(x.space)
    dims = {dim % rank for dim in a["dim"] or ()}
    if dims != set(range(1 + len(x.axes), rank)) or len(x.axes) != 1:
        return None
    if len(x.space) == 1:
        space = shape_of(folder, x.source)[1:]
        source = folder.carry_out(replace(x, space=space)) if len(space) == 2 else None
    else:
        source = folder.value(node.args[0])
    if source is None or len(shape_of(folder, source)) != 3:
        return None
    return folder.whole(folder.add("mean", [source], folder.shape(node)))
