"""Projections onto layers and couplings: what is one comes back, what is not has the least error there is."""

from math import prod
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from torchmg.conversion.project import project_coupling, project_layer
from torchmg.errors import ShapeError, UsageError
from torchmg.nn.additive import MultigridLayer
from torchmg.nn.coupling import channel_coupling
from torchmg.nn.layer_shape import LayerShape, dense_kernel


def relative(made: Tensor, goal: Tensor) -> float:
    return ((made - goal).norm() / goal.norm()).item()


DENSE: dict[str, Any] = {
    "linear": lambda i, o: nn.Linear(i, o),
    "conv1d": lambda i, o: nn.Conv1d(i, o, 3, padding=1, bias=False),
    "conv2d": lambda i, o: nn.Conv2d(i, o, (3, 1), stride=2),
    "pointwise": lambda i, o: nn.Conv2d(i, o, 1),
    "conv3d": lambda i, o: nn.Conv3d(i, o, 2),
    "transposed": lambda i, o: nn.ConvTranspose2d(i, o, 2, stride=2),
}
INPUT = {
    "linear": (5,),
    "conv1d": (6,),
    "conv2d": (5, 5),
    "pointwise": (3, 4),
    "conv3d": (3, 3, 3),
    "transposed": (3, 3),
}


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(sorted(DENSE)), st.integers(1, 3), st.integers(1, 2), st.booleans(), st.integers(0, 2**16))
def test_a_layer_takes_over_what_another_computes(kind: str, a: int, b: int, permuted: bool, seed: int) -> None:
    torch.manual_seed(seed)
    dense = DENSE[kind](32 * a, 32 * b).double()
    shape = LayerShape.of(dense)
    options = {"group_size": 4, "coarsest": 8}
    source = MultigridLayer(shape, **options).double()
    for part in (*source.restrict, *source.prolong):
        nn.init.normal_(part.get_parameter("rows"))
    weight = source.dense_weight().detach()
    layer = MultigridLayer(shape, **options, permuted=permuted).double()
    if layer.bias is not None:
        nn.init.ones_(layer.bias)
    assert project_layer(weight, layer) < 1e-10
    assert relative(layer.dense_weight(), weight) < 1e-10
    assert layer.bias is None or bool((layer.bias == 1).all())
    # The layer does what the dense one with this kernel does.
    dense_kernel(dense).data.copy_(weight)
    if dense.bias is not None:
        nn.init.ones_(dense.bias)
    x = torch.randn(2, 32 * a, *INPUT[kind]).double()
    x = x.transpose(1, -1) if kind == "linear" else x
    torch.testing.assert_close(layer(x), dense(x), rtol=1e-8, atol=1e-8 * weight.norm().item())
    for level in range(len(layer.restrict)):
        for transfer in layer.transfers(level):
            assert transfer.weight_view().square().sum(1).mean().item() == pytest.approx(1)


def test_single_precision_is_exact_to_its_rounding() -> None:
    torch.manual_seed(0)
    shape = LayerShape.of(nn.Conv2d(64, 128, 3))
    source, layer = (MultigridLayer(shape, group_size=8, coarsest=16) for _ in range(2))
    weight = source.dense_weight().detach()
    assert project_layer(weight, layer) < 1e-6
    x = torch.randn(2, 64, 8, 8)
    assert relative(layer(x), source(x)) < 1e-4


def mixed_blocks() -> tuple[Tensor, MultigridLayer]:
    """A kernel with strong blocks and a weak rest, its channels mixed up, and a permuted layer for it."""
    torch.manual_seed(4)
    layer = MultigridLayer(LayerShape.of(nn.Conv2d(64, 64, 3)), group_size=8, coarsest=16, permuted=True).double()
    weight = layer.dense_weight().detach()
    weight += 5 * torch.block_diag(*torch.ones(8, 8, 8))[..., None, None] * torch.randn_like(weight)
    return weight[torch.randperm(64)][:, torch.randperm(64)], layer


def test_permuted_layers_find_mixed_channels() -> None:
    weight, layer = mixed_blocks()
    assert project_layer(weight, layer) < 1e-10
    assert relative(layer.dense_weight(), weight) < 1e-10
    assert layer.in_order is not None
    assert not torch.equal(layer.in_order, torch.arange(64))
    assert project_layer(weight, layer) < 1e-10  # again, from the orders it has
    fixed = MultigridLayer(layer.shape, group_size=8, coarsest=16).double()
    assert project_layer(weight, fixed) > 0.5


def test_the_error_is_that_of_the_layer_and_below_the_blocks() -> None:
    torch.manual_seed(1)
    weight = torch.randn(48, 32, 3, 3)
    blocks = torch.block_diag(*torch.ones(4, 12, 8))[..., None, None] * weight
    for permuted in (False, True):
        layer = MultigridLayer(LayerShape.of(nn.Conv2d(32, 48, 3)), group_size=4, coarsest=8, permuted=permuted)
        error = project_layer(weight, layer)
        assert error == pytest.approx(relative(layer.dense_weight(), weight), abs=1e-6)
        assert error < relative(blocks, weight)


