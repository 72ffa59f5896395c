"""Training's operators: a convolution with the normalisation before it and the statistics after it, and an affine end.

Batch normalisation in training is an affine map of each channel, whose coefficients follow from sums over what a
convolution puts out. So the convolution sums while its output is in the cache, and whoever reads that output applies
the map: nothing else ever passes over feature maps. Backward, what statistics put on every pixel is affine too.

Both are for ordinary contiguous float32 tensors of the CPU, where `available`; `torch.compile` gets operators. Tensors
of a GPU, channels-last and of the types that `on_gpu` takes, go to the same computations in Triton.
"""

import ctypes
from collections.abc import Sequence
from enum import IntEnum
from functools import cache, lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from torchmg.kernels import native
from torchmg.kernels.eager import constant
from torchmg.kernels.on_gpu import is_there
from torchmg.kernels.shape import ConvShape, Shape, Track

_POINTER, _INT, _LONG, _DOUBLE = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64, ctypes.c_double
_ARGUMENTS: dict[str, list[Any]] = {
    "tmg_norm_conv_forward": [_POINTER] * 4 + [_INT] + [_POINTER] * 5 + [_INT],
    "tmg_norm_conv_backward": [_POINTER] * 4 + [_INT] + [_POINTER] * 9 + [_INT],
    "tmg_norm_coefficients": [_INT, _LONG] + [_POINTER] * 3 + [_DOUBLE] + [_POINTER] * 4,
    "tmg_norm_coefficients_backward": [_INT, _LONG] + [_POINTER] * 3 + [_DOUBLE] + [_POINTER] * 6,
    "tmg_affine_forward": [_INT, _INT, _LONG] + [_POINTER] * 4 + [_INT, _POINTER, _INT],
    "tmg_affine_backward": [_INT, _INT, _LONG] + [_POINTER] * 4 + [_INT] + [_POINTER] * 4 + [_INT],
}


@constant
def available() -> bool:
    """Whether the native library is there with all that training needs."""
    return native.has(*_ARGUMENTS)


class Inputs(NamedTuple):
    """The tensors of `norm_conv`."""

    x: Tensor
    weight: Tensor
    gamma: Tensor
    beta: Tensor
    scale: Tensor | None = None
    shift: Tensor | None = None
    add: Tensor | None = None


class How(NamedTuple):
    """What else `norm_conv` is told."""

    eps: float
    relu: bool
    shape: Shape
    track: Track | None = None
    """Running statistics that follow, in place, where a GPU does it."""


class Normed(NamedTuple):
    """A convolution's output and the affine map that normalises it: scale[c] y + shift[c]."""

    y: Tensor
    scale: Tensor
    shift: Tensor
    mean: Tensor
    variance: Tensor
    """Of y over images and pixels; biased, not differentiable."""


def norm_conv(
    x: Tensor,
    weight: Tensor,
    gamma: Tensor,
    beta: Tensor,
    eps: float,
    scale: Tensor | None = None,
    shift: Tensor | None = None,
    relu: bool = False,
    stride: int = 1,
    padding: Sequence[int] = (0, 0),
    groups: int = 1,
    add: Tensor | None = None,
    track: Track | None = None,
) -> Normed:
    """Y = conv(relu?(scale x + shift)) + add and the map that normalises y by its own statistics.

    Args:
        x: (batch, in_channels, height, width).
        weight: (out_channels, in_channels / groups, kernel_h, kernel_w).
        gamma: (out_channels,), of the batch normalisation of y.
        beta: the same.
        eps: what it adds to the variance.
        scale: (in_channels,); None, the default: x as it is.
        shift: the same.
        relu: of what was normalised, default not.
        stride: the convolution's, of both axes, default 1.
        padding: its zeros on either side of both axes, default 0.
        groups: into how many its channels are cut, default 1.
        add: of y's shape, default none. With the weights' negative, y is what the convolution leaves of it.
        track: running statistics to move towards those of y, default none; on a GPU only.
    """
    inputs = Inputs(x, weight, gamma, beta, scale, shift, add)
    if torch.compiler.is_compiling():
        return Normed(*torch.ops.torchmg.norm_conv(*inputs, eps, relu, stride, padding, groups))
    how = How(eps, relu, shape_of(x, weight, stride, padding, groups), track)
    return Normed(*_NormConv.apply(*inputs, how))  # pyright: ignore


End = IntEnum("End", ["NONE", "LAST", "BEFORE_ADD"], start=0)
"""Where `affine_act` has a ReLU: nowhere, over all, or before it adds."""


