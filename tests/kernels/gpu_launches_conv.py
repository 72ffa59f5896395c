"""Convolutions to compile: every group size, kernel and pass, with the most that goes on before and after them."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from torchmg.kernels.gpu.conv import conv
from torchmg.kernels.gpu.edges import Affine, End, Gate, Reach
from torchmg.kernels.shape import Shape


def _empty(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
    found = torch.empty(shape, dtype=dtype, device="meta")
    return found.to(memory_format=torch.channels_last) if len(shape) == 4 else found


def call(size: int, kernel: int, stride: int, dtype: torch.dtype, which: str, out_size: int = 0) -> None:
    """One call on 32 images of 28x28 with 256 channels coming in."""
    groups = 256 // size
    out = groups * (out_size or size)
    shape = Shape(32, 256, out, groups, 28, 28, kernel, kernel, stride, kernel // 2, kernel // 2)
    # Master weights of the order of a new model; in inference they are of the activations' type.
    weight = torch.empty(shape.weights, device="meta", dtype=dtype if which == "inference" else torch.float32)
    x, y = _empty(shape.inputs, dtype), _empty(shape.outputs, dtype)
    ins, outs = _empty((256,)), _empty((out,))
    if which == "forward":
        conv(x, weight, shape, before=Affine(ins, ins, relu=True), after=End(add=y, sums=True))
    elif which == "inference":
        conv(x, weight, shape, after=End(bias=outs, add=y, relu=True))
    else:
        after = Gate(x, ins, ins, relu=True)
        conv(y, weight, shape, transposed=True, before=Reach(y, outs, outs), after=after)


CALLS: Sequence[tuple[str, Callable[[], object]]] = [
    (
        f"{kernel}x{kernel}/{stride} of groups of {size}, {which}, {dtype}",
        partial(call, size, kernel, stride, dtype, which),
    )
    for dtype in (torch.bfloat16, torch.float32)
    for kernel, stride in ((3, 1), (1, 1), (3, 2))
    for size in (4, 16, 32, 64)
    for which in ("forward", "backward", "inference")
    if which != "inference" or (dtype == torch.bfloat16 and size == 64)
] + [
    ("transfers down", partial(call, 64, 1, 1, torch.bfloat16, "forward", 32)),
    ("transfers up", partial(call, 32, 1, 1, torch.bfloat16, "backward", 64)),
    ("5x5", partial(call, 64, 5, 1, torch.float16, "forward")),
]
