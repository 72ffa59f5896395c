"""Every lowering of the grouped convolution against float64, its gradients, and how it behaves under torch's tools."""

import copy
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, library, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from torchmg.kernels.choice import pinned
from torchmg.kernels.lowerings import serves
from torchmg.kernels.op import fast_pointwise, grouped_conv
from torchmg.kernels.shape import LOWERINGS, Lowering, Shape
from torchmg.nn.conv import GroupedConv2d, pointwise

# torch itself warns, of how it differentiates forwards and of what its own checks look at
JIT = pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")
LEAF = pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")
EVERY = pytest.mark.parametrize("lowering", LOWERINGS)


@pytest.fixture(autouse=True)
def _poisoned() -> Iterator[None]:
    """What is not written is NaN: torch fills new memory with it in this mode."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@st.composite
def shapes(draw: st.DrawFn, *, pointwise: bool = False) -> Shape:
    kernel = 1 if pointwise else draw(st.sampled_from([1, 3, 5]))
    groups, sizes = draw(st.integers(2, 5)), st.integers(1, 18)
    pads = st.integers(0, 0 if pointwise else kernel // 2)
    shape = Shape(
        images=draw(st.integers(1, 3)),
        in_channels=groups * draw(sizes),
        out_channels=groups * draw(sizes),
        groups=groups,
        height=draw(st.integers(1, 20)),
        width=draw(st.integers(1, 20)),
        kernel_h=kernel,
        kernel_w=kernel,
        stride=1 if pointwise else draw(st.integers(1, 3)),
        pad_h=draw(pads),
        pad_w=draw(pads),
    )
    return shape if shape.regular else shape._replace(pad_h=kernel // 2, pad_w=kernel // 2)


LAYOUTS = st.sampled_from(["plain", "channels_last", "every other", "transposed", "expanded"])


def laid_out(x: Tensor, layout: str) -> Tensor:
    """The same numbers with other strides."""
    match layout:
        case "channels_last":
            return x.to(memory_format=torch.channels_last)
        case "every other":
            return torch.stack([x, torch.full_like(x, torch.nan)], -1)[..., 0]
        case "transposed":
            return x.transpose(2, 3).contiguous().transpose(2, 3)
        case "expanded":
            return x[:1].expand(x.shape)
    return x


def computed(shape: Shape, tensors: list[Tensor], upstream: Tensor) -> list[Tensor]:
    """Output and the three gradients."""
    x, weight, bias = leaves = [t.detach().requires_grad_() for t in tensors]
    y = grouped_conv(x, weight, bias, (shape.stride,) * 2, (shape.pad_h, shape.pad_w), shape.groups)
    return [y, *torch.autograd.grad(y, leaves, upstream)]


@EVERY
@given(shape=shapes(), layout=LAYOUTS, back=LAYOUTS, seed=st.integers(0, 99))
def test_each_lowering_and_its_gradients_agree_with_float64(
    lowering: Lowering, shape: Shape, layout: str, back: str, seed: int
) -> None:
    torch.manual_seed(seed)
    tensors = [
        laid_out(torch.randn(shape.inputs), layout),
        laid_out(torch.randn(shape.weights), "plain" if layout == "expanded" else layout),
        torch.randn(shape.out_channels),
    ]
    upstream = laid_out(torch.randn(shape.outputs), back)
    exact = computed(shape, [t.double() for t in tensors], upstream.double())
    bounds = computed(shape, [t.double().abs() for t in tensors], upstream.double().abs())  # of sums of products
    with pinned(lowering):
        found = computed(shape, tensors, upstream)
        again = computed(shape, tensors, upstream)
        with torch.no_grad():
            alone = grouped_conv(*tensors, (shape.stride,) * 2, (shape.pad_h, shape.pad_w), shape.groups)
    assert torch.equal(alone, found[0])
    for ours, theirs, bound, second in zip(found, exact, bounds, again, strict=True):
        assert ours.dtype == torch.float32
        assert bool(((ours - theirs).abs() <= 4e-6 * bound + 1e-30).all())
        assert torch.equal(ours, second)


@EVERY
@given(shape=shapes(pointwise=True), seed=st.integers(0, 99))
def test_pointwise_maps_agree_with_float64(lowering: Lowering, shape: Shape, seed: int) -> None:
    torch.manual_seed(seed)
    weight = torch.randn(shape.weights)[..., 0, 0]
    with pinned(lowering):
        x, w = torch.randn(shape.inputs).requires_grad_(), weight.clone().requires_grad_()
        y = pointwise(x, w, shape.groups)
        grads = torch.autograd.grad(y.square().sum(), (x, w))
    x64, w64 = x.detach().double().requires_grad_(), weight.double().requires_grad_()
    y64 = F.conv2d(x64, w64[..., None, None], groups=shape.groups)
    torch.testing.assert_close(y.double(), y64, rtol=1e-4, atol=1e-4)
    for ours, theirs in zip(grads, torch.autograd.grad(y64.square().sum(), (x64, w64)), strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-3, atol=1e-3)


@EVERY
def test_only_what_is_asked_for_is_computed(lowering: Lowering) -> None:
    x, weight = torch.randn(2, 8, 5, 5), torch.randn(8, 2, 3, 3)
    with pinned(lowering):
        for which in ([True, False], [False, True]):
            leaves = [t.clone().requires_grad_(grad) for t, grad in zip((x, weight), which, strict=True)]
            grouped_conv(*leaves, None, (1, 1), (1, 1), 4).sum().backward()
            assert [leaf.grad is not None for leaf in leaves] == which


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # torch 2.11 about itself
@JIT
@EVERY
def test_second_derivatives_and_transforms(lowering: Lowering) -> None:
    x, weight = torch.randn(2, 8, 5, 5, requires_grad=True), torch.randn(8, 2, 3, 3, requires_grad=True)
    tangent = torch.randn_like(x)

    def ours(x: Tensor, weight: Tensor) -> Tensor:
        return grouped_conv(x, weight, None, (1, 1), (1, 1), 4)

    def theirs(x: Tensor, weight: Tensor) -> Tensor:
        return F.conv2d(x, weight, padding=1, groups=4)

    results = []
    for conv in (ours, theirs):
        with pinned(lowering):
            gx, gw = torch.autograd.grad(conv(x, weight).pow(3).sum(), (x, weight), create_graph=True)
            second = torch.autograd.grad(gx.square().sum() + gw.square().sum(), (x, weight))
            jvp = torch.func.jvp(lambda x, conv=conv: conv(x, weight), (x,), (tangent,))[1]
            mapped = torch.vmap(lambda x, conv=conv: conv(x[None], weight)[0])(x)
            y = conv(x, weight)
            many = torch.autograd.grad(y, x, torch.randn(3, *y.shape, generator=seeded()), is_grads_batched=True)
            scaled = [t / t.abs().max() for t in (*second, jvp, mapped, *many)]
        results.append(scaled)
    for first, other in zip(*results, strict=True):
        torch.testing.assert_close(first, other, rtol=1e-4, atol=1e-5)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(3)


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # torch 2.11 about itself
@JIT
@EVERY
def test_counters_meta_other_types_and_autocast_see_a_plain_convolution(lowering: Lowering) -> None:
    conv = GroupedConv2d(8, 16, 3, stride=2, groups=4)
    x = torch.randn(2, 8, 6, 6)
    with pinned(lowering):
        with FlopCounterMode(display=False) as counter:
            conv(x)
        assert counter.get_total_flops() == 2 * 16 * 2 * 9 * 9 * 2
        assert copy.deepcopy(conv).to("meta")(x.to("meta")).shape == (2, 16, 3, 3)
        assert torch.equal(
            copy.deepcopy(conv).double()(x.double()), F.conv2d(x.double(), conv.weight.double(), None, 2, 1, 1, 4)
        )
        with torch.autocast("cpu", torch.bfloat16):
            assert conv(x).dtype == torch.bfloat16
            assert torch.ops.torchmg.grouped_conv(x, conv.weight, None, (2, 2), (1, 1), 4).dtype == torch.bfloat16
        graph = torch.export.export(conv, (x,)).graph
        assert "conv2d" in str(graph)
        assert "torchmg" not in str(graph)
        assert "conv" in str(torch.jit.freeze(torch.jit.trace(conv.eval(), x)).graph)


@EVERY
def test_torch_says_what_is_wrong_with_a_call(lowering: Lowering) -> None:
    x, weight = torch.randn(2, 8, 2, 2), torch.randn(8, 2, 5, 5)
    with pinned(lowering):
        with pytest.raises(RuntimeError, match="size"):
            grouped_conv(x, weight, groups=4)
        with pytest.raises(RuntimeError, match="channels"):
            grouped_conv(x, weight, None, (1, 1), (2, 2), 2)
        assert grouped_conv(x[:0], weight, None, (1, 1), (2, 2), 4).shape == (0, 8, 2, 2)
        assert grouped_conv(x[0], weight, None, (1, 1), (2, 2), 4).shape == (8, 2, 2)
        assert grouped_conv(x, weight, None, (1, 2), (2, 2), 4).shape == (2, 8, 2, 1)


def test_dilation_set_later_is_kept() -> None:
    conv = GroupedConv2d(8, 8, 3, groups=4)
    conv.dilation, conv.padding = (2, 2), (2, 2)
    x = torch.randn(1, 8, 9, 9)
    assert torch.equal(conv(x), F.conv2d(x, conv.weight, None, 1, 2, 2, 4))


@LEAF
@EVERY
@pytest.mark.parametrize("grad", [False, True])
def test_the_operator_is_well_formed(lowering: Lowering, grad: bool) -> None:
    tensors = [torch.randn(2, 8, 5, 5), torch.randn(12, 2, 1, 1), torch.randn(12)]
    tensors = [tensor.requires_grad_(grad) for tensor in tensors]
    with pinned(lowering):
        library.opcheck(torch.ops.torchmg.grouped_conv, (*tensors, (1, 1), (0, 0), 4))
        library.opcheck(torch.ops.torchmg.grouped_conv, (*tensors[:2], None, (2, 2), (1, 1), 4))


@EVERY
@pytest.mark.parametrize("dynamic", [False, True])
def test_compiled_without_graph_breaks(lowering: Lowering, dynamic: bool) -> None:
    torch.compiler.reset()
    net = nn.Sequential(GroupedConv2d(8, 8, 3, groups=4), nn.ReLU(), GroupedConv2d(8, 12, 1, stride=2, groups=4))
    fast = torch.compile(net, backend="aot_eager", fullgraph=True, dynamic=dynamic)
    with pinned(lowering):
        for images in (2, 3):
            x = torch.randn(images, 8, 7, 7)
            results = []
            for module in (net, fast):
                net.zero_grad()
                y = module(x)
                y.square().mean().backward()
                results.append([y, *(p.grad for p in net.parameters())])
            torch.testing.assert_close(*results)
    torch.compiler.reset()


def test_pairs_stay_element_wise_where_only_torch_computes() -> None:
    x, weight = torch.randn(2, 8, 3, 3), torch.randn(4, 2)
    for lowering in ("aten", "matmul"):
        with pinned(lowering):
            assert fast_pointwise(x, weight, 4, paired=True) is None
    with pinned("native"):
        shape = Shape(2, 8, 4, 4, 3, 3, 1, 1, 1, 0, 0)
        assert (fast_pointwise(x, weight, 4, paired=True) is not None) == serves("native", shape, gradients=False)
