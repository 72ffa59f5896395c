"""Layers of any geometry as additive multigrid operators: against dense layers of torch with `dense_weight`."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from torchmg.counting.report import count
from torchmg.errors import ShapeError, TorchmgError, UsageError
from torchmg.hierarchy.layer_levels import LayerHierarchy
from torchmg.nn.additive import MultigridLayer
from torchmg.nn.coupling import Multigrid
from torchmg.nn.layer_shape import CONVOLUTIONS, TRANSPOSED, LayerShape, dense_kernel

GEOMETRIES = [
    nn.Linear(24, 48),
    nn.Linear(32, 32, bias=False),
    nn.Conv1d(24, 16, 4, stride=2, padding=1),
    nn.Conv2d(32, 32, 3, padding=1, bias=False),
    nn.Conv2d(16, 48, 3, stride=2, padding=2, dilation=2),
    nn.Conv2d(48, 32, (1, 7), padding="same"),
    nn.Conv2d(16, 16, 3, padding=1, padding_mode="reflect"),
    nn.Conv2d(24, 24, 2, stride=2),
    nn.Conv3d(16, 32, (1, 3, 3), padding=(0, 1, 1), padding_mode="circular"),
    nn.ConvTranspose1d(32, 16, 3, stride=2),
    nn.ConvTranspose2d(32, 48, 3, stride=2, padding=1, output_padding=1),
    nn.ConvTranspose3d(16, 16, 2, stride=2, bias=False),
]
SIDE = 8


def name(layer: nn.Module) -> str:
    return repr(layer).replace(" ", "")[:60]


def inputs(shape: LayerShape, batch: int = 2) -> torch.Tensor:
    size = (batch, 5, shape.in_channels) if shape.dims == 0 else (batch, shape.in_channels, *[SIDE] * shape.dims)
    return torch.randn(size, dtype=torch.float64)


@pytest.mark.parametrize("permuted", [False, True])
@pytest.mark.parametrize("layer", GEOMETRIES, ids=name)
def test_it_is_the_dense_layer_with_its_dense_weight(layer: nn.Module, permuted: bool) -> None:
    shape = LayerShape.of(layer)
    ours = MultigridLayer(shape, group_size=2, coarsest=4, permuted=permuted).double()
    assert len(ours.levels) > 1
    twin = build_dense(shape).double()
    with torch.no_grad():
        if permuted:
            ours.in_order.copy_(torch.randperm(shape.in_channels))
            ours.out_order.copy_(torch.randperm(shape.out_channels))
        dense_kernel(twin).copy_(ours.dense_weight())
        if shape.bias:
            ours.bias.normal_()
            twin.bias.copy_(ours.bias)
    x = inputs(shape)
    torch.testing.assert_close(ours(x), twin(x), rtol=1e-10, atol=1e-10)
    assert ours(x[:1])[0].shape == (ours(x[0]).shape if shape.dims else twin(x[:1])[0].shape)


@pytest.mark.parametrize("layer", GEOMETRIES, ids=name)
def test_parameters_and_macs_are_the_closed_forms(layer: nn.Module) -> None:
    shape = LayerShape.of(layer)
    ours = MultigridLayer(shape, group_size=2, coarsest=4)
    assert sum(p.numel() for p in ours.parameters()) == ours.num_params()
    x = inputs(shape, 1).float()
    inside, outside = x.numel() // shape.in_channels, ours(x).numel() // shape.out_channels
    macs = ours.hierarchy.transposed_macs if shape.transposed else ours.hierarchy.macs
    assert count(ours, tuple(x.shape[1:])).macs == macs(shape.taps, inside, outside)


def build_dense(shape: LayerShape) -> nn.Module:
    if shape.dims == 0:
        return nn.Linear(shape.in_channels, shape.out_channels, bias=shape.bias)
    extra = {"output_padding": shape.output_padding} if shape.transposed else {}
    kind = (TRANSPOSED if shape.transposed else CONVOLUTIONS)[shape.dims]
    return kind(
        shape.in_channels,
        shape.out_channels,
        shape.kernel,
        stride=shape.stride,
        padding=shape.padding,
        dilation=shape.dilation,
        bias=shape.bias,
        padding_mode=shape.padding_mode,
        **extra,
    )


def test_a_square_one_is_the_coupling_of_that_name() -> None:
    coupling = Multigrid(32, 32, group_size=4, coarsest=8).double()
    ours = MultigridLayer(LayerShape.of(nn.Conv2d(32, 32, 3, padding=1, bias=False)), group_size=4, coarsest=8).double()
    assert ours.num_params() == coupling.num_params()
    ours.load_state_dict(coupling.state_dict())
    x = torch.randn(2, 32, 6, 6, dtype=torch.float64)
    torch.testing.assert_close(ours(x), coupling(x), rtol=1e-12, atol=1e-12)


@given(
    divisor=st.integers(1, 96),
    a=st.integers(1, 4),
    b=st.integers(1, 4),
    group_size=st.integers(1, 20),
    coarsest=st.integers(1, 40),
)
@settings(max_examples=60, deadline=None)
@pytest.mark.filterwarnings("ignore::torchmg.errors.HierarchyWarning")
def test_any_widths_have_a_hierarchy(divisor: int, a: int, b: int, group_size: int, coarsest: int) -> None:
    levels = LayerHierarchy(a * divisor, b * divisor, group_size, coarsest)
    for width_in, width_out, groups in zip(levels.inputs, levels.outputs, levels.groups, strict=True):
        assert width_in % groups == width_out % groups == 0
    ours = MultigridLayer(LayerShape(0, a * divisor, b * divisor), group_size=group_size, coarsest=coarsest)
    assert sum(p.numel() for p in ours.parameters()) == ours.num_params() == levels.weights(1)
    x = torch.randn(3, a * divisor)
    torch.testing.assert_close(ours(x), x @ ours.dense_weight().T, rtol=1e-3, atol=1e-3)


def test_variance_of_fresh_weights_is_that_of_a_dense_layer() -> None:
    torch.manual_seed(0)
    ours = MultigridLayer(LayerShape.of(nn.Conv2d(128, 128, 3, padding=1)), group_size=16, coarsest=32)
    y = ours(torch.randn(4, 128, 16, 16))
    # Transfers average, so coarser levels give less than their share; a dense layer gives 2.
    assert 0.4 < y[..., 2:-2, 2:-2].var() < 2.2


def test_what_is_no_dense_layer_is_refused() -> None:
    with pytest.raises(UsageError, match="groups=2"):
        LayerShape.of(nn.Conv2d(4, 4, 3, groups=2))
    with pytest.raises(UsageError, match="ReLU is no linear layer"):
        LayerShape.of(nn.ReLU())  # pyright: ignore[reportArgumentType]
    layer = MultigridLayer(LayerShape(0, 8, 8), group_size=2, coarsest=4)
    with pytest.raises(ShapeError, match="last axis"):
        layer(torch.zeros(2, 9))
    with pytest.raises(TorchmgError, match="group_size"):
        MultigridLayer(LayerShape(0, 8, 8), group_size=0)
