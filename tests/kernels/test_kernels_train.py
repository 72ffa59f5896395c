"""Training kernels against float64 for shapes of all kinds, and fused training against the modules it stands for."""

import ctypes
import subprocess
import sys
from copy import deepcopy
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from tests.kernels.oracle import near
from torchmg.kernels import fused, native
from torchmg.kernels.choice import pinned
from torchmg.kernels.shape import ConvShape, Shape
from torchmg.nn.conv import GroupedConv2d
from torchmg.nn.conv_norm import Pending, conv_norm, conv_norm_later
from torchmg.nn.mgic import MGICBlock

pytestmark = [
    pytest.mark.skipif(not fused.available(), reason="needs the native library"),
    pytest.mark.usefixtures("every_isa"),
]
many = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    groups = draw(st.sampled_from([1, 2, 3, 8]))
    widths = st.sampled_from([1, 2, 3, 4, 5, 8, 16, 20, 32] if groups < 8 else [1, 2, 4, 8])
    kernel = draw(st.sampled_from([1, 3, 5]))
    kernel_w = draw(st.sampled_from([kernel, kernel, 2]))
    pad_h, pad_w = draw(st.integers(0, kernel)), draw(st.integers(0, kernel))
    height = max(1, kernel - 2 * pad_h) + draw(st.integers(0, 12))
    width = max(1, kernel_w - 2 * pad_w) + draw(st.integers(0, 18))
    images, stride = draw(st.sampled_from([1, 2, 5, 9])), draw(st.sampled_from([1, 1, 2, 3]))
    channels = groups * draw(widths), groups * draw(widths)
    return Shape(images, *channels, groups, height, width, kernel, kernel_w, stride, pad_h, pad_w)


