"""`grouped_conv`, a 2-D convolution that takes the fastest lowering there is, and its operator for compilers.

Called eagerly on ordinary float32 tensors of the CPU it goes to the chosen lowering without a detour, and on
channels-last tensors of a GPU to the Triton kernels. `torch.compile` gets, on the CPU, the operator
`torchmg::grouped_conv`, which chooses when it runs. Everything else (other devices and types, transforms, modes,
tracers, export) gets torch's own convolution, exactly as if this file were not there.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, library
from torch.nn import functional as F

from torchmg.kernels import lowerings, on_gpu
from torchmg.kernels.choice import choose, may_differ
from torchmg.kernels.eager import Pair, chosen_for, computed, constant, gradients, is_plain, shape_of, sought
from torchmg.kernels.shape import Shape


def grouped_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    groups: int = 1,
) -> Tensor:
    """`F.conv2d(x, weight, bias, stride, padding, groups=groups)`, by the lowering that `choice` names.

    Args:
        x: (batch, in_channels, height, width), of any strides; what `native` computes comes out contiguous.
        weight: (out_channels, in_channels / groups, kernel_h, kernel_w).
        bias: (out_channels,).
        stride: of both axes, default 1.
        padding: zeros on either side of both axes, default 0.
        groups: into which channels are cut.

    Raises:
        RuntimeError: torch's own, for shapes that do not fit.
        UnknownNameError: `TORCHMG_LOWERING` is no lowering.
    """
    if groups > 1 and torch.compiler.is_compiling():
        if not torch.compiler.is_exporting() and _worth_an_operator(x, weight, stride, groups):
            return torch.ops.torchmg.grouped_conv(x, weight, bias, stride, padding, groups)
    elif groups > 1 and on_gpu.is_there(x):
        shape = shape_of(x.shape, weight.shape, stride, padding, groups)
        if shape is not None and (y := on_gpu.grouped_conv(x, weight, bias, shape)) is not None:
            return y
    elif (
        groups > 1
        and (found := sought(x, weight, stride, padding, groups)) is not None
        and (is_plain(x, weight) if bias is None else is_plain(x, weight, bias))
    ):
        return computed(*found, x, weight, bias)
    return F.conv2d(x, weight, bias, stride, padding, groups=groups)


def fast_pointwise(x: Tensor, weight: Tensor, groups: int, *, paired: bool) -> Tensor | None:
    """The grouped 1x1 map of (batch, in, height, width) by (out, in / groups), if a lowering beats torch's; else None.

    Never while something traces: then the caller's own expression is what a compiler or exporter should see.

    Args:
        x: the maps, of any strides.
        weight: its blocks.
        groups: into which channels are cut.
        paired: that the caller has an element-wise expression for it, which only `native` beats.
    """
    if groups == 1 or torch.compiler.is_compiling() or x.dim() != 4:
        return None
    there = on_gpu.is_there(x)
    if not there and not is_plain(x, weight):
        return None
    shape = shape_of(x.shape, (*weight.shape, 1, 1), (1, 1), (0, 0), groups)
    if there:
        return None if shape is None else on_gpu.grouped_conv(x, weight[:, :, None, None], None, shape)
    if shape is None or (chosen := chosen_for(shape, x, weight)) == "aten" or (paired and chosen == "matmul"):
        return None
    return computed(chosen, shape, x, weight)


# The operator: one node forward and one backward. Its outputs are contiguous, whatever computed them.


@library.custom_op("torchmg::grouped_conv", mutates_args=())
def _operator(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Sequence[int], padding: Sequence[int], groups: int
) -> Tensor:
    shape = _plain_shape(x, weight, stride, padding, groups)
    if shape is None:
        return F.conv2d(x, weight, bias, stride, padding, groups=groups).contiguous()  # pyright: ignore
    chosen = choose(shape, threads=torch.get_num_threads(), gradients=False)
    return lowerings.forward(chosen, shape, x, weight, bias).contiguous()


@library.custom_op("torchmg::grouped_conv_backward", mutates_args=())
def _backward_operator(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    groups: int,
    wanted: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    shape = _plain_shape(x, weight, stride, padding, groups)
    if shape is None or not is_plain(grad):
        found = _aten_backward(grad, x, weight, stride, padding, groups, wanted)
    else:
        chosen = choose(shape, threads=torch.get_num_threads(), gradients=True)
        with torch.no_grad():
            found = gradients(chosen, shape, grad, x, weight, (wanted[0], wanted[1], wanted[2]))
    gx, gw, gb = (grad.new_empty(0) if g is None else g.contiguous() for g in found)
    return gx, gw, gb


@_operator.register_fake
def _operator_shape(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Sequence[int], padding: Sequence[int], groups: int
) -> Tensor:
    sizes = [(x.shape[2 + i] + 2 * padding[i] - weight.shape[2 + i]) // stride[i] + 1 for i in (0, 1)]
    return x.new_empty(x.shape[0], weight.shape[0], *sizes)


@_backward_operator.register_fake
def _backward_operator_shape(grad: Tensor, x: Tensor, weight: Tensor, *how: Any) -> tuple[Tensor, Tensor, Tensor]:
    shapes = (x.shape, weight.shape, weight.shape[:1])
    gx, gw, gb = (grad.new_empty(size if want else 0) for size, want in zip(shapes, how[-1], strict=True))
    return gx, gw, gb


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(inputs[0], inputs[1])
    ctx.how = inputs[3:]


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, weight = ctx.saved_tensors
    stride, padding, groups = ctx.how
    wanted = ctx.needs_input_grad[:3]
    if torch.is_grad_enabled():  # to be differentiated again
        found = _aten_backward(grad, x, weight, stride, padding, groups, wanted)
    else:
        found = torch.ops.torchmg.grouped_conv_backward(grad, x, weight, stride, padding, groups, wanted)
    return (*(g if want else None for g, want in zip(found, wanted, strict=True)), None, None, None)


_operator.register_autograd(_backward, setup_context=_keep)


def _autocast(device: str, key: str) -> None:
    """Autocast lowers the inputs as it does those of convolutions: to the type of the moment, not to a fixed one."""

    def kernel(x: Tensor, weight: Tensor, bias: Tensor | None, *how: Any) -> Tensor:
        lowest, least = torch.get_autocast_dtype(device), (torch.float16, torch.bfloat16, torch.float32)
        cast = [t if t is None or t.dtype not in least else t.to(lowest) for t in (x, weight, bias)]
        with torch._C._ExcludeDispatchKeyGuard(torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, key))):
            return torch.ops.torchmg.grouped_conv(*cast, *how)

    library.impl("torchmg::grouped_conv", key, kernel)


for _device, _key in (("cpu", "AutocastCPU"), ("cuda", "AutocastCUDA")):
    _autocast(_device, _key)


def _plain_shape(x: Tensor, weight: Tensor, stride: Sequence[int], padding: Sequence[int], groups: int) -> Shape | None:
    if groups == 1 or not is_plain(x, weight):
        return None
    return shape_of(x.shape, weight.shape, (stride[0], stride[1]), (padding[0], padding[1]), groups)


def _aten_backward(grad: Tensor, x: Tensor, weight: Tensor, *how: Any) -> tuple[Tensor | None, ...]:
    stride, padding, groups, wanted = how
    sizes = [weight.shape[0]] if wanted[2] else None
    return torch.ops.aten.convolution_backward(
        grad, x, weight, sizes, stride, padding, (1, 1), False, (0, 0), groups, list(wanted)
    )


@constant
def _may_differ(in_group: int, out_group: int, kernel_h: int, kernel_w: int) -> bool:
    return may_differ(in_group, out_group, (kernel_h, kernel_w))


def _worth_an_operator(x: Tensor, weight: Tensor, stride: Pair, groups: int) -> bool:
    if x.device.type != "cpu" or x.dtype != torch.float32 or x.dim() != 4 or stride[0] != stride[1]:
        return False
    out, in_group, kernel_h, kernel_w = weight.shape
    return _may_differ(in_group, out // groups, kernel_h, kernel_w)
