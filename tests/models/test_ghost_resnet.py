"""Ghost-ResNets: counts against arithmetic and the published ones, and the dense networks as a special case."""

import pytest
import torch
from torch import nn

import torchmg
from torchmg.errors import UsageError
from torchmg.models import resnet_cifar, resnet_imagenet
from torchmg.models.ghost_resnet import ghost_resnet_cifar, ghost_resnet_imagenet


def test_counts_beside_the_published_ones() -> None:
    """(parameters, MACs) of ours; the paper prints (0.43 M, 63 M), (13.0 M, 2.2 G), (6.5 M, 1.2 G)."""
    with torch.device("meta"):
        small = torchmg.count(ghost_resnet_cifar(56), (3, 32, 32))
        half, quarter = (torchmg.count(ghost_resnet_imagenet(50, ratio=ratio), (3, 224, 224)) for ratio in (2, 4))
    assert (small.parameters, small.macs) == (438_154, 65_286_784)
    assert (half.parameters, half.macs) == (13_953_512, 2_151_023_360)
    assert (quarter.parameters, quarter.macs) == (8_151_752, 1_181_942_912)
    assert all(row.role != "other" for count in (small, half) for row in count.rows)


def test_the_small_count_is_its_sum() -> None:
    """A module a -> b: 9 a b / 2 weights, 9 b / 2 cheap ones, 2 b of the norms; 18 modules at every width."""
    modules = [(16, 16)] * 18 + [(16, 32)] + [(32, 32)] * 17 + [(32, 64)] + [(64, 64)] * 17
    total = sum(9 * a * b // 2 + 9 * b // 2 + 2 * b for a, b in modules)
    assert total + (27 * 16 + 32) + 650 == 438_154


def copied(ghost: nn.Module, dense: nn.Module) -> None:
    """Give a network of ratio 1 the weights of a dense one whose tensors stand in the same order."""
    mine, other = list(ghost.state_dict().values()), list(dense.state_dict().values())
    assert [t.shape for t in mine] == [t.shape for t in other]
    with torch.no_grad():
        for target, source in zip(mine, other, strict=True):
            target.copy_(source)


@pytest.mark.parametrize("depth", [20, 18])
def test_with_ratio_1_it_is_the_dense_network(depth: int) -> None:
    dense, ghost = resnet_cifar.resnet(depth, width=0.25), ghost_resnet_cifar(depth, width=0.25, ratio=1)
    copied(ghost, dense)
    x = torch.randn(4, 3, 17, 16)
    assert torch.allclose(ghost(x), dense(x), atol=1e-5)


@pytest.mark.parametrize("depth", [18, 50])
def test_with_ratio_1_it_is_the_dense_network_for_imagenet(depth: int) -> None:
    dense = resnet_imagenet.resnet(depth, width=0.125, num_classes=7)
    ghost = ghost_resnet_imagenet(depth, width=0.125, num_classes=7, ratio=1)
    copied(ghost, dense)
    x = torch.randn(4, 3, 65, 64)
    assert torch.allclose(ghost(x), dense(x), atol=1e-4)


def test_it_is_exported_with_a_dynamic_batch() -> None:
    model = ghost_resnet_cifar(8, width=0.5).eval()
    batch = torch.export.Dim("batch")
    exported = torch.export.export(model, (torch.randn(2, 3, 16, 16),), dynamic_shapes=({0: batch},)).module()
    for size in (1, 3):
        x = torch.randn(size, 3, 16, 16)
        assert torch.allclose(exported(x), model(x), atol=1e-5)


def test_widths_that_no_ratio_divides_work() -> None:
    model = ghost_resnet_cifar(8, width=0.45, ratio=4, in_channels=1)
    model(torch.randn(4, 1, 9, 9)).square().sum().backward()
    assert [info["num_chs"] for info in model.feature_info] == [7, 14, 29]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_wrong_sizes_are_explained() -> None:
    with pytest.raises(UsageError, match="ratio must be a whole number"):
        ghost_resnet_cifar(56, ratio=0)
    with pytest.raises(UsageError, match=r"Nearest: 50, 56"):
        ghost_resnet_cifar(55)
    with pytest.raises(UsageError, match="depth must be one of"):
        ghost_resnet_imagenet(56)
