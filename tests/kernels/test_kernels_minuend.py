"""Fused training with what is added before the normalisation and after the activation, against float64."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.kernels.oracle import near
from torchmg.kernels import fused
from torchmg.kernels.choice import pinned
from torchmg.kernels.shape import Shape
from torchmg.nn.conv_norm import Pending, conv_norm, conv_norm_later
from torchmg.nn.conv_norm_act import ConvNormAct
from torchmg.nn.mgnet import DataFeature

pytestmark = [
    pytest.mark.skipif(not fused.available(), reason="needs the native library"),
    pytest.mark.usefixtures("every_isa"),
]
many = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@many
@given(
    images=st.sampled_from([2, 5, 9]),
    groups=st.sampled_from([1, 2, 8]),
    size=st.integers(1, 20),
    kernel=st.sampled_from([1, 3]),
    stride=st.integers(1, 2),
    prologue=st.booleans(),
    trained=st.booleans(),
    seed=st.integers(0, 2**20),
)
def test_addend_is_the_plain_formula(
    images: int, groups: int, size: int, kernel: int, stride: int, prologue: bool, trained: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    shape = Shape(images, 4 * groups, 3 * groups, groups, size, size + 3, kernel, kernel, stride, 1, 1)
    parts = [torch.randn(shape.inputs), torch.randn(shape.weights), *(torch.randn(2, shape.out_channels) + 1)]
    parts += [torch.randn(shape.in_channels) for _ in range(2 if prologue else 0)]
    addend = torch.randn(shape.outputs)
    single = [t.detach().requires_grad_() for t in parts]
    double = [t.detach().double().requires_grad_() for t in parts]
    add, exact_add = addend.clone().requires_grad_(trained), addend.double().requires_grad_(trained)
    scale, shift = single[4:] or (None, None)
    exact_scale, exact_shift = double[4:] or (None, None)
    x, w, gamma, beta = single[:4]
    found = fused.norm_conv(x, w, gamma, beta, 0.1, scale, shift, prologue, stride, (1, 1), groups, add)
    x, w, gamma, beta = double[:4]
    inputs = fused.Inputs(x, w, gamma, beta, exact_scale, exact_shift, exact_add)
    wanted = fused.plain_norm_conv(inputs, fused.How(0.1, prologue, shape))
    for one, other in zip(found[:3], wanted, strict=True):
        near(one, other)
    grads = [torch.randn_like(t) for t in found[:3]]
    gradients = torch.autograd.grad(found[:3], [*single, *([add] if trained else [])], grads)
    exact = torch.autograd.grad(wanted, [*double, *([exact_add] if trained else [])], [g.double() for g in grads])
    for one, other in zip(gradients, exact, strict=True):
        near(one, other, 2e-4)


@pytest.mark.parametrize("pixels", [(1, 1), (5, 7), (8, 8)])
def test_end_that_adds_after_its_relu(pixels: tuple[int, int]) -> None:
    torch.manual_seed(0)
    parts = [torch.randn(3, 6, *pixels), torch.randn(6), torch.randn(6), torch.randn(3, 6, *pixels)]
    single = [t.detach().requires_grad_() for t in parts]
    double = [t.detach().double().requires_grad_() for t in parts]
    y, scale, shift, add = double
    wanted = add + (y * scale[:, None, None] + shift[:, None, None]).relu()
    out = fused.affine_act(*single, relu=fused.End.BEFORE_ADD)
    near(out, wanted)
    g = torch.randn_like(out)
    exact = torch.autograd.grad(wanted, double, g.double())
    for one, other in zip(torch.autograd.grad(out, single, g), exact, strict=True):
        near(one, other)


@pytest.mark.parametrize("share", ["level", "A", "none"])
def test_relation_is_the_modules_in_float64(share: Any) -> None:
    """Values, gradients of all parameters, of u and of f, and running statistics, over two training passes."""
    torch.manual_seed(0)
    relation = DataFeature(16, 4, share=share)
    for norm in relation.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)
    inputs = torch.randn(2, 3, 16, 9, 6)
    found: list[list[Tensor | None]] = []
    for dtype in (torch.float32, torch.float64):
        other = deepcopy(relation).to(dtype)
        u, f = (t.to(dtype).requires_grad_() for t in inputs)
        with pinned("native"):
            first = conv_norm_later(other.data_maps[0], deepcopy(other.data_norms[0]), u, act=True, minuend=f)
            assert isinstance(first, Pending) == (dtype == torch.float32)
            other(u, f).square().sum().backward()
            out = other(u, f)
            out.square().sum().backward()
        found.append([out, u.grad, f.grad, *(p.grad for p in other.parameters()), *other.buffers()])
    for one, two in zip(*found, strict=True):
        near(one, two, 1e-3)


def test_second_derivatives_reach_the_minuend() -> None:
    torch.manual_seed(0)
    relation = DataFeature(8, 2, steps=1)
    found = []
    for dtype in (torch.float32, torch.float64):
        torch.manual_seed(1)
        other = deepcopy(relation).to(dtype)
        u, f = (t.to(dtype).requires_grad_() for t in torch.randn(2, 2, 8, 5, 5))
        with pinned("native"):
            (gf,) = torch.autograd.grad(other(u, f).pow(3).sum(), f, create_graph=True)
            found.append(torch.autograd.grad(gf.square().sum(), [u, f, *other.data_maps.parameters()]))
    for one, two in zip(*found, strict=True):
        near(one, two, 1e-3)


def test_addends_of_other_layouts_and_shapes_are_taken() -> None:
    torch.manual_seed(0)
    module = ConvNormAct(16, 16, groups=4)
    conv, norm = module.conv, module.norm
    x = torch.randn(2, 16, 6, 6)
    for extra in (torch.randn(2, 16, 6, 6).to(memory_format=torch.channels_last), torch.randn(1, 16, 1, 1)):
        with pinned("native"):
            found = [conv_norm(conv, norm, x, act=True, **{how: extra}) for how in ("add", "after")]
            r = conv_norm(conv, norm, x, act=False)
            m = conv_norm_later(conv, norm, x, act=False, minuend=extra)
        for one, two in zip(found, [(r + extra).relu(), r.relu() + extra], strict=True):
            near(one, two)
        near(m.value() if isinstance(m, Pending) else m, norm(extra - conv(x)))


@pytest.mark.parametrize("act", [nn.ReLU, nn.Hardswish, None])
def test_stems_and_connectors_are_their_modules(act: type[nn.Module] | None) -> None:
    found = []
    for lowering in ("native", "aten"):
        torch.manual_seed(0)
        module = ConvNormAct(16, 32, groups=4, stride=2, act=act)
        assert list(module.state_dict())[:2] == ["conv.weight", "norm.weight"]
        x = torch.randn(3, 16, 7, 6).requires_grad_()
        with pinned(lowering):
            out = module(x)
            (out * torch.linspace(-1, 1, out.numel()).sin().view_as(out)).sum().backward()
        found.append([out, x.grad, *(p.grad for p in module.parameters()), *module.buffers()])
    for one, two in zip(*found, strict=True):
        near(one, two)


def test_activations_that_someone_watches_are_called() -> None:
    module = ConvNormAct(16, 16, groups=4)
    calls: list[int] = []
    handle = module.act.register_forward_hook(lambda *_: calls.append(1))
    with pinned("native"):
        module(torch.randn(2, 16, 5, 5))
        assert calls == [1]
        handle.remove()
        module(torch.randn(2, 16, 5, 5))
    assert calls == [1]
