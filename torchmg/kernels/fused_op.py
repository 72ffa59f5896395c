"""`torchmg::norm_conv` and `torchmg::affine_act`: what `torch.compile` sees of `torchmg.kernels.fused`."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from torchmg.kernels.fused import (
    End,
    affine_backward,
    affine_forward,
    norm_conv_backward,
    norm_conv_forward,
    shape_of,
)


@torch.library.custom_op("torchmg::norm_conv", mutates_args=())
def _norm_conv_operator(
    x: Tensor,
    weight: Tensor,
    gamma: Tensor,
    beta: Tensor,
    scale: Tensor | None,
    shift: Tensor | None,
    add: Tensor | None,
    eps: float,
    relu: bool,
    stride: int,
    padding: Sequence[int],
    groups: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    shape = shape_of(x, weight, stride, padding, groups)
    add = None if add is None else add.contiguous()
    return norm_conv_forward(x.contiguous(), weight.contiguous(), gamma, beta, scale, shift, add, eps, relu, shape)


@_norm_conv_operator.register_fake
def _norm_conv_shape(
    x: Tensor,
    weight: Tensor,
    gamma: Tensor,
    beta: Tensor,
    scale: Tensor | None,
    shift: Tensor | None,
    add: Tensor | None,
    eps: float,
    relu: bool,
    stride: int,
    padding: Sequence[int],
    groups: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    y = x.new_empty(shape_of(x, weight, stride, padding, groups).outputs)
    return y, *(x.new_empty(weight.shape[0]) for _ in range(4))  # pyright: ignore


@torch.library.custom_op("torchmg::norm_conv_backward", mutates_args=())
def _norm_conv_backward_operator(
    grads: Sequence[Tensor],
    saved: Sequence[Tensor],
    affine: Sequence[Tensor],
    eps: float,
    relu: bool,
    stride: int,
    padding: Sequence[int],
    groups: int,
    wants_add: bool,
) -> list[Tensor]:
    x, weight, gamma, y, mean, variance = saved
    scale, shift = affine or (None, None)
    shape = shape_of(x, weight, stride, padding, groups)
    x, weight = x.contiguous(), weight.contiguous()
    gy, gscale, gshift = grads
    found = norm_conv_backward(
        gy, gscale, gshift, x, weight, gamma, scale, shift, y.contiguous(), mean, variance, eps, relu, shape, True,
        wants_add,
    )  # fmt: skip
    return [g for g in found if g is not None]


@_norm_conv_backward_operator.register_fake
def _norm_conv_backward_shape(
    grads: Sequence[Tensor],
    saved: Sequence[Tensor],
    affine: Sequence[Tensor],
    eps: float,
    relu: bool,
    stride: int,
    padding: Sequence[int],
    groups: int,
    wants_add: bool,
) -> list[Tensor]:
    x, weight, gamma, y = saved[:4]
    made = (x, weight, gamma, gamma, *affine, *((y,) if wants_add else ()))
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


@torch.library.custom_op("torchmg::affine_act", mutates_args=())
def _affine_operator(y: Tensor, scale: Tensor, shift: Tensor, add: Tensor | None, relu: int) -> Tensor:
    return affine_forward(y.contiguous(), scale, shift, None if add is None else add.contiguous(), relu)


@_affine_operator.register_fake
def _affine_shape(y: Tensor, scale: Tensor, shift: Tensor, add: Tensor | None, relu: int) -> Tensor:
    return y.new_empty(y.shape)


@torch.library.custom_op("torchmg::affine_act_backward", mutates_args=())
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