def test_the_moment_is_taken_in_the_layers_order() -> None:
    weight, layer = mixed_blocks()
    weight = weight + torch.randn_like(weight)
    x = torch.randn(500, 64).double() * torch.rand(64) ** 2
    moment = x.T @ x / len(x)
    outputs = torch.einsum("oikl,ni->nokl", weight, x)
    missed = []
    for given_moment in (None, moment):
        project_layer(weight, layer, input_moment=given_moment)
        made = torch.einsum("oikl,ni->nokl", layer.dense_weight().detach(), x)
        missed.append(relative(made, outputs))
    assert missed[1] < 0.9 * missed[0]


COUPLINGS: list[tuple[str, int, int, dict[str, Any]]] = [
    ("full", 4, 6, {}),
    ("grouped", 8, 4, {"group_size": 4}),
    ("depthwise", 4, 8, {}),
    ("pointwise", 6, 4, {}),
    ("union", 6, 6, {}),
    ("union", 3, 4, {}),
    ("lean", 4, 6, {"stencil": "5"}),
    ("lean", 6, 6, {"pointwise": "circulant", "group_size": 2}),
    ("circulant", 6, 4, {}),
    ("circulant", 4, 8, {"block": 2}),
    ("chain", 7, 7, {"radius": 2, "periodic": True}),
    ("block_chain", 8, 8, {"group_size": 2}),
    ("lattice", 8, 8, {}),
]


@pytest.mark.parametrize(("name", "inputs", "outputs", "options"), COUPLINGS)
def test_couplings_get_the_least_squares_solution(
    name: str, inputs: int, outputs: int, options: dict[str, Any]
) -> None:
    torch.manual_seed(2)
    coupling = channel_coupling(name, inputs, outputs, bias=True, **options).double()
    weights = [(n, p) for n, p in coupling.named_parameters() if n != "bias"]
    # Q column by column, in the frame of a 3x3 kernel.
    columns = []
    for _, parameter in weights:
        for _, other in weights:
            other.data.zero_()
        for entry in range(parameter.numel()):
            parameter.data.view(-1)[entry] = 1
            kernel = coupling.dense_weight().detach()
            columns.append(nn.functional.pad(kernel, (1, 1, 1, 1)) if kernel.shape[-1] == 1 else kernel)
            parameter.data.view(-1)[entry] = 0
    q = torch.stack([column.flatten() for column in columns], 1)
    weight = torch.randn(outputs, inputs, 3, 3).double()
    theta = torch.linalg.lstsq(q, weight.flatten()[:, None]).solution[:, 0]
    error = project_coupling(weight, coupling)
    found = torch.cat([parameter.detach().flatten() for _, parameter in weights])
    torch.testing.assert_close(found, theta, rtol=0, atol=1e-12)
    assert error == pytest.approx(relative(q @ theta, weight.flatten()), abs=1e-12)
    assert coupling.bias is not None
    assert bool((coupling.bias == 0).all())
    # What is in its range comes back, from single precision too.
    single = channel_coupling(name, inputs, outputs, **options)
    assert project_coupling((q @ theta).view_as(weight).float(), single) < 1e-6
    assert project_coupling(torch.zeros_like(weight), single) == 0
    assert prod(single.dense_weight().shape) >= single.dense_weight().count_nonzero() == 0


def test_overlapping_parts_are_solved_by_conjugate_gradients() -> None:
    """A sum of two parts that share entries: Q^T Q is not diagonal."""
    torch.manual_seed(3)
    grouped = channel_coupling("grouped", 6, 6, 1, group_size=3).double()

    class Sum(type(grouped)):
        def dense_weight(self) -> Tensor:
            return super().dense_weight() + self.shared.mean() * 6 + self.shared.view(6, 1, 1, 1)

    both = Sum(6, 6, 1, group_size=3).double()
    both.shared = nn.Parameter(torch.zeros(6).double())
    weight = torch.randn(6, 6).double()
    error = project_coupling(weight, both)
    loss = (both.dense_weight()[..., 0, 0] - weight).square().sum()
    assert error == pytest.approx((loss.sqrt() / weight.norm()).item())
    gradients = torch.autograd.grad(loss, list(both.parameters()))
    assert max(g.abs().max().item() for g in gradients) < 1e-10


def test_bad_requests_are_named() -> None:
    layer = MultigridLayer(LayerShape.of(nn.Conv2d(16, 16, 3)), group_size=4, coarsest=8, permuted=True)
    with pytest.raises(ShapeError, match=r"\(16, 16, 3, 3\)"):
        project_layer(torch.zeros(16, 16, 1, 1), layer)
    with pytest.raises(ShapeError, match=r"\(16, 16\)"):
        project_layer(torch.randn(16, 16, 3, 3), layer, input_moment=torch.eye(3))
    lean = channel_coupling("lean", 4, 4)
    for shape in ((4, 4), (4, 4, 3), (8, 4, 3, 3), (4, 4, 4, 4)):
        with pytest.raises(ShapeError, match=r"\(4, 4, 3, 3\)"):
            project_coupling(torch.zeros(shape), lean)
    with pytest.raises(UsageError, match="MultigridLayer"):
        project_coupling(torch.zeros(16, 16, 3, 3), channel_coupling("multigrid", 16, 16))
    with pytest.raises(UsageError, match="finite"):
        project_coupling(torch.full((4, 4, 3, 3), float("nan")), lean)
