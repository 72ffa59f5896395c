"""Which calls the Triton kernels take, and a grouped convolution by them with its gradients."""

from typing import Any

import torch
from torch import Tensor

from torchmg.kernels import lowerings
from torchmg.kernels.choice import pin
from torchmg.kernels.eager import is_ordinary, unwatched
from torchmg.kernels.gpu import support
from torchmg.kernels.shape import Shape

_INTERPRETED = support.interpreted()


def is_there(x: Tensor) -> bool:
    """Whether a tensor lies where Triton kernels run; the interpreter's are pinned, as the CPU has others."""
    return x.is_cuda or (_INTERPRETED and pin() == "triton")


def type_of(x: Tensor, weight: Tensor, *others: Tensor) -> torch.dtype | None:
    """In what the kernels compute a call that is made now; None where torch's own operators are to do it.

    Autocast lowers maps and weights as it does those of convolutions.

    Args:
        x: the maps; only channels-last ones are taken.
        weight: the convolution's.
        *others: parameters of the normalisation after it, in float32.
    """
    if not is_there(x) or pin() not in (None, "triton") or x.dim() != 4 or support.why_not():
        return None
    if not (is_ordinary(x, weight, *others) and unwatched()):
        return None
    if x.is_cuda and x.device.index != torch.cuda.current_device():  # where Triton launches
        return None
    lowered = torch.is_autocast_enabled(x.device.type)
    dtype = torch.get_autocast_dtype(x.device.type) if lowered else x.dtype
    floats = x.dtype in support.DTYPES and weight.dtype in support.DTYPES and dtype in support.DTYPES
    if not floats or (not lowered and weight.dtype != x.dtype) or x.device != weight.device:
        return None
    if any(t.dtype != torch.float32 or t.device != x.device for t in others):
        return None
    return dtype if support.channels_last(x) and x.numel() > 0 else None


def grouped_conv(x: Tensor, weight: Tensor, bias: Tensor | None, shape: Shape) -> Tensor | None:
    """The convolution by the Triton kernels, recorded by autograd; None where they do not take it."""
    dtype = type_of(x, weight)
    if dtype is None or (bias is not None and bias.dtype not in support.DTYPES) or not suits(shape):
        return None
    return _Triton.apply(x.to(dtype), weight, bias, shape)  # pyright: ignore[reportReturnType]


def suits(shape: Shape) -> bool:
    """Whether the kernels are meant for a convolution of these sizes."""
    if support.why_not():
        return False
    from torchmg.kernels.gpu.conv import suits  # Triton is imported only where there is a device for it

    return suits(shape)


class _Triton(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, shape: Shape) -> Tensor:
        from torchmg.kernels.gpu.conv import conv
        from torchmg.kernels.gpu.edges import End

        ctx.save_for_backward(x, weight, bias)
        ctx.shape = shape
        return conv(x, weight, shape, after=None if bias is None else End(bias.float()))[0]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        from torchmg.kernels.gpu.conv import conv
        from torchmg.kernels.gpu.weights import weight_gradient

        x, weight, bias = ctx.saved_tensors
        wants_x, wants_weight, wants_bias, _ = ctx.needs_input_grad
        of_bias = grads[0].sum((0, 2, 3)).to(bias.dtype) if wants_bias else None
        if torch.is_grad_enabled():  # to be differentiated again
            both = lowerings.gradients(ctx.shape, grads[0], x, weight.to(x.dtype), (wants_x, wants_weight))
            gx, gw = both[0], both[1]
            return gx if wants_x else None, gw.to(weight.dtype) if wants_weight else None, of_bias, None
        grad = grads[0].to(x.dtype).contiguous(memory_format=torch.channels_last)
        gx = conv(grad, weight, ctx.shape, transposed=True)[0] if wants_x else None
        gw = weight_gradient(x, grad, ctx.shape).to(weight.dtype) if wants_weight else None
        return gx, gw, of_bias, None
