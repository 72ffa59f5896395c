"""Blocks with repeated visits: weights shared, norms apart, counts in closed form."""

from copy import deepcopy
from math import prod
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import torchmg
from torchmg.hierarchy import Cycle
from torchmg.nn import MGICBlock

KINDS = st.sampled_from(["V", "W", "F"])


def inputs(block: MGICBlock, batch: int = 3) -> Tensor:
    spatial = (5, 4, 3)[: block.dims]
    return torch.randn(batch, block.hierarchy.channels, *spatial, dtype=next(block.parameters()).dtype)


@settings(max_examples=25)
@given(
    exponent=st.integers(0, 4),
    odd=st.sampled_from([1, 3]),
    relax=st.sampled_from(["residual", "bottleneck"]),
    norm=st.sampled_from(["prolong", "both", "none"]),
    kind=KINDS,
    pre=st.integers(0, 2),
    post=st.integers(1, 2),
    dims=st.integers(0, 3),
)
def test_counts_are_the_closed_forms(
    exponent: int, odd: int, relax: Any, norm: Any, kind: Any, pre: int, post: int, dims: Any
) -> None:
    coarsest = 4 * odd if relax == "residual" else odd
    channels = 4 * odd * 2**exponent
    options: dict[str, Any] = {"relax": relax, "group_size": 2, "coarsest": coarsest, "transfer_norm": norm}
    block = MGICBlock(channels, **options, cycle=kind, pre=pre, post=post, dims=dims)
    assert len(block.relax) == exponent + 1
    costs = block.hierarchy.costs(relax, 3, norm, Cycle(kind, pre, post), dims)
    assert block.costs() == costs
    spatial = (5, 4, 3)[:dims]
    pixels = prod(spatial)
    counted = torchmg.count(block, (channels, *spatial))
    assert counted.parameters == sum(p.numel() for p in block.parameters())
    assert counted.parameters == sum(cost.total.parameters for cost in costs)
    assert counted.macs == sum(cost.total.macs(pixels) for cost in costs)
    for level, (_, parameters, macs) in enumerate(counted.by("level")):
        assert (parameters, macs) == (costs[level].total.parameters, costs[level].total.macs(pixels))


def test_the_closed_form_of_a_w_by_hand() -> None:
    """Widths 16, 8, 4 in groups of 4: B 9*16*4, 9*8*4, 9*4*4 weights a convolution; W(1,1) visits 1, 2 and 2 times."""
    block = MGICBlock(16, group_size=4, coarsest=4, cycle="W", pre=1, post=1)
    weights = [2 * 9 * 16 * 4 + 16 * 4, 2 * 9 * 8 * 4 + 8 * 4, 2 * 9 * 4 * 4]
    norms = [2 * 4 * 16 + 1 * 2 * 16, 4 * 4 * 8 + 2 * 2 * 8, 2 * 4 * 4]
    assert [cost.total.parameters for cost in block.costs()] == [w + n for w, n in zip(weights, norms, strict=True)]
    work = [2 * 1152 + 64, 4 * 576 + 2 * 32, 2 * 288]
    assert torchmg.count(block, (16, 5, 5)).macs == 25 * sum(work)
    assert "W(1,1) cycle" in repr(block)
    assert f"cycle complexity {sum(work) / 1152:.2f}" in repr(block)


@pytest.mark.parametrize("kind", ["V", "W", "F"])
@pytest.mark.parametrize("transfer_weights", ["own", "transpose"])
def test_gradients_reach_everything_and_every_use_has_norms_of_its_own(kind: Any, transfer_weights: Any) -> None:
    options: dict[str, Any] = {"group_size": 4, "coarsest": 4, "transfer_norm": "both"}
    block = MGICBlock(32, cycle=kind, pre=1, transfer_weights=transfer_weights, **options)
    block(inputs(block)).square().mean().backward()
    for name, parameter in block.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    relaxations = block.cycle.relaxations(len(block.relax))
    for level, times in enumerate(relaxations):
        uses = [block.relax[level], *block.relax_again[level]]  # pyright: ignore
        assert len(uses) == times
        assert len({id(use.conv1.weight) for use in uses}) == 1
        assert len({id(use.norm1.weight) for use in uses}) == times
        means = [use.norm1.running_mean for use in uses]
        assert all(not a.equal(b) for index, a in enumerate(means) for b in means[:index])


