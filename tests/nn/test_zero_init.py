"""Residuals and corrections that start at zero: what the network then is, and that it gets away from there."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import torchmg
from torchmg.models.residual_block import ResidualBlock, basic_block
from torchmg.nn import MGICBlock, SiC
from torchmg.nn.norm import zero_last_norms
from torchmg.nn.relax import Bottleneck, Residual


def unmoved(network: nn.Module, shape: tuple[int, ...], steps: int = 3) -> set[str]:
    """Parameters that some steps of SGD on noise have not changed."""
    torch.manual_seed(0)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    x, y = torch.randn(8, *shape), torch.arange(8)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(network(x), y).backward()
        optimizer.step()
    assert all(p.isfinite().all() for p in network.parameters())
    return {name for name, p in network.named_parameters() if torch.equal(p, before[name])}


@pytest.mark.parametrize(
    "block",
    [
        Residual(8),
        Bottleneck(8),
        basic_block(8, 8),
        MGICBlock(16, group_size=4, coarsest=4),
        MGICBlock(32, relax="bottleneck", group_size=2, coarsest=2),
        MGICBlock(16, group_size=4, coarsest=4, cycle="W", pre=1),
        MGICBlock(8, group_size=8, coarsest=8),
    ],
)
def test_a_residual_block_starts_as_the_identity_of_what_a_relu_left(block: nn.Module) -> None:
    x = torch.rand(4, 32, 6, 6)[:, : _width(block)]
    assert not torch.allclose(block(x), x)
    assert zero_last_norms(block) >= 1
    assert torch.equal(block(x), x)
    assert torch.equal(block.eval()(x), x)


def _width(block: nn.Module) -> int:
    if isinstance(block, MGICBlock):
        return block.hierarchy.channels
    return 8


def test_a_channel_cycle_starts_as_its_own_smoothing() -> None:
    """Without a correction only the finest relation's steps are left."""
    sic = SiC(32, group_size=8, coarsest=8)
    f = torch.rand(2, 32, 5, 5)
    assert zero_last_norms(sic) == 1
    expected = sic.finest(None, f)
    assert torch.allclose(sic(None, f), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "options", "norms"),
    [
        ("resnet20", {}, 9),
        # nine blocks, each with a finest correction and a residual
        ("mgic_resnet20", {"width": 0.5, "group_size": 4, "coarsest": 4}, 18),
        ("mgic_resnet20", {"width": 0.5, "group_size": 4, "coarsest": 4, "transfer_norm": "none"}, 9),
        # the narrowest resolution has one level
        ("mgiad20", {"group_size": 8, "coarsest": 16}, 2),
        ("mgnet20", {}, 0),
        ("mgiad20", {"group_size": 8, "coarsest": 16, "correction_act": True}, 0),
    ],
)
def test_how_many_norms_there_are(name: str, options: dict[str, Any], norms: int) -> None:
    assert zero_last_norms(torchmg.create(name, in_channels=1, **options)) == norms


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet20", {"width": 0.5}),
        ("mgic_resnet20", {"width": 0.5, "group_size": 4, "coarsest": 4}),
        ("mgiad20", {"width": 0.5, "group_size": 4, "coarsest": 4}),
    ],
)
def test_no_parameter_stays_where_it_is(name: str, options: dict[str, Any]) -> None:
    torch.manual_seed(1)
    plain = torchmg.create(name, in_channels=1, num_classes=8, **options)
    torch.manual_seed(1)
    zeroed = torchmg.create(name, in_channels=1, num_classes=8, **options)
    assert zero_last_norms(zeroed)
    # what is behind a scale of 0 wakes one step after it
    stuck = unmoved(zeroed, (1, 16, 16), steps=6) - unmoved(plain, (1, 16, 16), steps=6)
    # MGiaD's P has one weight a row, which the norm behind it divides out: only rounding moves it
    assert not {key for key in stuck if not (name == "mgiad20" and key.endswith("prolong.0.rows"))}


def test_norms_before_convolutions_end_nothing() -> None:
    assert zero_last_norms(basic_block(8, 8, act_order="pre")) == 0
    assert isinstance(basic_block(8, 8), ResidualBlock)
