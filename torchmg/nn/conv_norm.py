"""A convolution, its batch normalisation, and what follows: as modules, or in training as one fused computation."""

from collections.abc import Sequence
from typing import NamedTuple, overload

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.module import _has_any_global_hook

from torchmg.kernels import choice, fused, fused_op, on_gpu  # noqa: F401 (the operators that compilers see)
from torchmg.kernels.eager import constant, is_ordinary, is_plain, shape_of
from torchmg.kernels.gpu.support import channels_last
from torchmg.kernels.shape import Track
from torchmg.nn.conv import GroupedConv2d, pointwise

Act = bool | nn.Module
"""An activation, or whether a ReLU is one."""


class Pending(NamedTuple):
    """A convolution's output that is not normalised yet: relu?(scale[c] y + shift[c]) is what it stands for."""

    y: Tensor
    scale: Tensor
    shift: Tensor
    act: bool

    def value(self) -> Tensor:
        """What it stands for."""
        return fused.affine_act(self.y, self.scale, self.shift, None, self.act)


def conv_norm(
    conv: nn.Module,
    norm: nn.Module,
    x: Tensor | Pending,
    *,
    act: Act,
    add: Tensor | None = None,
    after: Tensor | None = None,
) -> Tensor:
    """relu?(add + norm(conv(x))) + after.

    In training, plain grouped convolutions with plain batch normalisation run fused (on the CPU, and on GPUs where maps
    are channels-last): the same to rounding, running statistics included. Whatever watches or changes either module
    (hooks, parametrizations, modes, transforms, export) gets the modules themselves.

    Args:
        conv: any convolution.
        norm: any normalisation.
        x: (batch, in_channels, *spatial), or what `conv_norm_later` returned.
        act: whether a ReLU follows, or the activation that does.
        add: of the result's shape, before the activation.
        after: the same, after it.
    """
    y = conv_norm_later(conv, norm, x, act=act if add is None else False)
    if isinstance(y, Pending) and (act is False or _is_relu(act)):
        return _ended(y, add, after, act is not False)
    y = value_of(y)
    if add is not None:
        y = add + y  # one name, so that each map is freed when the next is there
        y = _activated(act, y)
    return y if after is None else after + y


def conv_norm_later(
    conv: nn.Module, norm: nn.Module, x: Tensor | Pending, *, act: Act, minuend: Tensor | None = None
) -> Tensor | Pending:
    """relu?(norm(conv(x))), which the next `conv_norm` may compute while it reads: for that alone, not to be kept.

    With `minuend`, of the convolution's output shape, relu?(norm(minuend - conv(x))): of a residual.
    """
    if (
        type(conv) is GroupedConv2d
        and isinstance(norm, nn.BatchNorm2d)
        and conv.bias is None
        and conv.padding_mode == "zeros"
        and conv.dilation == (1, 1)
        and not isinstance(conv.padding, str)
        and conv.stride[0] == conv.stride[1]
        and not (conv._forward_hooks or conv._forward_pre_hooks or conv._backward_hooks or conv._backward_pre_hooks)
    ):
        padding = (conv.padding[0], conv.padding[1])
        relu = _is_relu(act)
        made = _fused(conv.weight, norm, x, relu, conv.stride[0], padding, conv.groups, minuend)
        if made is not None:
            return made if relu else _activated(act, made)
    y = conv(x.value() if isinstance(x, Pending) else x)
    y = norm(y if minuend is None else minuend - y)
    return _activated(act, y)


def _is_relu(act: Act) -> bool:
    """Whether it is a ReLU that nothing watches."""
    if isinstance(act, bool):
        return act
    hooked = act._forward_hooks or act._forward_pre_hooks or act._backward_hooks or act._backward_pre_hooks
    return type(act) is nn.ReLU and not hooked