def affine_act(y: Tensor, scale: Tensor, shift: Tensor, add: Tensor | None = None, relu: int = End.NONE) -> Tensor:
    """scale[c] y + shift[c] + add, of y and add (batch, channels, height, width), with a ReLU where `End` says."""
    relu = int(relu)
    if torch.compiler.is_compiling():
        return torch.ops.torchmg.affine_act(y, scale, shift, add, relu)
    return _AffineAct.apply(y, scale, shift, add, relu)  # pyright: ignore


def plain_norm_conv(inputs: Inputs, how: How) -> tuple[Tensor, Tensor, Tensor]:
    """Y, scale and shift of `norm_conv` by torch's own operators, differentiable any number of times."""
    x, weight, gamma, beta, scale, shift, add = inputs
    shape = how.shape
    if scale is not None and shift is not None:
        x = x * scale[:, None, None] + shift[:, None, None]
        x = x.relu() if how.relu else x
    y = F.conv2d(x, weight, None, shape.stride, (shape.pad_h, shape.pad_w), groups=shape.groups)
    y = y if add is None else y + add
    variance, mean = torch.var_mean(y, (0, 2, 3), correction=0)
    out = gamma * (variance + how.eps).rsqrt()
    return y, out, beta - mean * out


# What both eager functions and operators do.


def norm_conv_forward(inputs: Inputs, how: How) -> Normed:
    """`norm_conv` without autograd."""
    if is_there(inputs.x):
        from torchmg.kernels.gpu import training

        return Normed(*training.norm_conv_forward(*inputs, *how))
    x, weight, gamma, beta, scale, shift, add = inputs
    shape = how.shape
    y = torch.empty(shape.outputs)
    sums = torch.empty(2, shape.out_channels, dtype=torch.float64)
    found = [torch.empty(shape.out_channels) for _ in range(4)]
    count = y.numel() // shape.out_channels
    _call("tmg_norm_conv_forward", _structure(shape), x, scale, shift, how.relu, weight, None, add, y, sums, _threads())
    _call("tmg_norm_coefficients", shape.out_channels, count, sums, gamma, beta, how.eps, *found)
    return Normed(y, *found)


def norm_conv_backward(
    grads: Sequence[Tensor], inputs: Inputs, made: Normed, how: How, *, wants_x: bool, wants_add: bool
) -> tuple[Tensor | None, ...]:
    """Gradients of all `inputs`, in their order, from those of y, scale and shift.

    Args:
        grads: the gradients that reach `made.y`, `made.scale` and `made.shift`.
        inputs: of the forward pass; neither beta nor add is looked at.
        made: what it returned; neither scale nor shift is looked at.
        how: as then.
        wants_x: whether x' gradient is needed; it comes anyway where there is an affine map.
        wants_add: whether that of the addend is.
    """
    x, weight, gamma, _, scale, shift, _ = inputs
    if is_there(x):
        from torchmg.kernels.gpu import training

        known = (x, weight, gamma, scale, shift, made.y, made.mean, made.variance)
        return training.norm_conv_backward(grads[0], grads[1], grads[2], *known, *how[:3], wants_x, wants_add)
    shape = how.shape
    ggamma, gbeta, constant, slope = (torch.empty(shape.out_channels) for _ in range(4))
    count = made.y.numel() // shape.out_channels
    gy, gscale, gshift = (grad.contiguous() for grad in grads)
    numbers = (made.mean, made.variance, gamma, how.eps, gscale, gshift, ggamma, gbeta, constant, slope)
    _call("tmg_norm_coefficients_backward", shape.out_channels, count, *numbers)
    gx = torch.empty(shape.inputs) if wants_x or scale is not None else None
    gweight, gadd = torch.empty(shape.weights), torch.empty(shape.outputs) if wants_add else None
    affine = None if scale is None else torch.empty(2, shape.in_channels, dtype=torch.float64)
    _call(
        "tmg_norm_conv_backward", _structure(shape), x, scale, shift, how.relu, weight, made.y, gy, constant, slope,
        gx, gweight, affine, gadd, _threads(),
    )  # fmt: skip
    of_scale, of_shift = (None, None) if affine is None else (affine[0].float(), affine[1].float())
    return gx, gweight, ggamma, gbeta, of_scale, of_shift, gadd


def affine_forward(y: Tensor, scale: Tensor, shift: Tensor, add: Tensor | None, relu: int) -> Tensor:
    """`affine_act` without autograd."""
    if is_there(y):
        from torchmg.kernels.gpu import training

        return training.affine_forward(y, scale, shift, add, relu)
    out = torch.empty(y.shape)
    images, channels, height, width = y.shape
    _call("tmg_affine_forward", images, channels, height * width, y, scale, shift, add, relu, out, _threads())
    return out


