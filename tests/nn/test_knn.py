"""Nearest neighbours against brute force, and what is refused."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from torchmg.errors import ShapeError, UsageError
from torchmg.nn.knn import check_cloud, edge_directions, gather_neighbours, knn_graph


def by_brute_force(x: Tensor, k: int) -> list[list[set[int]]]:
    """The k nearest others of every point, one at a time."""
    clouds = []
    for cloud in x.double().transpose(1, 2):
        distances = [[float((a - b).square().sum()) for b in cloud] for a in cloud]
        others = [sorted(set(range(len(cloud))) - {i}, key=row.__getitem__) for i, row in enumerate(distances)]
        clouds.append([set(order[:k]) for order in others])
    return clouds


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 3), st.integers(1, 5), st.integers(2, 12), st.integers(0, 2**31), st.sampled_from([0.0, 100.0]))
def test_neighbours_are_those_of_brute_force(batch: int, channels: int, points: int, seed: int, far: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, channels, points, generator=generator, dtype=torch.float64) + far
    k = 1 + seed % (points - 1)
    graph = knn_graph(x, k)
    assert graph.shape == (batch, points, k)
    assert graph.dtype == torch.int64
    assert [[set(row) for row in cloud] for cloud in graph.tolist()] == by_brute_force(x, k)


def test_neighbours_are_the_nearest_and_never_include_the_point() -> None:
    x = torch.randn(2, 3, 50)
    graph = knn_graph(x, 9)
    lengths = (gather_neighbours(x, graph) - x[..., None]).square().sum(1)
    whole = torch.cdist(x.transpose(1, 2), x.transpose(1, 2)).square() + torch.eye(50) * 1e9
    assert torch.allclose(lengths.sort(2).values, whole.sort(2).values[..., :9], atol=1e-4)
    assert not (knn_graph(x, 49) == torch.arange(50)[:, None]).any()
    assert not (graph == torch.arange(50)[:, None]).any()
    twins = torch.tensor([0.0, 0.0, 5.0])[None, None]
    assert knn_graph(twins, 1).flatten().tolist()[:2] == [1, 0]


def test_distances_are_exact_under_autocast_and_carry_no_gradient() -> None:
    x = (100 + torch.randn(2, 8, 64)).requires_grad_()
    plain = knn_graph(x, 5)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(knn_graph(x, 5), plain)
    assert not plain.requires_grad
    assert torch.equal(knn_graph(x.detach().bfloat16(), 5), knn_graph(x.detach().bfloat16().float(), 5))


def test_gathering_takes_the_values_at_the_other_ends() -> None:
    y, graph = torch.randn(2, 3, 7), torch.randint(7, (2, 7, 4))
    gathered = gather_neighbours(y, graph)
    assert gathered.shape == (2, 3, 7, 4)
    for b, i, j in [(0, 0, 0), (1, 6, 3), (0, 4, 2)]:
        assert torch.equal(gathered[b, :, i, j], y[b, :, graph[b, i, j]])


def test_directions_are_unit_vectors_or_zero() -> None:
    positions = torch.tensor([[[0.0, 2.0, 0.0], [0.0, 0.0, 0.0]]])
    directions = edge_directions(positions, torch.tensor([[[1, 2], [0, 2], [0, 1]]]))
    expected = [[[1.0, 0.0], [-1.0, -1.0], [0.0, 1.0]], [[0.0, 0.0]] * 3]
    assert torch.equal(directions[0], torch.tensor(expected))


@pytest.mark.parametrize("k", [0, 5, 6])
def test_too_many_neighbours_are_explained(k: int) -> None:
    with pytest.raises(UsageError, match=rf"cannot have {k} neighbours among 5 points.*from 1 to 4"):
        knn_graph(torch.randn(1, 3, 5), k)


@pytest.mark.parametrize(
    ("shape", "hint"),
    [((2, 9, 3), r"x.transpose\(1, 2\)"), ((3, 9), r"x\[None\]"), ((2, 4, 9), r"\(batch, 3, points\)")],
)
def test_other_shapes_than_clouds_are_explained(shape: tuple[int, ...], hint: str) -> None:
    with pytest.raises(ShapeError, match=hint):
        check_cloud(torch.zeros(shape), 3)
    with pytest.raises(ShapeError, match="batch, channels, points"):
        knn_graph(torch.zeros(3, 9), 2)
