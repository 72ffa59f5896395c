"""A grouped convolution called eagerly: whether a lowering may take it, and the native one with its gradients.

For small layers a call costs as much as its arithmetic, so what is asked before one is cheap.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

import torch
from torch import Size, Tensor, nn
from torch._C import _functorch as functorch  # pyright: ignore[reportAttributeAccessIssue]
from torch.autograd import forward_ad

from torchmg.kernels import lowerings
from torchmg.kernels.choice import choose
from torchmg.kernels.shape import Lowering, Shape

Function = TypeVar("Function", bound=Callable[..., Any])
Pair = tuple[int, int]
Wanted = tuple[bool, bool, bool]
"""Which gradients: for the input, the weight, the bias."""

_ORDINARY = (Tensor, nn.Parameter)


def constant(function: Function) -> Function:
    """`torch.compiler.assume_constant_result` without the import of the compiler, which takes longer than torch's."""
    vars(function)["_dynamo_marked_constant"] = True
    return function


def is_plain(*tensors: Tensor) -> bool:
    """Whether these are ordinary dense float32 tensors of the CPU, and nothing watches or transforms what is done.

    Counters and observers (modes), `torch.func`, forward derivatives, autocast and tracers all need torch's own
    operators, which they know.
    """
    for x in tensors:
        if not (x.is_cpu and x.dtype is torch.float32):
            return False
    return is_ordinary(*tensors) and unwatched() and not torch.is_autocast_enabled("cpu")


def is_ordinary(*tensors: Tensor) -> bool:
    """Whether these are torch's own dense tensors with memory of their own."""
    for x in tensors:
        if type(x) not in _ORDINARY or x.layout is not torch.strided:
            return False
        if x.is_neg() or not torch._C._has_storage(x):  # memory that holds the negatives; batches of gradients
            return False
    return True


def unwatched() -> bool:
    """Whether no mode, transform, forward derivative or tracer wants to see torch's operators."""
    return not (
        torch._C._len_torch_dispatch_stack()
        or torch._C._len_torch_function_stack()
        or functorch.peek_interpreter_stack() is not None
        or forward_ad._current_level >= 0
        or torch._C._get_tracing_state() is not None
    )


@lru_cache(4096)
def shape_of(x: Size, weight: Size, stride: Pair, padding: Pair, groups: int) -> Shape | None:
    """The sizes of a convolution between tensors of these shapes; None for what only torch takes, or refuses."""
    if len(x) != 4 or len(weight) != 4 or stride[0] != stride[1] or x[1] != weight[1] * groups:
        return None
    images, channels, height, width = x
    out, _, kernel_h, kernel_w = weight
    shape = Shape(images, channels, out, groups, height, width, kernel_h, kernel_w, stride[0], padding[0], padding[1])
    return shape if shape.regular else None


def chosen_for(shape: Shape, x: Tensor, weight: Tensor) -> Lowering:
    """The lowering for a call now: with gradients if autograd records one of these tensors."""
    gradients = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    return choose(shape, threads=torch.get_num_threads(), gradients=gradients)


def sought(x: Tensor, weight: Tensor, stride: Pair, padding: Pair, groups: int) -> tuple[Lowering, Shape] | None:
    """What a call of these sizes would take instead of torch's own convolution; None where that is the fastest.

    Asked before `is_plain`, which costs more, so that what torch computes anyway is not held up.
    """
    if type(x) not in _ORDINARY or type(weight) not in _ORDINARY or torch._C._get_tracing_state() is not None:
        return None
    shape = shape_of(x.shape, weight.shape, stride, padding, groups)
    if shape is None or (chosen := chosen_for(shape, x, weight)) == "aten":
        return None
    return chosen, shape


def computed(chosen: Lowering, shape: Shape, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The convolution by this lowering, recorded by autograd where that is on."""
    if chosen == "native" and torch.is_grad_enabled():
        # made contiguous here, so that one copy serves forward and backward
        return _Native.apply(x.contiguous(), weight.contiguous(), bias, shape)  # pyright: ignore[reportReturnType]
    return lowerings.forward(chosen, shape, x, weight, bias)


def gradients(
    chosen: Lowering, shape: Shape, grad: Tensor, x: Tensor, weight: Tensor, wanted: Wanted
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """The wanted gradients by this lowering; by torch when they are to be differentiated or transformed again."""
    gx = gw = None
    if chosen == "aten" or torch.is_grad_enabled() or not is_plain(grad, x, weight):
        if wanted[0] or wanted[1]:
            pair = lowerings.gradients(shape, grad, x, weight.view(shape.weights), wanted[:2])
            gx, gw = pair[0] if wanted[0] else None, pair[1].view(weight.shape) if wanted[1] else None
    else:
        grad = grad.contiguous()
        gx = lowerings.data_gradient(chosen, shape, grad, weight) if wanted[0] else None
        gw = lowerings.weight_gradient(chosen, shape, x, grad).view(weight.shape) if wanted[1] else None
    return gx, gw, grad.sum((0, 2, 3)) if wanted[2] else None


class _Native(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, shape: Shape) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.shape = shape
        return lowerings.forward("native", shape, x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        return (*gradients("native", ctx.shape, grads[0], x, weight, ctx.needs_input_grad[:3]), None)