def affine_backward(
    gout: Tensor, y: Tensor, scale: Tensor, shift: Tensor, out: Tensor | None, relu: int, wants_add: bool
) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
    """Gradients of y, add, scale, shift; `out` where the ReLU is over all."""
    if is_there(y):
        from torchmg.kernels.gpu import training

        return training.affine_backward(gout, y, scale, shift, out, relu, wants_add)
    gout, gy = gout.contiguous(), torch.empty(y.shape)
    images, channels, height, width = y.shape
    gadd = torch.empty(y.shape) if wants_add and out is not None else None
    affine = torch.empty(2, channels, dtype=torch.float64)
    sizes = (images, channels, height * width)
    _call("tmg_affine_backward", *sizes, y, scale, shift, out, relu, gout, gy, gadd, affine, _threads())
    return gy, (gout if out is None else gadd) if wants_add else None, affine[0].float(), affine[1].float()


# Eagerly: autograd's functions, which cost less than operators.


class _NormConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, ...]:
        inputs, how = Inputs(*arguments[:7]), arguments[7]
        made = norm_conv_forward(inputs, how)
        ctx.save_for_backward(*inputs, *made)
        ctx.how = how._replace(track=None)
        ctx.mark_non_differentiable(made.mean, made.variance)
        return tuple(made)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors  # once: a checkpoint computes them when they are asked for
        inputs, made = Inputs(*saved[:7]), Normed(*saved[7:])
        if torch.is_grad_enabled():  # to be differentiated again
            return *_again(lambda *tensors: plain_norm_conv(Inputs(*tensors), ctx.how), inputs, grads[:3]), None
        wants_x, *_, wants_add = ctx.needs_input_grad[:7]
        found = norm_conv_backward(grads[:3], inputs, made, ctx.how, wants_x=wants_x, wants_add=wants_add)
        return *found, None


class _AffineAct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor, scale: Tensor, shift: Tensor, add: Tensor | None, relu: int) -> Tensor:
        out = affine_forward(y, scale, shift, add, relu)
        ctx.save_for_backward(y, scale, shift, add, out if relu == End.LAST else None)
        ctx.relu = relu
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        y, scale, shift, add, out = ctx.saved_tensors
        if torch.is_grad_enabled():
            return *_again(lambda *four: _plain_affine(four, ctx.relu), (y, scale, shift, add), grads), None
        wants_add = ctx.needs_input_grad[3]
        gy, gadd, of_scale, of_shift = affine_backward(grads[0], y, scale, shift, out, ctx.relu, wants_add)
        return gy, of_scale, of_shift, gadd, None


def _plain_affine(inputs: tuple[Any, ...], relu: int) -> tuple[Tensor]:
    y, scale, shift, add = inputs
    out = y * scale[:, None, None] + shift[:, None, None]
    out = out.relu() if relu == End.BEFORE_ADD else out
    out = out if add is None else out + add
    return (out.relu() if relu == End.LAST else out,)


def _again(plain: Any, inputs: Sequence[Tensor | None], grads: Sequence[Tensor]) -> list[Tensor | None]:
    """Gradients by torch's own operators, in a graph of their own."""
    wanted = [x for x in inputs if x is not None and x.requires_grad]
    found = iter(torch.autograd.grad(plain(*inputs), wanted, grads, create_graph=True, allow_unused=True))
    return [next(found) if x is not None and x.requires_grad else None for x in inputs]


# The library's functions.


@cache
def _function(name: str) -> Any:
    function = getattr(native.loaded(), name)
    function.argtypes, function.restype = _ARGUMENTS[name], _INT
    return function


@lru_cache(4096)
def _structure(shape: Shape) -> ctypes.Array[Any]:
    return ConvShape(*shape)  # pyright: ignore


def _call(name: str, *arguments: Any) -> None:
    if code := _function(name)(*map(_passed, arguments)):
        raise MemoryError(f"{name}: no memory") if code == -2 else RuntimeError(f"{name}: malformed call")


def _passed(x: Any) -> Any:
    if isinstance(x, Tensor):
        return x.data_ptr()
    return ctypes.addressof(x) if isinstance(x, ctypes.Structure) else x


def _threads() -> int:
    return torch.get_num_threads()


def shape_of(x: Tensor, weight: Tensor, stride: int, padding: Sequence[int], groups: int) -> Shape:
    """The sizes of a convolution."""
    images, channels, height, width = x.shape
    out, _, kernel_h, kernel_w = weight.shape
    return Shape(images, channels, out, groups, height, width, kernel_h, kernel_w, stride, padding[0], padding[1])
