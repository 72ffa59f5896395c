"""Ghost modules against their definition written out channel by channel, and against the published GhostNet block."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from torchmg.errors import GroupError, UsageError
from torchmg.nn import MGICBlock
from torchmg.nn.ghost import Ghost, GhostBottleneck


@given(
    widths=st.tuples(st.integers(1, 6), st.integers(1, 11)),
    ratio=st.integers(1, 4),
    sizes=st.tuples(st.sampled_from([1, 3]), st.sampled_from([1, 3, 5])),
    stride=st.integers(1, 2),
)
def test_every_channel_is_what_the_definition_says(
    widths: tuple[int, int], ratio: int, sizes: tuple[int, int], stride: int
) -> None:
    """Channel i is the primary convolution's, or a cheap map of primary channel (i - n) // (ratio - 1)."""
    module = Ghost(*widths, sizes[0], ratio=ratio, cheap_size=sizes[1], stride=stride, act=None).double().eval()
    x = torch.randn(2, widths[0], 5, 4, dtype=torch.float64)
    y = module(x)
    scale = (1 + 1e-5) ** -0.5  # of a fresh norm
    primary = scale * F.conv2d(x, module.primary.conv.weight, stride=stride, padding=sizes[0] // 2)
    count = -(-widths[1] // ratio)
    assert y.shape == (2, widths[1], -(-5 // stride), -(-4 // stride))
    assert torch.allclose(y[:, :count], primary, atol=1e-12)
    for channel in range(count, widths[1]):
        assert module.cheap is not None
        kernel = module.cheap.conv.weight[channel - count, 0]
        source = primary[:, (channel - count) // (ratio - 1), None]
        ghost = scale * F.conv2d(source, kernel[None, None], padding=sizes[1] // 2)[:, 0]
        assert torch.allclose(y[:, channel], ghost, atol=1e-12)


def test_a_module_is_cheaper_by_about_its_ratio() -> None:
    dense = 64 * 64 * 9
    for ratio in (2, 4):
        weights = [p.numel() for p in Ghost(64, 64, 3, ratio=ratio).parameters() if p.dim() == 4]
        assert sum(weights) == dense // ratio + 9 * (64 - 64 // ratio)


def test_a_bottleneck_is_timms() -> None:
    """GhostNet's block of stride 1, with the same weights."""
    timm = pytest.importorskip("timm.models.ghostnet")
    theirs = timm.GhostBottleneck(12, 30, 12).eval()
    ours = GhostBottleneck(12, hidden=30).eval()
    pairs = [(ours.expand, theirs.ghost1), (ours.project, theirs.ghost2)]
    for mine, other in pairs:
        for part, operation in ((mine.primary, other.primary_conv), (mine.cheap, other.cheap_operation)):
            assert part is not None
            nn.init.uniform_(operation[1].weight)
            part.conv.load_state_dict(operation[0].state_dict())
            part.norm.load_state_dict(operation[1].state_dict())
    x = torch.randn(2, 12, 6, 7)
    assert torch.allclose(ours(x), theirs(x), atol=1e-5)


def test_a_bottleneck_relaxes_in_a_hierarchy() -> None:
    block = MGICBlock(32, relax=lambda channels, groups: GhostBottleneck(channels, groups, hidden=2 * channels))
    assert block(torch.randn(2, 32, 4, 4)).shape == (2, 32, 4, 4)
    assert len(block.relax) == 2


@pytest.mark.parametrize("dims", [1, 3])
def test_other_numbers_of_axes_work(dims: int) -> None:
    x = torch.randn(2, 4, *[5] * dims)
    assert GhostBottleneck(4, hidden=7, dims=dims)(x).shape == x.shape  # pyright: ignore[reportArgumentType]


def test_what_is_wrong_is_explained() -> None:
    with pytest.raises(UsageError, match="ratio must be a whole number, at least 1"):
        Ghost(4, 4, ratio=0)
    with pytest.raises(UsageError, match="needs spatial axes"):
        Ghost(4, 4, dims=0)
    with pytest.raises(UsageError, match="kernel_size must be odd"):
        Ghost(4, 4, cheap_size=2)
    with pytest.raises(GroupError):
        Ghost(4, 6, groups=2)