@overload
def _activated(act: Act, y: Tensor) -> Tensor: ...
@overload
def _activated(act: Act, y: Tensor | Pending) -> Tensor | Pending: ...
def _activated(act: Act, y: Tensor | Pending) -> Tensor | Pending:
    if act is False:
        return y
    return F.relu(value_of(y)) if act is True else act(value_of(y))


def value_of(x: Tensor | Pending) -> Tensor:
    """What `conv_norm_later` returned, as a tensor."""
    return x.value() if isinstance(x, Pending) else x


def pointwise_norm(weight: Tensor, groups: int, norm: nn.Module, x: Tensor, add: Tensor | None = None) -> Tensor:
    """norm(pointwise(x, weight, groups)) + add, with weights (out, in / groups)."""
    if isinstance(norm, nn.BatchNorm2d) and x.dim() == 4:
        made = _fused(weight[:, :, None, None], norm, x, False, 1, (0, 0), groups)
        if made is not None:
            return _ended(made, add, None, False)
    y = norm(pointwise(x, weight, groups))
    return y if add is None else add + y


def _ended(made: Pending, add: Tensor | None, after: Tensor | None, act: bool) -> Tensor:
    y, scale, shift, _ = made
    if add is None and after is not None and _beside(after, y.shape, y):
        return fused.affine_act(y, scale, shift, after, fused.End.BEFORE_ADD if act else fused.End.NONE)
    if add is not None and not _beside(add, y.shape, y):
        out = add + fused.affine_act(y, scale, shift)
        out = F.relu(out) if act else out
    else:
        out = fused.affine_act(y, scale, shift, add, fused.End.LAST if act else fused.End.NONE)
    return out if after is None else after + out


def _fused(
    weight: Tensor,
    norm: nn.BatchNorm2d,
    x: Tensor | Pending,
    act: bool,
    stride: int,
    padding: tuple[int, int],
    groups: int,
    minuend: Tensor | None = None,
) -> Pending | None:
    """The fused computation where it is exactly right and faster; else None."""
    before = x if isinstance(x, Pending) else None
    maps = x.y if isinstance(x, Pending) else x
    gamma, beta = norm.weight, norm.bias
    if not (norm.training and type(norm) is nn.BatchNorm2d and gamma is not None and beta is not None):
        return None
    if norm._forward_hooks or norm._forward_pre_hooks or norm._backward_hooks or norm._backward_pre_hooks:
        return None
    if maps.dim() != 4 or weight.dim() != 4 or _has_any_global_hook():
        return None
    if on_gpu.is_there(maps):
        lowered = _on_gpu(maps, weight, gamma, beta, stride, padding, groups)
        if lowered is None:
            return None
        maps = lowered
    elif not (fused.available() and _worth(maps, weight, gamma, beta, stride, padding, groups)):
        return None
    if minuend is not None:
        if not _beside(minuend, fused.shape_of(maps, weight, stride, padding, groups).outputs, maps):
            return None
        weight = -weight  # minuend - A u = minuend + (-A) u
    scale, shift, relu = (before.scale, before.shift, before.act) if before else (None, None, False)
    track = _followed(norm, maps)
    made = fused.norm_conv(
        maps, weight.contiguous(), gamma, beta, norm.eps, scale, shift, relu, stride, padding, groups, minuend, track
    )
    if track is None:
        _track(norm, made)
    elif norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
    return Pending(made.y, made.scale, made.shift, act)


def _on_gpu(
    x: Tensor, weight: Tensor, gamma: Tensor, beta: Tensor, stride: int, padding: tuple[int, int], groups: int
) -> Tensor | None:
    """The maps in the type that the Triton kernels compute in; None where torch, or a compiler, does it."""
    if torch.compiler.is_compiling():
        return None
    shape = shape_of(x.shape, weight.shape, (stride, stride), padding, groups)
    if shape is None or shape.outputs[0] * shape.outputs[2] * shape.outputs[3] < 2 or not on_gpu.suits(shape):
        return None
    dtype = on_gpu.type_of(x, weight, gamma, beta)
    return None if dtype is None else x.to(dtype)


