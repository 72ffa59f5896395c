"""Segmenters: torchvision's heads, published counts, any backbone, and what is exported."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models.segmentation import deeplabv3_resnet50, lraspp_mobilenet_v3_large
from torchvision.models.segmentation.lraspp import LRASPPHead

import torchmg
from torchmg.errors import ShapeError, TorchmgError, UnknownNameError, UsageError
from torchmg.models.catalog import find
from torchmg.models.mobilenetv3 import mobilenetv3
from torchmg.models.resnet_imagenet import resnet
from torchmg.models.segmentation import LRASPP, WINDOW_STRIDE, Segmenter, lraspp, mgic_deeplabv3, mgic_lraspp, resized


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def narrow(head: Any = "lraspp", classes: int = 5, output_stride: int = 16, in_channels: int = 3) -> Segmenter:
    return Segmenter(resnet(18, width=0.125, in_channels=in_channels), head, classes, output_stride)


# ---- against torchvision


def test_lraspp_is_torchvisions_on_maps_of_one_window() -> None:
    theirs, ours = LRASPPHead(40, 960, 7, 128).double().eval(), LRASPP(40, 960, 7).double().eval()
    norm = theirs.cbr[1]
    assert isinstance(norm, nn.BatchNorm2d)
    nn.init.uniform_(norm.running_var, 0.5, 2.0)  # pyright: ignore
    pairs = {"project.conv": "cbr.0", "project.norm": "cbr.1", "weigh": "scale.1"}
    pairs |= {"classify": "high_classifier", "classify_low": "low_classifier"}
    state = {
        f"{mine}.{key}": value
        for mine, other in pairs.items()
        for key, value in theirs.get_submodule(other).state_dict().items()
    }
    ours.load_state_dict({key: value.view_as(ours.state_dict()[key]) for key, value in state.items()}, strict=True)
    low, high = torch.randn(2, 40, 16, 20, dtype=torch.float64), torch.randn(2, 960, 8, 10, dtype=torch.float64)
    assert torch.allclose(ours(low, high), theirs({"low": low, "high": high}), atol=1e-10)


def test_wide_networks_have_torchvisions_parameters() -> None:
    theirs = lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=21)
    ours = Segmenter(mobilenetv3("large"), "lraspp", 21, 16)
    assert parameters(ours) == parameters(theirs) == 3_221_538


@pytest.mark.slow
def test_deeplabv3_has_torchvisions_parameters() -> None:
    theirs = deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=19)
    assert find("deeplabv3_resnet50").parameters == parameters(theirs)


@pytest.mark.parametrize(
    ("size", "parameters", "macs"), [("large", 1_505_550, 9_317_951_616), ("small", 467_486, 2_689_335_040)]
)
def test_published_counts(size: Any, parameters: int, macs: int) -> None:
    counted = torchmg.count(lraspp(size), (3, 1024, 2048))
    assert (counted.parameters, counted.macs) == (parameters, macs)


def test_large_maps_are_pooled_in_windows() -> None:
    head = LRASPP(4, 6, 3).double().eval()
    low, high = torch.randn(1, 4, 130, 140, dtype=torch.float64), torch.randn(1, 6, 65, 70, dtype=torch.float64)
    rows, columns = WINDOW_STRIDE
    windows = [[high[:, :, y : y + 49, x : x + 49].mean((2, 3)) for x in (0, columns)] for y in (0, rows)]
    means = torch.stack([torch.stack(row, -1) for row in windows], -2)
    weights = nn.functional.interpolate(head.weigh(means).sigmoid(), (65, 70), mode="bilinear", align_corners=False)
    inner = nn.functional.interpolate(head.project(high) * weights, (130, 140), mode="bilinear", align_corners=False)
    assert torch.allclose(head(low, high), head.classify(inner) + head.classify_low(low), atol=1e-10)


# ---- over any backbone

BACKBONES: dict[str, dict[str, Any]] = {
    "resnet20": {"width": 0.5},
    "mgic_resnet18": {"width": 0.25, "group_size": 4, "coarsest": 8},
    "mgiad20": {"width": 0.5, "group_size": 4},
    "ghostnet_050": {},
    "vit_cifar": {"width": 0.25},
    "mobilenetv3_small": {"width": 0.5},
}


@pytest.mark.filterwarnings("ignore::torchmg.errors.HierarchyWarning")
@pytest.mark.parametrize("head", ["lraspp", "deeplabv3"])
@pytest.mark.parametrize("name", BACKBONES)
def test_any_backbone_of_the_catalogue_carries_a_head(name: str, head: Any) -> None:
    backbone = torchmg.create(name, **BACKBONES[name])
    coarsest = max(info["reduction"] for info in backbone.feature_info)
    model = Segmenter(backbone, head, 5, 16)
    x = torch.randn(2, 3, 48, 80)
    logits = model(x)
    assert logits.shape == (2, 5, 48, 80)
    nn.functional.cross_entropy(logits, torch.randint(5, (2, 48, 80))).backward()
    for path, parameter in model.named_parameters():
        assert parameter.grad is not None, path
        assert parameter.grad.isfinite().all(), path
        assert parameter.grad.any(), path
    features = model.forward_features(x)
    assert features[-1].shape[2] == 48 // min(coarsest, 16)
    assert model.feature_info[model.low]["reduction"] == min(coarsest, 8)
    counted = torchmg.count(model, (3, 48, 80))
    assert counted.parameters == parameters(model)
    assert all(row.role != "other" for row in counted.rows)


@pytest.mark.parametrize("output_stride", [8, 16, 32])
@pytest.mark.parametrize("pixels", [(64, 96), (33, 50)])
def test_output_strides(output_stride: int, pixels: tuple[int, int]) -> None:
    for head in ("lraspp", "deeplabv3"):
        model = narrow(head, output_stride=output_stride).eval()
        x = torch.randn(1, 3, *pixels)
        last = model.forward_features(x)[-1]
        assert last.shape[2:] == tuple(-(-side // output_stride) for side in pixels)
        assert model(x).shape == (1, 5, *pixels)


def test_strides_do_not_change_parameters() -> None:
    for make in (lraspp, mgic_lraspp):
        assert len({parameters(make("small", width=0.5, output_stride=stride)) for stride in (8, 16, 32)}) == 1


def test_the_finer_map_has_an_eighth_of_the_resolution() -> None:
    for stride, index in ((8, 1), (16, 1), (32, 1)):
        assert narrow(output_stride=stride).low == index
    assert torchmg.create("lraspp_mobilenetv3_large").feature_info[2]["num_chs"] == 40
    assert torchmg.create("lraspp_mobilenetv3_large").low == 2


def test_resizing_is_bilinear_and_free_for_equal_sizes() -> None:
    x = torch.randn(1, 2, 3, 4)
    assert resized(x, torch.empty(1, 9, 3, 4)) is x
    assert torch.allclose(resized(torch.ones(1, 1, 2, 2), torch.empty(1, 1, 7, 5)), torch.ones(1, 1, 7, 5))


def test_multigrid_leaves_the_heads_dense() -> None:
    dense, multigrid = torchmg.create("lraspp_mobilenetv3_small"), torchmg.create("mgic_lraspp_mobilenetv3_small")
    shapes = [[p.shape for p in model.classifier.parameters()] for model in (dense, multigrid)]
    assert shapes[0] == shapes[1]
    roles = {role for role, *_ in torchmg.count(multigrid, (3, 64, 64)).by("role")}
    assert roles == {"stem", "head", "shortcut", "relax", "coarsest", "restrict", "prolong"}
    changed = torchmg.create("mgic_lraspp_mobilenetv3_small", group_size=8, se_levels="all")
    assert parameters(changed.backbone) != parameters(multigrid.backbone)


# ---- export


@pytest.mark.parametrize("head", ["lraspp", pytest.param("deeplabv3", marks=pytest.mark.slow)])
@pytest.mark.parametrize("ending", ["pt2", pytest.param("onnx", marks=pytest.mark.slow)])
def test_exported_files_answer_alike(head: Any, ending: str, tmp_path: Path) -> None:
    model = narrow(head)
    with torch.no_grad():
        for _ in range(3):
            model(2 * torch.randn(4, 3, 32, 48) + 1)
    exported = torchmg.export(model, tmp_path / f"net.{ending}", input=(3, 32, 48))
    assert [check.batch for check in exported.checks] == [1, 2, 5]
    assert all(check.relative <= 1e-4 for check in exported.checks)


# ---- what is wrong is named


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: narrow("lrasp"), UnknownNameError, ["head='lrasp'", "lraspp"]),
        (lambda: narrow(classes=0), UsageError, ["num_classes", "got 0"]),
        (lambda: narrow(output_stride=12), UnknownNameError, ["output_stride", "12", "16"]),
        (lambda: narrow(output_stride=4), UnknownNameError, ["output_stride", "4", "8"]),
        (lambda: Segmenter(nn.Conv2d(3, 8, 3), "lraspp", 2), UsageError, ["Conv2d", "feature_info"]),
        (lambda: lraspp("smal"), UnknownNameError, ["size='smal'", "small"]),  # pyright: ignore
        (lambda: mgic_lraspp("smal"), UnknownNameError, ["size='smal'", "small"]),  # pyright: ignore
        (lambda: lraspp("small", num_classes=0), UsageError, ["num_classes", "got 0"]),
        (lambda: lraspp("small", width=-1.0), UsageError, ["width", "-1"]),
        (lambda: mgic_lraspp("small", group_size=0), UsageError, ["group_size"]),
        (lambda: mgic_lraspp("small", preset="papr"), UnknownNameError, ["preset", "paper"]),  # pyright: ignore
        (lambda: mgic_deeplabv3(51), UsageError, ["51", "50"]),
        (lambda: narrow()(torch.zeros(2, 1, 32, 32)), ShapeError, ["(batch, 3, H, W)", "(2, 1, 32, 32)"]),
        (lambda: torchmg.create("lraspp_mobilenetv3_small", output_strid=8), UnknownNameError, ["output_stride"]),
    ],
)
def test_what_is_wrong_is_named(make: Any, error: type[TorchmgError], words: list[str]) -> None:
    with pytest.raises(error) as caught:
        make()
    assert all(word in str(caught.value) for word in words), str(caught.value)
