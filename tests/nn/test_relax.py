"""Relaxations against functional convolutions, and their group pattern."""

import pytest
import torch
from helpers import make_positive, neighbour_group, pixel_jacobian, same_group
from torch import nn
from torch.nn import functional as F

from torchmg.errors import GroupError, UsageError
from torchmg.nn import Bottleneck, MGICBlock, Residual, ResNeXtBottleneck, WideBottleneck


def norm(x: torch.Tensor, module: nn.BatchNorm2d) -> torch.Tensor:
    """Batch normalisation in training mode, from its definition."""
    mean, variance = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True, correction=0)
    scale, shift = module.weight[:, None, None], module.bias[:, None, None]
    return (x - mean) / (variance + module.eps).sqrt() * scale + shift


def randomise_norms(module: nn.Module) -> None:
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.bias, -1, 1)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_residual_is_its_formula(groups: int) -> None:
    block = Residual(8, groups).double()
    randomise_norms(block)
    x = torch.randn(3, 8, 6, 6, dtype=torch.float64)
    y = norm(F.conv2d(x, block.conv1.weight, padding=1, groups=groups), block.norm1).relu()
    y = norm(F.conv2d(y, block.conv2.weight, padding=1, groups=groups), block.norm2)
    assert torch.allclose(block(x), (x + y).relu(), atol=1e-12)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_bottleneck_is_its_formula(groups: int) -> None:
    block = Bottleneck(16, groups).double()
    randomise_norms(block)
    x = torch.randn(3, 16, 6, 6, dtype=torch.float64)
    y = norm(F.conv2d(x, block.conv1.weight, groups=groups), block.norm1).relu()
    assert y.shape[1] == 4
    y = norm(F.conv2d(y, block.conv2.weight, padding=1, groups=groups), block.norm2).relu()
    y = norm(F.conv2d(y, block.conv3.weight, groups=groups), block.norm3)
    assert torch.allclose(block(x), (x + y).relu(), atol=1e-12)


@pytest.mark.parametrize(("kind", "middle_groups"), [(WideBottleneck, None), (ResNeXtBottleneck, 32)])
@pytest.mark.parametrize("groups", [1, 2, 4, 64])
def test_bottlenecks_with_wide_middles(kind: type[Bottleneck], middle_groups: int | None, groups: int) -> None:
    """Weights as of torchvision's wide and ResNeXt blocks, in groups."""
    block = kind(256, groups)
    middle = max(groups, middle_groups or 1)
    shapes = [tuple(conv.weight.shape) for conv in (block.conv1, block.conv2, block.conv3)]
    assert shapes == [(128, 256 // groups, 1, 1), (128, 128 // middle, 3, 3), (256, 128 // groups, 1, 1)]
    assert block(torch.randn(2, 256, 3, 3)).shape == (2, 256, 3, 3)


def test_a_middle_that_32_does_not_divide_has_their_common_divisor() -> None:
    assert ResNeXtBottleneck(48).conv2.groups == 8
    with pytest.raises(UsageError, match=r"multiple of 2; got 15\. Nearest: 14, 16"):
        WideBottleneck(15)


@pytest.mark.parametrize(("relax", "closed"), [("wide_bottleneck", True), ("resnext", False)])
def test_a_block_of_wide_bottlenecks_measures_its_sizes_on_the_middle(relax: str, closed: bool) -> None:
    block = MGICBlock(256, relax=relax, group_size=32, coarsest=64)
    assert [(lv.channels, lv.hidden, lv.groups) for lv in block.hierarchy.levels] == [(256, 128, 4), (128, 64, 1)]
    assert ("ratio" in repr(block)) == closed, "grouped middles have no closed form to compare with"
    if closed:
        assert block.costs() == block.hierarchy.costs("bottleneck")


@pytest.mark.parametrize("kind", [Residual, Bottleneck, WideBottleneck])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_relaxations_couple_exactly_the_channels_of_a_group(kind: type[nn.Module], groups: int) -> None:
    block = make_positive(kind(16, groups))
    group = neighbour_group(16, groups)
    assert torch.equal(pixel_jacobian(block, 16) != 0, same_group(group, group))


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((18,), UsageError, ["multiple of 4", "18", "16, 20"]),
        ((3,), UsageError, ["multiple of 4", "3", "4"]),
        ((16, 8), GroupError, ["4 channels", "8 equal groups", "middle of a bottleneck of 16"]),
        ((24, 4), GroupError, ["6 channels", "4 equal groups", "3"]),
        ((16, 2, 2), UsageError, ["odd", "1 or 3"]),
    ],
)
def test_impossible_bottlenecks(arguments: tuple[int, ...], error: type[Exception], words: list[str]) -> None:
    with pytest.raises(error) as caught:
        Bottleneck(*arguments)
    assert all(word in str(caught.value) for word in words), str(caught.value)
