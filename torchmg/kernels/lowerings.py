"""The ways to compute a grouped 2-D convolution and its two gradients: `aten`, `matmul` and `native`.

All take and return contiguous or any other tensors of one device; `native` is for float32 on the CPU, makes its inputs
contiguous, and gives contiguous outputs. Weights may be (out, in / groups) where the kernel is 1x1.
"""

import ctypes
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from torchmg.kernels import native
from torchmg.kernels.shape import ConvShape, Lowering, Shape

FORWARD = ("tmg_conv_forward",)
GRADIENTS = ("tmg_conv_data_gradient", "tmg_conv_weight_gradient")


def serves(lowering: Lowering, shape: Shape, *, gradients: bool) -> bool:
    """Whether a lowering can compute this on the CPU in float32; `gradients` asks for both gradients too."""
    if lowering == "matmul":
        return shape.pointwise
    if lowering == "native":
        return native.has(*FORWARD, *(GRADIENTS if gradients else ()))
    return True


def forward(lowering: Lowering, shape: Shape, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The convolution of `x` (`shape.inputs`) by `weight` (`shape.weights`): `shape.outputs`."""
    if lowering == "native":
        return _native_forward(shape, x.contiguous(), weight.contiguous(), bias)
    if lowering == "matmul":
        y = torch.matmul(_blocks(shape, weight), _pixels(shape, x)).view(shape.outputs)
        return y if bias is None else y + bias[:, None, None]
    return F.conv2d(x, weight.view(shape.weights), bias, shape.stride, (shape.pad_h, shape.pad_w), groups=shape.groups)


def data_gradient(lowering: Lowering, shape: Shape, grad: Tensor, weight: Tensor) -> Tensor:
    """The gradient for the input, from that for the output."""
    if lowering == "native":
        return _native_data_gradient(shape, grad.contiguous(), weight.contiguous())
    if lowering == "matmul":
        return torch.matmul(_blocks(shape, weight).transpose(1, 2), _pixels(shape, grad)).view(shape.inputs)
    like = grad.new_empty(1).expand(shape.inputs)
    return gradients(shape, grad, like, weight.view(shape.weights), (True, False))[0]


def weight_gradient(lowering: Lowering, shape: Shape, x: Tensor, grad: Tensor) -> Tensor:
    """The gradient for the weight, as `shape.weights`."""
    if lowering == "native":
        return _native_weight_gradient(shape, x.contiguous(), grad.contiguous())
    if lowering == "matmul":
        products = torch.matmul(_pixels(shape, grad), _pixels(shape, x).transpose(2, 3))
        return products.sum(0).view(shape.weights)
    like = grad.new_empty(1).expand(shape.weights)
    return gradients(shape, grad, x, like, (False, True))[1]


def gradients(shape: Shape, grad: Tensor, x: Tensor, weight: Tensor, wanted: tuple[bool, bool]) -> tuple[Tensor, ...]:
    """Both gradients by torch, as far as wanted; differentiable again, and open to transforms and modes."""
    stride, padding = (shape.stride,) * 2, (shape.pad_h, shape.pad_w)
    return torch.ops.aten.convolution_backward(
        grad, x, weight, None, stride, padding, (1, 1), False, (0, 0), shape.groups, (*wanted, False)
    )


def _blocks(shape: Shape, weight: Tensor) -> Tensor:
    return weight.reshape(shape.groups, shape.out_channels // shape.groups, -1)


def _pixels(shape: Shape, x: Tensor) -> Tensor:
    """(images, groups, channels of a group, pixels)."""
    return x.reshape(shape.images, shape.groups, -1, x.shape[2] * x.shape[3])


# The native library. Its functions return 0, or something else for what they do not take: then torch computes it.


def _native_forward(shape: Shape, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    y = x.new_empty(shape.outputs)
    place = None if bias is None else bias.contiguous()
    if not _called("tmg_conv_forward", shape, x, weight, place, y):
        return forward("aten", shape, x, weight, bias).contiguous()
    return y


def _native_data_gradient(shape: Shape, grad: Tensor, weight: Tensor) -> Tensor:
    gx = grad.new_empty(shape.inputs)
    return gx if _called(GRADIENTS[0], shape, grad, weight, gx) else data_gradient("aten", shape, grad, weight)


def _native_weight_gradient(shape: Shape, x: Tensor, grad: Tensor) -> Tensor:
    gw = grad.new_empty(shape.weights)
    return gw if _called(GRADIENTS[1], shape, x, grad, gw) else weight_gradient("aten", shape, x, grad)


_structures: dict[Shape, tuple[ConvShape, int]] = {}
_functions: dict[str, Callable[..., int] | None] = {}


def _called(name: str, shape: Shape, *tensors: Tensor | None) -> bool:
    """Call a C function: the shape, the addresses of its tensors, the number of threads."""
    if (structure := _structures.get(shape)) is None:
        if len(_structures) > 10_000:  # images of ever new sizes
            _structures.clear()
        made = ConvShape(*shape)
        structure = _structures[shape] = made, ctypes.addressof(made)
    addresses = [None if tensor is None else tensor.data_ptr() for tensor in tensors]
    function = _function(name, len(addresses))
    return function is not None and function(structure[1], *addresses, torch.get_num_threads()) == 0


def _function(name: str, tensors: int) -> Callable[..., int] | None:
    if name not in _functions:
        library = native.loaded()
        function = None if library is None else getattr(library, name, None)
        if function is not None:
            function.argtypes = [ctypes.c_void_p] * (1 + tensors) + [ctypes.c_int32]
            function.restype = ctypes.c_int32
        _functions[name] = function
    return _functions[name]
