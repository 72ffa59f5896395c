"""Grouped convolutions keep shapes, initialise for their groups, and refuse what they cannot do."""

import pytest
import torch
from torch import nn

from torchmg.errors import GroupError, UsageError
from torchmg.nn import ConvNormAct, GroupedConv2d, LightShortcut


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("pixels", [1, 2, 7, 8])
def test_resolution_is_kept_or_divided_by_the_stride(kernel: int, stride: int, pixels: int) -> None:
    conv = GroupedConv2d(4, 6, kernel, stride=stride, groups=2)
    assert conv(torch.rand(2, 4, pixels, pixels + 1)).shape == (2, 6, -(-pixels // stride), -(-(pixels + 1) // stride))


@pytest.mark.parametrize("groups", [1, 4, 16])
def test_the_signal_keeps_its_size_whatever_the_groups(groups: int) -> None:
    conv = GroupedConv2d(256, 256, 3, groups=groups)
    assert conv.weight.std().item() == pytest.approx((2 / (256 // groups * 9)) ** 0.5, rel=0.02)
    x = torch.randn(8, 256, 9, 9).relu()
    y = conv(x)[:, :, 1:-1, 1:-1]
    assert y.pow(2).mean().item() == pytest.approx(2 * x.pow(2).mean().item(), rel=0.1)
    assert conv.bias is None


def test_conv_norm_act_is_the_three_in_order() -> None:
    module = ConvNormAct(3, 8, 3).eval()
    module.norm.running_mean.fill_(0.3)
    x = torch.randn(2, 3, 5, 5)
    y = nn.functional.conv2d(x, module.conv.weight, padding=1)
    assert torch.allclose(module(x), ((y - 0.3) / (1 + module.norm.eps) ** 0.5).relu(), atol=1e-6)
    assert (ConvNormAct(3, 8, 3, act=None)(x) < 0).any()


@pytest.mark.parametrize(("c_in", "c_out", "groups"), [(16, 32, 16), (16, 24, 8), (24, 40, 8), (5, 7, 1), (32, 16, 16)])
def test_the_light_shortcut_is_as_depthwise_as_the_widths_allow(c_in: int, c_out: int, groups: int) -> None:
    light = LightShortcut(c_in, c_out, 2)
    assert sum(p.numel() for p in light.parameters()) == c_in * c_out * 9 // groups + 2 * c_out
    out = light(torch.randn(2, c_in, 9, 9))
    assert out.shape == (2, c_out, 5, 5)
    assert (out >= 0).all()
    dense = LightShortcut(c_in, c_out, 2, kind="pointwise", act=None)
    assert sum(p.numel() for p in dense.parameters()) == c_in * c_out + 2 * c_out
    assert (dense(torch.randn(2, c_in, 9, 9)) < 0).any()


@pytest.mark.parametrize(
    ("arguments", "options", "error", "words"),
    [
        ((96, 96, 3), {"groups": 20}, GroupError, ["96", "20", "96 -> 96", "16", "24", "32"]),
        ((96, 100, 3), {"groups": 3}, GroupError, ["100 channels", "3", "2", "4"]),
        ((8, 8, 3), {"groups": 0}, GroupError, ["8 channels", "0 equal groups", "1, 2, 4, 8"]),
        ((8, 8, 3), {"groups": -2}, GroupError, ["8 channels", "-2"]),
        ((8, 8, 4), {}, UsageError, ["odd", "4", "3 or 5"]),
        ((8, 8, 2), {}, UsageError, ["odd", "2", "1 or 3"]),
    ],
)
def test_impossible_convolutions(
    arguments: tuple[int, int, int], options: dict[str, int], error: type[Exception], words: list[str]
) -> None:
    with pytest.raises(error) as caught:
        GroupedConv2d(*arguments, **options)
    assert all(word in str(caught.value) for word in words), str(caught.value)
