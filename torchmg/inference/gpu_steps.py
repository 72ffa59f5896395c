"""Single steps of a folded network on a GPU, in torch: constants are moved and rounded once, not at every call."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.fx.node import map_aggregate

from torchmg.inference.gpu_runner import Runner, Values
from torchmg.inference.graph import Network, Step
from torchmg.inference.torch_run import ACT_CALLS, run_step

Shape = tuple[int, ...] | None


def torch_parts(network: Network, device: torch.device, dtype: torch.dtype) -> list[Runner]:
    """Every step by itself."""
    return [torch_step(step, network.shapes[step.output], device, dtype) for step in network.steps]


def torch_step(step: Step, shape: Shape, device: torch.device, dtype: torch.dtype) -> Runner:
    """One step."""
    step = moved(step, device, dtype)
    scales = step.kind == "conv" and step.weight is not None and is_scale(step)

    def run(values: Values) -> None:
        made = _scaled(step, values) if scales else run_step(step, shape, values)
        # Our kernels read nothing else, and torch does not always keep it.
        if isinstance(made, Tensor) and made.dim() == 4:
            made = made.contiguous(memory_format=torch.channels_last)
        values[step.output] = made

    return Runner(run, step.reads, [step.output], "torch", 1)


def moved(step: Step, device: torch.device, dtype: torch.dtype) -> Step:
    """A step with its constants where they are needed."""

    def move(constant: Any) -> Any:
        if isinstance(constant, Tensor):
            return constant.to(device, dtype if constant.is_floating_point() else constant.dtype)
        if isinstance(constant, torch.device):
            return device
        return dtype if constant == torch.float32 and isinstance(constant, torch.dtype) else constant

    weight = None if step.weight is None else move(step.weight)
    if weight is not None and weight.dim() == 4:
        weight = weight.contiguous(memory_format=torch.channels_last)
    args, kwargs = map_aggregate((step.args, step.kwargs), move)  # pyright: ignore[reportGeneralTypeIssues]
    return replace(step, weight=weight, bias=move(step.bias), args=args, kwargs=kwargs)


def is_scale(step: Step) -> bool:
    """Whether a convolution multiplies each channel by a number: elementwise work, which no convolution does well."""
    assert step.weight is not None
    pointwise = (step.kernel, step.pad, step.stride) == ((1, 1), (0, 0), 1)
    return pointwise and step.weight.shape[1] == 1 and step.weight.shape[0] == step.groups


def _scaled(step: Step, values: Values) -> Tensor:
    assert step.weight is not None
    x, weight = values[step.inputs[0]], step.weight.view(1, -1, 1, 1)
    y = x * weight if step.bias is None else torch.addcmul(step.bias.view(1, -1, 1, 1), x, weight)
    y = y if step.add0 is None else y + values[step.add0]
    y = ACT_CALLS[step.act](y)
    return y if step.add1 is None else y + values[step.add1]
