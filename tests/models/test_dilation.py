"""A dilated backbone computes, on the pixels of the strided one, what that one does."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from torchmg.errors import UsageError
from torchmg.models.dilation import dilate
from torchmg.models.mobilenetv3 import mgic_mobilenetv3, mobilenetv3
from torchmg.models.resnet_cifar import resnet as resnet_cifar
from torchmg.models.resnet_imagenet import mgic_resnet, resnet
from torchmg.models.rivals import ghostnet, mobilenetv2, shufflenetv2
from torchmg.nn.inverted_residual import SqueezeExcite

Build = Callable[[], Any]


def mgic_large() -> nn.Module:
    return mgic_mobilenetv3("large", width=0.5, group_size=4, coarsest=16, num_classes=2)


BACKBONES: dict[str, Build] = {
    "resnet18": lambda: resnet(18, width=0.25, num_classes=2),
    "resnet50": lambda: resnet(50, width=0.25, num_classes=2),
    "mgic_resnet18": lambda: mgic_resnet(18, width=0.25, group_size=4, coarsest=8, num_classes=2),
    "mgic_resnet50": lambda: mgic_resnet(50, width=0.25, group_size=4, coarsest=16, num_classes=2),
    "mobilenetv3_small": lambda: mobilenetv3("small", width=0.5, num_classes=2),
    "mobilenetv3_large": lambda: mobilenetv3("large", width=0.5, num_classes=2),
    "mgic_mobilenetv3_small": lambda: mgic_mobilenetv3("small", width=0.5, group_size=4, coarsest=8, num_classes=2),
    "mgic_mobilenetv3_large": mgic_large,
    "mgic_dense_shortcut": lambda: mgic_mobilenetv3("small", width=0.5, shortcut="pointwise", num_classes=2),
    "ghostnet": lambda: ghostnet(width=0.5, num_classes=2),
    "mobilenetv2": lambda: mobilenetv2(width=0.35, num_classes=2),
    "shufflenetv2": lambda: shufflenetv2(width=0.5, num_classes=2),
}


def prepared(build: Build) -> Any:
    """In eval mode and float64, with norms that matter and squeeze and excitation that does not look at the image."""
    model = build().double().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.1, 0.5)
            nn.init.normal_(module.bias, std=0.3)
        if isinstance(module, SqueezeExcite):
            nn.init.zeros_(module.excite.weight)
        if type(module).__name__ in ("SqueezeExcitation", "SqueezeExcite") and not isinstance(module, SqueezeExcite):
            last = module.fc2 if hasattr(module, "fc2") else module.conv_expand
            nn.init.zeros_(last.weight)  # pyright: ignore
    return model


@pytest.mark.parametrize("output_stride", [8, 16])
@pytest.mark.parametrize("name", BACKBONES)
def test_on_the_strided_networks_pixels_it_is_the_strided_network(name: str, output_stride: int) -> None:
    strided = prepared(BACKBONES[name])
    dilated = copy.deepcopy(strided)
    dilate(dilated, output_stride)
    x = torch.randn(1, 3, 96, 128, dtype=torch.float64)
    both = zip(
        strided.forward_features(x),
        dilated.forward_features(x),
        strided.feature_info,
        dilated.feature_info,
        strict=True,
    )
    for coarse, fine, before, after in both:
        assert after["reduction"] == min(before["reduction"], output_stride)
        assert fine.shape == (1, after["num_chs"], 96 // after["reduction"], 128 // after["reduction"])
        step = before["reduction"] // after["reduction"]
        difference = (fine[:, :, ::step, ::step] - coarse).abs().max() / coarse.abs().max()
        assert difference < 1e-10
    assert coarse.std() > 1e-3
    assert fine[:, :, 1::step, ::step].sub(coarse[:, :, :, :]).abs().max() > 1e-3, "the new pixels are others"


@pytest.mark.parametrize("name", BACKBONES)
def test_weights_and_their_names_stay(name: str) -> None:
    model = BACKBONES[name]()
    before = copy.deepcopy(model.state_dict())
    dilate(model, 8)
    assert list(model.state_dict()) == list(before)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    model.load_state_dict(before, strict=True)


@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_a_backbone_that_is_no_coarser_is_left_alone(output_stride: int) -> None:
    model = resnet_cifar(20, width=0.25)
    before, info = str(model), copy.deepcopy(model.feature_info)
    dilate(model, output_stride)
    assert (str(model), model.feature_info) == (before, info)


def test_twice_is_once() -> None:
    once, twice = BACKBONES["mobilenetv3_small"](), BACKBONES["mobilenetv3_small"]()
    dilate(once, 8)
    dilate(twice, 16)
    dilate(twice, 16)
    assert str(once) != str(twice)
    again = BACKBONES["mobilenetv3_small"]()
    dilate(again, 16)
    assert str(again) == str(twice)


def test_what_lies_between_feature_maps_is_named() -> None:
    with pytest.raises(UsageError, match="output_stride=12 is between feature maps; this backbone has 4, 8, 16, 32"):
        dilate(resnet(18, width=0.25), 12)