def test_norms_of_a_users_relaxation_are_apart_and_its_weights_shared() -> None:
    made: list[nn.Module] = []

    def factory(channels: int, groups: int) -> nn.Module:
        made.append(nn.Sequential(nn.Conv2d(channels, channels, 1, groups=groups), nn.GroupNorm(1, channels)))
        return made[-1]

    block = MGICBlock(16, relax=factory, group_size=4, coarsest=4, cycle="W", pre=1)
    assert len(made) == 3  # one a level, whatever the cycle
    again = block.relax_again[1]
    assert [use[0].weight is made[1][0].weight for use in again] == [True] * 3  # pyright: ignore
    assert [use[1].weight is made[1][1].weight for use in again] == [False] * 3  # pyright: ignore
    block(inputs(block)).sum().backward()


def test_without_norms_there_is_nothing_to_repeat() -> None:
    block = MGICBlock(16, relax=lambda c, g: nn.Conv2d(c, c, 1, groups=g), coarsest=4, transfer_norm="none", cycle="W")
    assert not [key for key in block.state_dict() if "again" in key]
    block(inputs(block)).sum().backward()


def test_the_default_has_the_names_it_always_had() -> None:
    """Checkpoints of plain V cycles load, whatever other cycles need."""
    keys = set(MGICBlock(8, group_size=4, coarsest=4).state_dict())
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    relax = {f"relax.{n}.conv{m}.weight" for n in (0, 1) for m in (1, 2)}
    relax |= {f"relax.{n}.norm{m}.{key}" for n in (0, 1) for m in (1, 2) for key in norm}
    assert keys == relax | {"restrict.0.rows", "prolong.0.rows"} | {f"prolong.0.norm.{key}" for key in norm}


def test_the_same_seed_gives_the_same_weights_under_every_cycle() -> None:
    blocks = []
    for kind in ("V", "W", "F"):
        torch.manual_seed(3)
        blocks.append(MGICBlock(32, group_size=4, coarsest=4, cycle=kind, pre=1))  # pyright: ignore
    first = blocks[0].state_dict()
    for block in blocks[1:]:
        state = block.state_dict()
        assert all(value.equal(state[key]) for key, value in first.items() if "again" not in key)


@pytest.mark.parametrize("kind", ["V", "W", "F"])
def test_copies_states_and_traces(kind: Any) -> None:
    block = MGICBlock(32, group_size=4, coarsest=4, cycle=kind, pre=1)
    block(inputs(block))  # statistics that differ from use to use
    block.eval()
    x = inputs(block)
    y = block(x)
    twin = deepcopy(block)
    twin_parameters = [*twin.parameters()]
    assert len(twin_parameters) == len([*block.parameters()])  # ties are kept
    assert twin(x).equal(y)
    other = MGICBlock(32, group_size=4, coarsest=4, cycle=kind, pre=1).eval()
    assert not other(x).equal(y)
    other.load_state_dict(block.state_dict())
    assert other(x).equal(y)
    exported = torch.export.export(block, (x,)).module()
    torch.testing.assert_close(exported(x), y, rtol=1e-3, atol=1e-3)  # eagerly, some of it is fused
    compiled = torch.compile(block, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), y)
    moved = block.double()
    assert moved.relax[0].conv1.weight is moved.relax_again[0][0].conv1.weight  # pyright: ignore
    torch.testing.assert_close(moved(x.double()), y.double(), rtol=1e-4, atol=1e-4)


def test_models_take_cycles() -> None:
    model = torchmg.create("mgic_resnet20", width=0.5, group_size=4, coarsest=8, cycle="F", pre=1, post=2)
    assert "F(1,2) cycle" in repr(model)
    plain = torchmg.create("mgic_resnet20", width=0.5, group_size=4, coarsest=8)
    assert torchmg.count(model, (3, 8, 8)).macs > 1.5 * torchmg.count(plain, (3, 8, 8)).macs
    assert model(torch.randn(2, 3, 8, 8)).shape == (2, 10)