def _worth(
    x: Tensor, weight: Tensor, gamma: Tensor, beta: Tensor, stride: int, padding: tuple[int, int], groups: int
) -> bool:
    if torch.compiler.is_compiling():
        return (
            not torch.compiler.is_exporting()
            and x.device.type == weight.device.type == "cpu"
            and x.dtype == weight.dtype == gamma.dtype == beta.dtype == torch.float32
            and x.is_contiguous()
            and not torch.is_autocast_enabled("cpu")
            and _constant_small(weight.shape[1], weight.shape[0] // groups, weight.shape[2], weight.shape[3])
        )
    if not (is_plain(x, weight, gamma, beta) and x.is_contiguous()):
        return False
    shape = shape_of(x.shape, weight.shape, (stride, stride), padding, groups)
    if shape is None or shape.outputs[0] * shape.outputs[2] * shape.outputs[3] < 2:
        return False
    if not _small(weight.shape[1], weight.shape[0] // groups, (weight.shape[2], weight.shape[3]), *x.shape[2:]):
        return False
    if groups == 1 or not 1 < shape.group_size <= 16:
        return True
    return choice.choose(shape, threads=torch.get_num_threads(), gradients=True) == "native"


def _small(in_group: int, out_group: int, kernel: tuple[int, int], height: int = 0, width: int = 0) -> bool:
    """Whether what is saved in passes over feature maps outweighs what torch's own convolutions do better.

    The limits are measured ones (`benchmarks/cpu_training.py` shows what they lead to): the larger a map, the more of
    a step its passes are.
    """
    if choice.pin() is not None:
        return choice.pin() == "native"
    pixels = height * width
    most = 64 if pixels >= 1024 else 32 if pixels >= 256 or kernel == (1, 1) else 16
    return max(in_group, out_group) <= most


def _beside(x: Tensor, sizes: Sequence[int], y: Tensor) -> bool:
    """Whether the kernels may add this to something of these sizes, on the device and of the type of y."""
    if tuple(x.shape) != tuple(sizes):
        return False
    if on_gpu.is_there(y):
        return x.device == y.device and x.dtype == y.dtype and is_ordinary(x) and channels_last(x)
    if torch.compiler.is_compiling():
        return x.device.type == "cpu" and x.dtype == torch.float32
    return is_plain(x) and x.is_contiguous()


@constant
def _constant_small(in_group: int, out_group: int, kernel_h: int, kernel_w: int) -> bool:
    return _small(in_group, out_group, (kernel_h, kernel_w))


def _followed(norm: nn.BatchNorm2d, maps: Tensor) -> Track | None:
    """Running statistics that the kernel which makes statistics can update as well: one launch less for each."""
    mean, variance = norm.running_mean, norm.running_var
    if not norm.track_running_stats or mean is None or variance is None or norm.momentum is None:
        return None
    held = (mean, variance)
    if not on_gpu.is_there(maps) or torch.compiler.is_compiling() or not is_ordinary(*held):
        return None
    if any(t.dtype != torch.float32 or t.device != maps.device or not t.is_contiguous() for t in held):
        return None
    return Track(mean, variance, norm.momentum)


@torch.no_grad()
def _track(norm: nn.BatchNorm2d, made: fused.Normed) -> None:
    """Update running statistics as `nn.BatchNorm2d` does."""
    mean, variance = norm.running_mean, norm.running_var
    if not norm.track_running_stats or mean is None or variance is None:
        return
    count = made.y.shape[0] * made.y.shape[2] * made.y.shape[3]
    share: float | Tensor | None = norm.momentum
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
        share = 1 / norm.num_batches_tracked.float() if share is None else share
    share = 0.0 if share is None else share
    if not torch.compiler.is_compiling():  # as torch's own update, it does not disturb the backward of an earlier use
        mean, variance = mean.data, variance.data
    mean.lerp_(made.mean, share)
    variance.lerp_(made.variance * (count / (count - 1)), share)
