"""The data-feature relation against its formula, its dense form and its closed-form cost."""

from copy import deepcopy
from math import prod
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from tests.nn.relations import RELATION_OPTIONS, linear
from torchmg.counting.macs import forward_macs
from torchmg.errors import GroupError, UnknownNameError, UsageError
from torchmg.hierarchy import Level
from torchmg.hierarchy.data_feature import relation_cost
from torchmg.nn.mgnet import DataFeature, coarsen


def images(channels: int, size: int = 6) -> Tensor:
    return torch.randn(3, channels, size, size, dtype=torch.float64)


def normalised(x: Tensor, norm: nn.Module) -> Tensor:
    """Batch normalisation in training, by its definition."""
    assert isinstance(norm, nn.BatchNorm2d)
    mean, variance = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True, unbiased=False)
    scale, shift = norm.weight[:, None, None], norm.bias[:, None, None]
    return (x - mean) / (variance + norm.eps).sqrt() * scale + shift


@pytest.mark.parametrize("share", ["level", "A", "none"])
@pytest.mark.parametrize("norms", ["use", "level"])
@pytest.mark.parametrize("groups", [1, 3])
def test_steps_are_the_formula(share: Any, norms: Any, groups: int) -> None:
    relation = DataFeature(6, groups, steps=3, share=share, norms=norms).double()
    for norm in (*relation.data_norms, *relation.feature_norms):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.bias, -0.5, 0.5)
    u, f = images(6), images(6)
    expected = u
    for i in range(3):
        a = relation.data_maps[i if share == "none" else 0].weight
        b = relation.feature_maps[0 if share == "level" else i].weight
        data_norm, feature_norm = (n[i if norms == "use" else 0] for n in (relation.data_norms, relation.feature_norms))
        r = normalised(f - F.conv2d(expected, a, padding=1, groups=groups), data_norm).relu()
        expected = expected + normalised(F.conv2d(r, b, padding=1, groups=groups), feature_norm).relu()
    assert torch.allclose(relation(u, f), expected, atol=1e-12)


def test_groups_are_blocks_of_a_dense_relation() -> None:
    grouped, dense = DataFeature(6, 3, steps=2).double(), DataFeature(6, 1, steps=2).double()
    with torch.no_grad():
        for ours, theirs in ((grouped.data_maps, dense.data_maps), (grouped.feature_maps, dense.feature_maps)):
            theirs[0].weight.zero_()
            for g in range(3):
                part = slice(2 * g, 2 * g + 2)
                theirs[0].weight[part, part] = ours[0].weight[part]
    u, f = images(6), images(6)
    assert torch.allclose(grouped(u, f), dense(u, f), atol=1e-12)


def test_a_solved_relation_stays_solved() -> None:
    relation, u = linear(DataFeature(4, steps=3)), images(4)
    assert torch.equal(relation(u, relation.data(u)), u)
    assert not torch.allclose(relation(u, relation.data(u) + 1), u, atol=0.1)


def test_coarsening_is_equations_6_and_7() -> None:
    fine, coarse = DataFeature(4).double(), DataFeature(8).double()
    restrict, project = (nn.Conv2d(4, 8, 3, 2, 1, groups=4, bias=False).double() for _ in range(2))
    u, f = images(4), images(4)
    residual = f - F.conv2d(u, fine.data_maps[0].weight, padding=1)
    features = F.conv2d(u, project.weight, stride=2, padding=1, groups=4)
    data = F.conv2d(residual, restrict.weight, stride=2, padding=1, groups=4)
    got = coarsen(u, f, fine, coarse, restrict, project)
    assert torch.allclose(got[0], features)
    assert torch.allclose(got[1], data + F.conv2d(features, coarse.data_maps[0].weight, padding=1))
    plain = coarsen(u, f, fine, coarse, restrict, None)
    assert plain[0] is None
    assert torch.allclose(plain[1], data)


@pytest.mark.parametrize("options", [{}, {"share": "A"}, {"norms": "level"}, {"smoother": "jacobi"}])
def test_starting_from_zero_needs_one_map_less(options: Any) -> None:
    relation, f = DataFeature(4, groups=2, steps=3, **options).double(), images(4)
    again, calls = deepcopy(relation), []
    again.data_maps[0].register_forward_hook(lambda *_: calls.append(1))
    zero = again.zero(f)
    assert zero is None
    nothing, zeros = again(zero, f), relation(torch.zeros_like(f), f)
    assert torch.allclose(nothing, zeros, atol=1e-12)
    assert len(calls) == 2 + (options.get("smoother") is not None) * 3
    (nothing**2).sum().backward()
    (zeros**2).sum().backward()
    for one, other in zip(again.parameters(), relation.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert torch.allclose(one.grad, other.grad, atol=1e-9)
    for one, other in zip(again.buffers(), relation.buffers(), strict=True):
        assert torch.allclose(one, other)


@pytest.mark.parametrize("options", [{"share": "none"}, {"steps": 1}])
def test_a_map_that_nothing_else_uses_is_applied_to_zero(options: Any) -> None:
    zero = DataFeature(4, **options).zero(images(4))
    assert zero is not None
    assert not zero.any()


@settings(max_examples=20)
@given(
    width=st.integers(1, 4),
    groups=st.integers(1, 4),
    steps=st.integers(1, 3),
    dims=st.integers(0, 3),
    options=st.fixed_dictionaries(RELATION_OPTIONS),
)
def test_costs_are_the_closed_forms(width: int, groups: int, steps: int, dims: Any, options: dict[str, Any]) -> None:
    channels = width * groups
    relation = DataFeature(channels, groups, steps=steps, dims=dims, **options)
    cost = relation_cost(Level(channels, channels, groups), steps, dims=dims, **options)
    assert cost.parameters == sum(p.numel() for p in relation.parameters())

    class Solve(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.relation = relation

        def forward(self, f: Tensor) -> Tensor:
            return self.relation(torch.zeros_like(f), f)

    spatial = (5, 4, 3)[:dims]
    macs, _, _, unknown = forward_macs(Solve(), (channels, *spatial))
    assert sum(macs.values()) == cost.macs(prod(spatial))
    assert unknown == ()


@settings(max_examples=20)
@given(steps=st.integers(1, 3), options=st.fixed_dictionaries(RELATION_OPTIONS))
def test_every_parameter_gets_a_gradient(steps: int, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    relation = DataFeature(6, 2, steps=steps, **options)
    (relation(torch.randn(4, 6, 5, 5), torch.randn(4, 6, 5, 5)) ** 2).sum().backward()
    for path, parameter in relation.named_parameters():
        assert parameter.grad is not None, path
        assert parameter.grad.isfinite().all(), path
        assert parameter.grad.any(), path


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"steps": 0}, UsageError, ["steps", "at least 1", "0"]),
        ({"groups": 4}, GroupError, ["6 channels", "4 equal groups", "3, 6"]),
        ({"share": "B"}, UnknownNameError, ["share='B'", "level, A, none"]),
        ({"norms": "user"}, UnknownNameError, ["norms='user'", "Did you mean use"]),
        ({"smoother": "jacoby"}, UnknownNameError, ["smoother='jacoby'", "Did you mean jacobi"]),
        ({"smoother": "jacobi", "degree": 5}, UsageError, ["degree", "1, 2, 3 or 4", "5"]),
    ],
)
def test_impossible_relations_are_explained(options: dict[str, Any], error: type[Exception], words: list[str]) -> None:
    with pytest.raises(error) as caught:
        DataFeature(6, **options)
    assert all(word in str(caught.value) for word in words), str(caught.value)
