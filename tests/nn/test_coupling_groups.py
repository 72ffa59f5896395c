"""Couplings in groups that reach further, or not: shuffled, separable, and hierarchies that are never coupled fully."""

from math import ceil, log
from typing import Any

import pytest
import torch
from helpers import make_positive, pixel_jacobian, same_group
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import torchmg
from torchmg.errors import GroupError
from torchmg.nn import MGICBlock, Residual, SiC
from torchmg.nn.coupling import Separable, Shuffle, conv_builder

GROUPS = st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 4))
"""Groups, and the inputs and outputs of each."""


@given(sizes=GROUPS, stride=st.sampled_from([1, 2]), seed=st.integers(0, 999))
def test_shuffle_is_torchs_own_behind_a_grouped_convolution(
    sizes: tuple[int, int, int], stride: int, seed: int
) -> None:
    torch.manual_seed(seed)
    groups, inputs, outputs = sizes
    coupling = Shuffle(groups * inputs, groups * outputs, group_size=inputs, stride=stride).double()
    x = torch.randn(2, groups * inputs, 5, 4, dtype=torch.float64)
    wanted = F.channel_shuffle(F.conv2d(x, coupling.weight, stride=stride, padding=1, groups=groups), groups)
    assert torch.equal(coupling(x), wanted)


def test_shuffle_deals_the_outputs_of_a_group_out_to_all() -> None:
    """By hand: two groups of three channels each, of which the j-th output of group g lands at 2 j + g."""
    coupling = Shuffle(6, 6, 1, group_size=3)
    with torch.no_grad():
        coupling.weight.copy_(torch.eye(3).repeat(2, 1)[..., None, None])
    y = coupling(torch.arange(6.0).view(1, 6, 1, 1))
    assert y.flatten().tolist() == [0, 3, 1, 4, 2, 5]


@pytest.mark.parametrize(("channels", "size"), [(64, 8), (256, 8), (24, 2), (64, 4), (36, 6), (30, 3), (8, 8), (8, 1)])
def test_shuffled_channels_reach_each_other_in_logarithmically_many_layers(channels: int, size: int) -> None:
    expected = None if size == 1 else ceil(log(channels) / log(size) - 1e-9)
    assert Shuffle(channels, channels, group_size=size).reach() == expected


def test_a_block_of_shuffles_has_the_groups_of_its_levels() -> None:
    block = MGICBlock(32, group_size=4, coarsest=8, coupling="shuffle")
    assert [level.groups for level in block.hierarchy.levels] == [8, 4, 1]
    shuffles = [module for module in block.modules() if isinstance(module, Shuffle)]
    assert [module.groups for module in shuffles] == [8, 8, 4, 4]
    assert sum(module.num_weights() for module in shuffles) == 2 * 9 * 4 * (32 + 16)
    build = conv_builder("shuffle", group_size=2)
    assert build(8, 8, 3, groups=1).get_parameter("weight").shape == (8, 2, 3, 3)
    with pytest.raises(GroupError, match="shuffle coupling 8 -> 8"):
        conv_builder("shuffle")(8, 8, 3, groups=3)


@given(channels=st.tuples(st.integers(1, 6), st.integers(1, 6)), stride=st.sampled_from([1, 2]), dims=st.integers(1, 3))
def test_separable_is_a_depthwise_and_a_pointwise_convolution(
    channels: tuple[int, int], stride: int, dims: int
) -> None:
    kind: Any = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1]
    inputs, outputs = channels
    coupling = Separable(inputs, outputs, stride=stride, dims=dims)  # pyright: ignore[reportArgumentType]
    depthwise = kind(inputs, inputs, 3, stride, 1, groups=inputs, bias=False)
    pointwise = kind(inputs, outputs, 1, bias=False)
    with torch.no_grad():
        depthwise.weight.copy_(coupling.stencils)
        pointwise.weight.copy_(coupling.mixing.view_as(pointwise.weight))
    two, size = nn.Sequential(depthwise, pointwise), (4, 5, 3)[:dims]
    x = torch.randn(2, inputs, *size)
    torch.testing.assert_close(coupling(x), two(x))
    counted = torchmg.count(two, (inputs, *size))
    assert (coupling.num_params(), coupling.macs(*size)) == (counted.parameters, counted.macs)


# Hierarchies without a full coupling ---------------------------------------------------------------------------------


def coupled(block: nn.Module, channels: int) -> Tensor:
    return pixel_jacobian(make_positive(block), channels) > 0


def test_one_level_in_groups_is_the_plain_grouped_block() -> None:
    block = MGICBlock(32, group_size=8, coarsest=32, coarsest_coupling="grouped")
    plain = Residual(32, groups=4)
    block.relax[0].load_state_dict(plain.state_dict())
    x = torch.randn(2, 32, 6, 5)
    assert torch.equal(block(x), plain(x))
    group = torch.arange(32) // 8
    assert torch.equal(coupled(block, 32), same_group(group, group))
    assert "coarsest level in groups" in repr(block)


@pytest.mark.parametrize(("channels", "size", "coarsest"), [(32, 4, 16), (32, 4, 8), (64, 2, 8), (48, 4, 12)])
def test_levels_in_groups_couple_what_the_coarsest_groups_stand_for(channels: int, size: int, coarsest: int) -> None:
    """A group of `size` coarse channels averages size * channels / coarsest neighbouring fine ones."""
    block = MGICBlock(channels, group_size=size, coarsest=coarsest, coarsest_coupling="grouped")
    group = torch.arange(channels) // (size * channels // coarsest)
    assert group.max() > 0
    assert torch.equal(coupled(block, channels), same_group(group, group))


def test_one_level_of_shuffles_couples_all_groups() -> None:
    block = MGICBlock(16, group_size=4, coarsest=16, coarsest_coupling="shuffle")
    shuffles = [module for module in block.modules() if isinstance(module, Shuffle)]
    assert [module.groups for module in shuffles] == [4, 4]
    with torch.no_grad():
        for shuffle in shuffles:
            shuffle.weight.abs_()
    assert coupled(block, 16).all()


def test_smoothing_in_channels_takes_a_cut_coarsest_level_too() -> None:
    sic = SiC(32, group_size=4, coarsest=8, coarsest_coupling="grouped")
    assert [level.groups for level in sic.hierarchy.levels] == [8, 4, 2]
    assert sum(cost.total.parameters for cost in sic.costs()) == sum(p.numel() for p in sic.parameters())
