"""The feed-forward relaxation: its formula, its groups, its closed-form cost, MGIC blocks made of it."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

import torchmg
from torchmg.errors import UsageError
from torchmg.hierarchy import Cycle, Level, relaxation_cost
from torchmg.nn import FeedForward, MGICBlock


@given(groups=st.integers(1, 4), size=st.integers(1, 4))
def test_it_is_the_formula_with_block_diagonal_maps(groups: int, size: int) -> None:
    channels = groups * size
    layer, x = FeedForward(channels, groups).double(), torch.randn(5, groups * size, dtype=torch.float64)
    widen, narrow = (torch.block_diag(*m.weight.chunk(groups)) for m in (layer.widen, layer.narrow))
    normal = (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True, unbiased=False) + 1e-5).sqrt()
    assert torch.allclose(layer(x), x + F.gelu(normal @ widen.T) @ narrow.T, atol=1e-10)


@settings(max_examples=15)
@given(
    levels=st.integers(1, 4),
    group_size=st.sampled_from([2, 4, 8]),
    norm=st.sampled_from(["none", "prolong", "both"]),
    kind=st.sampled_from(["V", "W", "F"]),
    pre=st.integers(0, 1),
)
def test_costs_are_the_closed_forms(levels: int, group_size: int, norm: Any, kind: Any, pre: int) -> None:
    channels = 4 * 2 ** (levels - 1)
    sizes: dict[str, Any] = {"group_size": group_size, "coarsest": 4}
    block = MGICBlock(channels, relax="mlp", transfer_norm=norm, cycle=kind, pre=pre, dims=0, **sizes)
    costs = block.hierarchy.costs("mlp", 1, norm, Cycle(kind, pre, 1), 0)
    assert block.costs() == costs
    counted = torchmg.count(block, (channels,))
    assert counted.parameters == sum(cost.total.parameters for cost in costs)
    assert counted.macs == sum(cost.total.macs(1) for cost in costs)


def test_one_level_is_the_plain_layer() -> None:
    layer = FeedForward(8)
    assert sum(p.numel() for p in layer.parameters()) == relaxation_cost("mlp", Level(8, 8, 1)).parameters == 528
    block = MGICBlock(8, relax="mlp", dims=0, coarsest=8)
    block.relax[0].load_state_dict(layer.state_dict())
    x = torch.randn(3, 8)
    assert torch.equal(block(x), layer(x))


def test_parameters_are_linear_in_the_width() -> None:
    """Affine to the last parameter: equal differences from doubling to doubling."""
    sizes = [
        sum(p.numel() for p in MGICBlock(c, relax="mlp", dims=0, transfer_norm="none").parameters())
        for c in (64, 128, 256, 512)
    ]
    steps = [b - a for a, b in pairwise(sizes)]
    assert steps == [steps[0], 2 * steps[0], 4 * steps[0]]


def test_places_are_part_of_the_batch() -> None:
    with pytest.raises(UsageError, match=r"dims=0 with channels last, not dims=2"):
        MGICBlock(16, relax="mlp")
    block = MGICBlock(32, relax="mlp", dims=0, transfer_norm="none").eval()
    x = torch.randn(2, 5, 32)
    assert torch.allclose(block(x)[1, 3], block(x[1, 3][None])[0], atol=1e-6)
