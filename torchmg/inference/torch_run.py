"""The steps of a folded network in torch: whole batches, any device of the input's type, gradients of the input."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.fx.node import map_aggregate
from torch.nn import functional as F

from torchmg.inference.graph import Act, Network, Ref, Step

ACT_CALLS: dict[Act, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "relu": F.relu,
    "relu6": F.relu6,
    "hardswish": F.hardswish,
    "hardsigmoid": F.hardsigmoid,
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "gelu": F.gelu,
}


def run_network(network: Network, x: Tensor) -> Tensor:
    """The output of all steps for a batch."""
    values = {network.input: x}
    run_steps(network.steps, network.shapes, values)
    return values[network.output]


def run_steps(steps: Iterable[Step], shapes: dict[int, tuple[int, ...] | None], values: dict[int, Any]) -> None:
    """Carry out steps in order; their outputs join `values`."""
    for step in steps:
        values[step.output] = run_step(step, shapes[step.output], values)


def run_step(step: Step, shape: tuple[int, ...] | None, values: dict[int, Any]) -> Any:
    """The output of one step; `shape` is that of one image's share."""
    if step.kind == "torch":
        assert step.call is not None
        args, kwargs = map_aggregate((step.args, step.kwargs), lambda a: values[a.value] if isinstance(a, Ref) else a)
        return step.call(*args, **kwargs)
    assert shape is not None
    x = values[step.inputs[0]]
    act = ACT_CALLS[step.act]
    if step.kind in ("conv", "linear"):
        y = _weighted(step, x)
        y = y if step.add0 is None else y + values[step.add0]
        y = act(y)
        y = y if step.add1 is None else y + values[step.add1]
    elif step.kind == "max":
        y = F.max_pool2d(x, step.kernel, step.stride, step.pad)
    elif step.kind == "mean_pool":
        y = F.avg_pool2d(x, step.kernel, step.stride, step.pad, divisor_override=1) * step.alpha
    elif step.kind == "binary":
        other = values[step.inputs[1]]
        x = x if step.alpha == 1 else step.alpha * x
        y = act(x - other if step.beta == -1 else x + other if step.beta == 1 else x + step.beta * other)
    elif step.kind in ("scale", "mul"):
        other = values[step.inputs[1]]
        y = x * (other if step.kind == "mul" else other.view(*other.shape[:2], 1, 1))
    elif step.kind == "mean":
        y = x.mean((2, 3))
    elif step.kind == "act":
        y = act(step.alpha * x + step.beta)
    elif step.kind == "copy":
        y = x[:, step.channel : step.channel + shape[0]]
    elif step.kind == "concat":
        y = torch.cat([values[value] for value in step.inputs], 1)
    else:
        y = x
    return y if y.shape[1:] == shape else y.reshape(-1, *shape)


def _weighted(step: Step, x: Tensor) -> Tensor:
    assert step.weight is not None
    weight = step.weight.to(x)
    bias = None if step.bias is None else step.bias.to(x)
    if step.kind == "linear":
        return F.linear(x.flatten(1), weight, bias).view(-1, weight.shape[0], *[1] * (x.dim() - 2))
    return F.conv2d(x, weight, bias, step.stride, step.pad, groups=step.groups)
