"""Random convolutions by the Triton kernels against float64: forward, both gradients, and training's fused pair."""

import os

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from interpreted import device, guarded, poisoned
from torch import Tensor
from torch.nn import functional as F

from torchmg.kernels import fused
from torchmg.kernels.choice import pinned
from torchmg.kernels.gpu.conv import conv
from torchmg.kernels.gpu.weights import weight_gradient
from torchmg.kernels.shape import Shape

EXAMPLES = 10 if os.environ.get("TRITON_INTERPRET") == "1" else 100
random = settings(max_examples=EXAMPLES, deadline=None, database=None)


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    """Any group size up to 64 on either side, few groups, odd sizes, kernels and strides of all kinds."""
    most = 16 if EXAMPLES == 10 else 64
    sizes = st.sampled_from([size for size in (1, 2, 3, 4, 8, 12, 16, 24, 32, 64) if size <= most])
    into, out = draw(sizes), draw(sizes)
    out = 2 if into == out == 1 else out  # depthwise convolutions are not theirs
    groups, kernel, stride = draw(st.integers(1, 5)), draw(st.sampled_from([1, 3, 5])), draw(st.integers(1, 2))
    height, width = draw(st.integers(kernel, 9)), draw(st.integers(kernel, 11))
    pad = draw(st.integers(0, kernel // 2))
    images = draw(st.integers(1, 3))
    return Shape(images, groups * into, groups * out, groups, height, width, kernel, kernel, stride, pad, pad)


def near(found: Tensor | None, wanted: Tensor, tolerance: float = 2e-3) -> None:
    assert found is not None
    assert float((found.double().cpu() - wanted).abs().max()) <= tolerance * max(1.0, float(wanted.abs().max()))


def exact(x: Tensor, weight: Tensor, shape: Shape) -> Tensor:
    pad = (shape.pad_h, shape.pad_w)
    return F.conv2d(x, weight, None, shape.stride, pad, groups=shape.groups)


@random
@given(shapes(), st.integers(0, 2**20))
def case_a_convolution_and_its_gradients(shape: Shape, seed: int) -> None:
    torch.manual_seed(seed)
    x, weight = torch.randn(shape.inputs, dtype=torch.float64), torch.randn(shape.weights, dtype=torch.float64)
    x.requires_grad_()
    weight.requires_grad_()
    y = exact(x, weight, shape)
    grad = torch.randn_like(y)
    gx, gw = torch.autograd.grad(y, (x, weight), grad)
    ours, kernel, back = (guarded(t.detach().float()) for t in (x, weight, grad))
    kernel = kernel.contiguous()
    with poisoned():
        near(conv(ours, kernel, shape)[0], y.detach())
        near(conv(back, kernel, shape, transposed=True)[0], gx)
        near(weight_gradient(ours, back, shape), gw)


@random
@given(shapes(), st.booleans(), st.booleans(), st.integers(0, 2**20))
def case_training_with_what_comes_before(shape: Shape, affine: bool, relu: bool, seed: int) -> None:
    torch.manual_seed(seed)
    images, _, height, width = shape.outputs
    if images * height * width < 4:  # a variance of so few numbers magnifies their rounding
        return
    vectors = [torch.rand(n, dtype=torch.float64) + 0.5 for n in (shape.out_channels,) * 2 + (shape.in_channels,) * 2]
    maps = [torch.randn(size, dtype=torch.float64) for size in (shape.inputs, shape.weights)]
    wanted = [t.requires_grad_() for t in (*maps, *vectors)][: 6 if affine else 4]
    how = fused.How(0.1, relu and affine, shape)
    y, scale, shift = fused.plain_norm_conv(fused.Inputs(*wanted), how)
    gradient = torch.randn_like(y)
    exact_grads = torch.autograd.grad((y * scale[:, None, None] + shift[:, None, None]), wanted, gradient)
    found = [guarded(t.detach().float()).contiguous() if t.dim() == 1 else guarded(t.detach().float()) for t in wanted]
    found[1] = found[1].contiguous()
    leaves = [t.detach().requires_grad_() for t in found]
    with pinned("triton"), poisoned():
        made = fused.Normed(*fused._NormConv.apply(*fused.Inputs(*leaves), how))  # pyright: ignore
        out = fused.affine_act(made.y, made.scale, made.shift)
        grads = torch.autograd.grad(out, leaves, gradient.float().to(device()))
    near(made.y, y.detach())
    for one, two in zip(grads, exact_grads, strict=True):
        near(one, two, 1e-2)