@st.composite
def small_shapes(draw: st.DrawFn) -> Shape:
    """Maps that vectors of images serve, in packs that are full, nearly full, or several."""
    groups = draw(st.sampled_from([1, 3, 8, 11]))
    kernel = draw(st.sampled_from([1, 3, 5]))
    pad_h, pad_w = draw(st.integers(0, kernel // 2 + 1)), draw(st.integers(0, kernel // 2 + 1))
    height = max(1, kernel - 2 * pad_h) + draw(st.integers(0, 5))
    width = max(1, kernel - 2 * pad_w) + draw(st.integers(0, 8))
    images, stride = draw(st.integers(1, 40)), draw(st.sampled_from([1, 1, 2, 3]))
    sizes = st.sampled_from([1, 2, 3, 4, 7, 8, 13] if groups < 8 else [1, 2, 4, 5])
    channels = groups * draw(sizes), groups * draw(sizes)
    return Shape(images, *channels, groups, height, width, kernel, kernel, stride, pad_h, pad_w)


def poisoned(*sizes: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.full(sizes, float("nan"), dtype=dtype)


def call(name: str, shape: Shape, *arguments: Any, threads: int = 1) -> int:
    passed = [ctypes.c_void_p(a.data_ptr()) if isinstance(a, Tensor) else a for a in arguments]
    return getattr(native.loaded(), name)(ctypes.byref(ConvShape(*shape)), *passed, threads)


@many
@given(shapes() | small_shapes(), st.integers(0, 2**20))
def test_convolutions_and_gradients(shape: Shape, seed: int) -> None:
    torch.manual_seed(seed)
    x, w, b = torch.randn(shape.inputs), torch.randn(shape.weights), torch.randn(shape.out_channels)
    exact_x, exact_w = x.double().requires_grad_(), w.double().requires_grad_()
    wanted = F.conv2d(exact_x, exact_w, b.double(), shape.stride, (shape.pad_h, shape.pad_w), groups=shape.groups)
    gy = torch.randn(shape.outputs)
    wanted.backward(gy.double())
    y, gx, gw = poisoned(*shape.outputs), poisoned(*shape.inputs), poisoned(*shape.weights)
    assert call("tmg_conv_forward", shape, x, w, b, y) == 0
    assert call("tmg_conv_data_gradient", shape, gy, w, gx) == 0
    assert call("tmg_conv_weight_gradient", shape, x, gy, gw) == 0
    near(y, wanted)
    near(gx, exact_x.grad)
    near(gw, exact_w.grad)


@many
@given(shapes() | small_shapes(), st.integers(0, 2**20), st.booleans(), st.booleans())
def test_fused_operator_is_the_plain_formula(shape: Shape, seed: int, prologue: bool, relu: bool) -> None:
    torch.manual_seed(seed)
    if shape.outputs[0] * shape.outputs[2] * shape.outputs[3] < 4:
        return  # statistics of next to nothing are ill-conditioned
    parts = [torch.randn(shape.inputs), torch.randn(shape.weights), *(torch.randn(2, shape.out_channels) + 1)]
    parts += [torch.randn(shape.in_channels) for _ in range(2 if prologue else 0)]
    single = [t.detach().requires_grad_() for t in parts]
    double = [t.detach().double().requires_grad_() for t in parts]
    scale, shift = single[4:] or (None, None)
    exact_scale, exact_shift = double[4:] or (None, None)
    x, w, gamma, beta = single[:4]
    acts = relu and prologue
    padding = (shape.pad_h, shape.pad_w)
    found = fused.norm_conv(x, w, gamma, beta, 0.1, scale, shift, acts, shape.stride, padding, shape.groups)
    a, b, c, d = double[:4]
    wanted = fused.plain_norm_conv(fused.Inputs(a, b, c, d, exact_scale, exact_shift), fused.How(0.1, acts, shape))
    near(found.mean, wanted[0].mean((0, 2, 3)))
    near(found.variance, wanted[0].var((0, 2, 3), correction=0))
    for one, other in zip(found[:3], wanted, strict=True):
        near(one, other)
    grads = [torch.randn_like(t) for t in found[:3]]
    gradients = torch.autograd.grad(found[:3], single, grads)
    exact = torch.autograd.grad(wanted, double, [g.double() for g in grads])
    for one, other in zip(gradients, exact, strict=True):
        near(one, other, 1e-4)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("adds", [False, True])
def test_affine_end(relu: bool, adds: bool) -> None:
    torch.manual_seed(0)
    for pixels in [(1, 1), (5, 7), (8, 9)]:
        parts = [torch.randn(3, 6, *pixels), torch.randn(6), torch.randn(6), torch.randn(3, 6, *pixels)]
        single = [t.detach().requires_grad_() for t in parts[: 3 + adds]]
        double = [t.detach().double().requires_grad_() for t in parts[: 3 + adds]]
        out = fused.affine_act(*single, relu=relu)
        wanted = double[0] * double[1][:, None, None] + double[2][:, None, None]
        wanted = wanted + double[3] if adds else wanted
        wanted = wanted.relu() if relu else wanted
        near(out, wanted)
        g = torch.randn_like(out)
        exact = torch.autograd.grad(wanted, double, g.double())
        for one, other in zip(torch.autograd.grad(out, single, g), exact, strict=True):
            near(one, other)


def test_second_derivatives() -> None:
    torch.manual_seed(0)
    x, w = torch.randn(2, 4, 5, 5, requires_grad=True), torch.randn(4, 2, 3, 3, requires_grad=True)
    gamma, beta = torch.ones(4, requires_grad=True), torch.zeros(4, requires_grad=True)
    shape = Shape(2, 4, 4, 2, 5, 5, 3, 3, 1, 1, 1)

    def penalty(plain: bool) -> Tensor:
        if plain:
            y, scale, shift = fused.plain_norm_conv(fused.Inputs(x, w, gamma, beta), fused.How(1e-3, False, shape))
            out = (y * scale[:, None, None] + shift[:, None, None]).relu()
        else:
            y, scale, shift, *_ = fused.norm_conv(x, w, gamma, beta, 1e-3, padding=(1, 1), groups=2)
            out = fused.affine_act(y, scale, shift, None, True)
        (gx,) = torch.autograd.grad(out.pow(3).sum(), x, create_graph=True)
        return torch.autograd.grad(gx.square().sum(), w)[0]

    near(penalty(False), penalty(True), 1e-4)


def test_threads_change_no_bit() -> None:
    torch.manual_seed(0)
    for shape in [
        Shape(9, 24, 24, 3, 9, 11, 3, 3, 1, 1, 1),
        Shape(8, 64, 64, 16, 7, 7, 3, 3, 2, 1, 1),
        Shape(50, 24, 24, 3, 4, 5, 3, 3, 1, 1, 1),
        Shape(33, 64, 64, 16, 3, 3, 3, 3, 1, 1, 1),
    ]:
        x, w, gy = torch.randn(shape.inputs), torch.randn(shape.weights), torch.randn(shape.outputs)
        scale, shift = torch.randn(2, shape.in_channels).unbind()
        constant, slope = torch.randn(2, shape.out_channels).unbind()
        results = []
        for threads in (1, 2, 3):
            y, gx, gw = poisoned(*shape.outputs), poisoned(*shape.inputs), poisoned(*shape.weights)
            sums = poisoned(2, shape.out_channels, dtype=torch.float64)
            affine = poisoned(2, shape.in_channels, dtype=torch.float64)
            forward = (x, scale, shift, 1, w, None, None, y, sums)
            backward = (x, scale, shift, 1, w, y, gy, constant, slope, gx, gw, affine, None)
            assert call("tmg_norm_conv_forward", shape, *forward, threads=threads) == 0
            assert call("tmg_norm_conv_backward", shape, *backward, threads=threads) == 0
            results.append((y, sums, gx, gw, affine))
        for later in results[1:]:
            assert all(torch.equal(a, b) for a, b in zip(results[0], later, strict=True))


def test_malformed_calls_are_refused() -> None:
    x = torch.zeros(64)
    for shape in [Shape(1, 3, 4, 2, 2, 2, 1, 1, 1, 0, 0), Shape(1, 4, 4, 2, 2, 2, 5, 5, 1, 0, 0)]:
        assert call("tmg_conv_forward", shape, x, x, None, x) == -1


FORK = """
import ctypes, os, sys
library = ctypes.CDLL(sys.argv[1])
shape = (ctypes.c_int32 * 11)(4, 8, 8, 8, 4, 4, 1, 1, 1, 0, 0)
x, w, y = ((ctypes.c_float * n)(*[1] * n) for n in (512, 8, 512))
def run():
    ctypes.memset(y, 0, 2048)
    assert library.tmg_conv_forward(shape, x, w, None, y, 3) == 0 and list(y) == [1] * 512
run()
child = os.fork()
run()
if child == 0:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""


def test_threads_after_a_fork() -> None:
    library = native.loaded()
    assert library is not None
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORK, library._name], check=True, timeout=60)


def _pair(momentum: float | None = 0.1) -> nn.ModuleList:
    torch.manual_seed(1)
    parts: list[nn.Module] = []
    for _ in range(2):
        norm = nn.BatchNorm2d(16, momentum=momentum)
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
        parts += [GroupedConv2d(16, 16, 3, groups=4), norm]
    return nn.ModuleList(parts)


@pytest.mark.parametrize("momentum", [0.1, None])
def test_conv_norm_is_the_modules(momentum: float | None) -> None:
    found: list[list[Tensor | None]] = []
    for lowering in ("native", "aten"):
        m = _pair(momentum)
        x = torch.randn(3, 16, 7, 6, generator=torch.Generator().manual_seed(2)).requires_grad_()
        with pinned(lowering):
            for _ in range(2):
                y = conv_norm_later(m[0], m[1], x, act=True)
                assert isinstance(y, Pending) == (lowering == "native")
                out = conv_norm(m[2], m[3], y, act=True, add=x)
                out.square().sum().backward()
                found.append([out, x.grad, *(p.grad for p in m.parameters()), *m.buffers()])
    for one, other in zip(found[0] + found[1], found[2] + found[3], strict=True):
        near(one, other, 1e-4)


def test_whoever_watches_gets_the_modules() -> None:
    images = torch.randn(2, 16, 5, 5)
    m = _pair()

    def is_fused(x: Tensor = images) -> bool:
        with pinned("native"):
            return isinstance(conv_norm_later(m[0], m[1], x, act=True), Pending)

    assert is_fused()
    for handle in [m[0].register_forward_hook(lambda *_: None), m[1].register_forward_pre_hook(lambda *_: None)]:
        assert not is_fused()
        handle.remove()
    m.double()
    assert not is_fused(images.double())
    m.float().eval()
    assert not is_fused()
    m.train()
    assert not is_fused(images.to(memory_format=torch.channels_last))
    with torch.autocast("cpu", torch.bfloat16):
        assert not is_fused()
    assert is_fused()
    nn.utils.parametrizations.weight_norm(m[0])
    assert not is_fused()


@pytest.mark.parametrize("relax", ["residual", "bottleneck"])
def test_block_trains_alike(relax: Any) -> None:
    torch.manual_seed(0)
    block = MGICBlock(32, relax=relax, group_size=4, coarsest=8)
    x = torch.randn(4, 32, 6, 6)
    found = []
    for lowering in ("native", "aten"):
        other = deepcopy(block)
        with pinned(lowering):
            out = other(x)
            out.square().mean().backward()
        found.append([out, *(p.grad for p in other.parameters()), *other.buffers()])
    for one, two in zip(*found, strict=True):
        near(one, two, 2e-3)
