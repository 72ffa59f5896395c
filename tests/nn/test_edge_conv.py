"""Graph convolutions against their formulas edge by edge, in float64; groups against block-diagonal matrices."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchmg.errors import GroupError
from torchmg.nn.edge_conv import DiffConv, EdgeConv, GraphMGIC
from torchmg.nn.knn import edge_directions, gather_neighbours, knn_graph

SIZES = pytest.mark.parametrize(("width", "out", "groups"), [(3, 8, 1), (8, 8, 2), (8, 16, 4), (8, 8, 8)])


def cloud(channels: int, points: int = 11, batch: int = 2) -> Tensor:
    return torch.randn(batch, channels, points, dtype=torch.float64)


def block_diagonal(weight: Tensor, groups: int) -> Tensor:
    return torch.block_diag(*weight.chunk(groups))


@SIZES
@pytest.mark.parametrize("training", [True, False])
def test_edge_convolution_is_its_formula(width: int, out: int, groups: int, training: bool) -> None:
    conv = EdgeConv(width, out, groups).double().train(training)
    nn.init.normal_(conv.norm.weight)
    nn.init.normal_(conv.norm.bias)
    x = cloud(width)
    graph = knn_graph(x, 4)
    centre = x[..., None].expand(-1, -1, -1, 4)
    edges = torch.stack([centre, gather_neighbours(x, graph) - centre], 2).flatten(1, 2)
    norm = copy.deepcopy(conv.norm)
    expected = F.relu(norm(F.conv2d(edges, conv.weight[..., None, None], groups=groups))).amax(3)
    assert torch.allclose(conv(x, graph), expected, atol=1e-12)
    assert torch.allclose(conv.norm.running_var, norm.running_var, atol=1e-12)
    dense = torch.einsum("oi,bipk->bopk", block_diagonal(conv.weight, groups), edges)
    assert torch.allclose(
        norm.eval()(dense), conv.eval().norm(F.conv2d(edges, conv.weight[..., None, None], None, 1, 0, 1, groups))
    )
    assert torch.allclose(conv(x, graph), F.relu(norm(dense)).amax(3), atol=1e-12)


def test_groups_see_both_halves_of_their_own_channels_only() -> None:
    conv, x = EdgeConv(8, 8, 4).double().eval(), cloud(8)
    graph = knn_graph(x, 3)
    moved = x.clone()
    moved[:, 2:4] += torch.randn(2, 2, 11, dtype=torch.float64)
    changed = (conv(moved, graph) != conv(x, graph)).any(2).any(0)
    assert changed.tolist() == [False, False, True, True, False, False, False, False]


@SIZES
def test_difference_convolution_is_its_formula(width: int, out: int, groups: int) -> None:
    conv, x, positions = DiffConv(width, out, groups).double(), cloud(width), cloud(3)
    graph = knn_graph(positions, 4)
    directions = edge_directions(positions, graph)
    features = conv.features(x, graph, directions).unflatten(1, (width, 5))
    for b, c, i in [(0, 0, 0), (1, width - 1, 7)]:
        ends = graph[b, i]
        differences, steps = x[b, c, ends] - x[b, c, i], positions[b][:, ends] - positions[b, :, i, None]
        gradient = (differences * steps / steps.norm(dim=0)).mean(1)
        expected = torch.stack([x[b, c, i], *gradient, differences.mean()])
        assert torch.allclose(features[b, c, :, i], expected)
    dense = torch.einsum("oi,bip->bop", block_diagonal(conv.weight, groups), features.flatten(1, 2))
    norm = copy.deepcopy(conv.norm)
    assert torch.allclose(conv(x, graph, directions), F.relu(norm(dense)))


def test_operators_are_exact_on_constant_and_linear_features() -> None:
    side = torch.arange(-1.0, 2.0, dtype=torch.float64)
    positions = torch.cartesian_prod(side, side, side).T[None]
    middle = 13
    graph = knn_graph(positions, 6)
    slopes = torch.tensor([[1.0, -2.0, 0.5], [0.0, 0.0, 0.0]], dtype=torch.float64)
    x = (slopes @ positions[0] + 3)[None]
    conv = DiffConv(2, 2).double()
    features = conv.features(x, graph, edge_directions(positions, graph)).unflatten(1, (2, 5))[0, :, :, middle]
    expected = torch.cat([torch.full((2, 1), 3.0), slopes / 3, torch.zeros(2, 1)], 1).double()
    assert torch.allclose(features, expected), "two of the six unit edges lie along each axis"


def test_one_level_is_the_plain_convolution_and_the_order_of_points_is_of_no_account() -> None:
    def relax(channels: int, groups: int) -> nn.Module:
        return EdgeConv(channels, channels, groups)

    block = GraphMGIC(16, relax=relax, coarsest=16).double().eval()
    x = cloud(16, 30)
    graph = knn_graph(x, 5)
    assert torch.equal(block(x, graph), block.relax[0](x, graph))
    deep = GraphMGIC(32, relax=relax, group_size=4, coarsest=8, cycle="W", pre=1).double().eval()
    x, order = cloud(32, 30), torch.randperm(30)
    y = deep(x, knn_graph(x, 5))
    moved = x[:, :, order]
    assert torch.allclose(deep(moved, knn_graph(moved, 5)), y[:, :, order], atol=1e-10)


def test_a_block_is_the_papers_algorithm_with_one_graph_for_all_levels() -> None:
    block = GraphMGIC(32, relax=lambda c, g: EdgeConv(c, c, g), group_size=8, coarsest=16).double().eval()
    x = cloud(32, 20)
    graph = knn_graph(x, 4)
    coarse = block.restrict[0](x)
    y = block.relax[1](coarse, graph)
    expected = block.relax[0](x + block.prolong[0](y - coarse), graph)
    assert torch.equal(block(x, graph), expected)
    assert [level.groups for level in block.hierarchy.levels] == [4, 1]
    assert [tuple(conv.weight.shape) for conv in block.relax] == [(32, 16), (16, 32)]


@pytest.mark.parametrize("kind", [EdgeConv, DiffConv])
def test_groups_that_do_not_divide_are_refused(kind: type[EdgeConv] | type[DiffConv]) -> None:
    with pytest.raises(GroupError, match="a graph convolution 6 -> 8"):
        kind(6, 8, 4)
