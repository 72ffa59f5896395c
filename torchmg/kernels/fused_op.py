"""`torchmg::norm_conv` and `torchmg::affine_act`: what `torch.compile` sees of `torchmg.kernels.fused`."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, library

from torchmg.kernels.fused import (
    End,
    How,
    Inputs,
    Normed,
    affine_backward,
    affine_forward,
    norm_conv_backward,
    norm_conv_forward,
    shape_of,
)

_HOW = "float eps, bool relu, int stride, int[] padding, int groups"
_TENSORS = "Tensor x, Tensor weight, Tensor gamma, Tensor beta, Tensor? scale, Tensor? shift, Tensor? add"
_FORWARD = f"({_TENSORS}, {_HOW}) -> (Tensor, Tensor, Tensor, Tensor, Tensor)"
_BACKWARD = f"(Tensor[] grads, Tensor[] saved, Tensor[] affine, {_HOW}, bool wants_add) -> Tensor[]"


def _how(x: Tensor, weight: Tensor, eps: float, relu: bool, *geometry: Any) -> How:
    return How(eps, relu, shape_of(x, weight, *geometry))


@library.custom_op("torchmg::norm_conv", mutates_args=(), schema=_FORWARD)
def _norm_conv_operator(*arguments: Any) -> tuple[Tensor, ...]:
    x, weight, gamma, beta, scale, shift, add, *how = arguments
    add = None if add is None else add.contiguous()
    inputs = Inputs(x.contiguous(), weight.contiguous(), gamma, beta, scale, shift, add)
    return tuple(norm_conv_forward(inputs, _how(x, weight, *how)))


@_norm_conv_operator.register_fake
def _norm_conv_shape(*arguments: Any) -> tuple[Tensor, ...]:
    x, weight, *_ = arguments
    y = x.new_empty(_how(x, weight, *arguments[7:]).shape.outputs)
    return y, *(x.new_empty(weight.shape[0]) for _ in range(4))


@library.custom_op("torchmg::norm_conv_backward", mutates_args=(), schema=_BACKWARD)
def _norm_conv_backward_operator(
    grads: Sequence[Tensor], saved: Sequence[Tensor], affine: Sequence[Tensor], *how: Any
) -> list[Tensor]:
    x, weight, gamma, y, mean, variance = saved
    inputs = Inputs(x.contiguous(), weight.contiguous(), gamma, gamma, *affine)
    made = Normed(y.contiguous(), gamma, gamma, mean, variance)
    *told, wants_add = how
    found = norm_conv_backward(grads, inputs, made, _how(x, weight, *told), wants_x=True, wants_add=wants_add)
    return [g for g in found if g is not None]


@_norm_conv_backward_operator.register_fake
def _norm_conv_backward_shape(
    grads: Sequence[Tensor], saved: Sequence[Tensor], affine: Sequence[Tensor], *how: Any
) -> list[Tensor]:
    x, weight, gamma, y = saved[:4]
    made = (x, weight, gamma, gamma, *affine, *((y,) if how[-1] else ()))
    return [t.new_empty(t.shape) for t in made]


def _keep_norm_conv(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, weight, gamma, _, scale, shift, add, *how = inputs
    y, _, _, mean, variance = output
    ctx.save_for_backward(x, weight, gamma, y, mean, variance, *(() if scale is None else (scale, shift)))
    ctx.how = *how, add is not None
    ctx.mark_non_differentiable(mean, variance)


def _norm_conv_gradients(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
    saved = list(ctx.saved_tensors)
    found = torch.ops.torchmg.norm_conv_backward(list(grads[:3]), saved[:6], saved[6:], *ctx.how)
    gx, gweight, ggamma, gbeta, *others = found
    of_add = others.pop() if ctx.how[-1] else None
    return gx, gweight, ggamma, gbeta, *(others or (None, None)), of_add, None, None, None, None, None


_norm_conv_operator.register_autograd(_norm_conv_gradients, setup_context=_keep_norm_conv)


@library.custom_op("torchmg::affine_act", mutates_args=())
def _affine_operator(y: Tensor, scale: Tensor, shift: Tensor, add: Tensor | None, relu: int) -> Tensor:
    return affine_forward(y.contiguous(), scale, shift, None if add is None else add.contiguous(), relu)


@_affine_operator.register_fake
def _affine_shape(y: Tensor, scale: Tensor, shift: Tensor, add: Tensor | None, relu: int) -> Tensor:
    return y.new_empty(y.shape)


@library.custom_op("torchmg::affine_act_backward", mutates_args=())
def _affine_backward_operator(
    gout: Tensor, y: Tensor, scale: Tensor, shift: Tensor, out: Tensor | None, relu: int, wants_add: bool
) -> list[Tensor]:
    saved, own = None if out is None else out.contiguous(), wants_add and out is not None
    gy, gadd, *of_affine = affine_backward(gout, y.contiguous(), scale, shift, saved, relu, own)
    return [gy, *of_affine, *(() if gadd is None else (gadd,))]


@_affine_backward_operator.register_fake
def _affine_backward_shape(
    gout: Tensor, y: Tensor, scale: Tensor, shift: Tensor, out: Tensor | None, relu: int, wants_add: bool
) -> list[Tensor]:
    more = (y,) if wants_add and out is not None else ()
    return [t.new_empty(t.shape) for t in (y, scale, scale, *more)]


def _keep_affine(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    y, scale, shift, add, relu = inputs
    ctx.save_for_backward(y, scale, shift, output if relu == End.LAST else None)
    ctx.how = relu, add is not None


def _affine_gradients(ctx: Any, gout: Tensor) -> tuple[Tensor | None, ...]:
    y, scale, shift, out = ctx.saved_tensors
    gy, of_scale, of_shift, *add = torch.ops.torchmg.affine_act_backward(gout, y, scale, shift, out, *ctx.how)
    gadd = (add[0] if add else gout) if ctx.how[1] else None
    return gy, of_scale, of_shift, gadd, None


_affine_operator.register_autograd(_affine_gradients, setup_context=_keep_affine)
