"""Rivals compute what their sources do, to the bit, with the sources' counts."""

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision.models
from torch import nn

import torchmg
from torchmg.errors import MissingExtraError, ShapeError, UnknownNameError, UsageError
from torchmg.models.rivals import Rival, efficientnet_b0, ghostnet, mobilenetv2, mobilenetv3, shufflenetv2

Build = Callable[..., Rival]

CASES: list[tuple[str, Build, dict[str, Any], str, int, int]] = [
    ("ghostnet_050", ghostnet, {"width": 0.5}, "timm", 2_587_292, 42_328_152),
    ("ghostnet_100", ghostnet, {}, "timm", 5_182_508, 141_150_512),
    ("ghostnet_130", ghostnet, {"width": 1.3}, "timm", 7_358_820, 227_003_256),
    ("shufflenet_v2_x0_5", shufflenetv2, {"width": 0.5}, "torchvision", 1_366_792, 40_476_448),
    ("shufflenet_v2_x1_0", shufflenetv2, {}, "torchvision", 2_278_604, 144_907_992),
    ("shufflenet_v2_x1_5", shufflenetv2, {"width": 1.5}, "torchvision", 3_503_624, 295_759_392),
    ("shufflenet_v2_x2_0", shufflenetv2, {"width": 2}, "torchvision", 7_393_996, 583_253_464),
    ("mobilenet_v2", mobilenetv2, {}, "torchvision", 3_504_872, 300_774_272),
    ("mobilenetv3_large_075", mobilenetv3, {"width": 0.75}, "timm", 3_993_528, 154_560_624),
    ("mobilenet_v3_large", mobilenetv3, {}, "torchvision", 5_483_032, 216_589_760),
    ("mobilenetv3_small_075", mobilenetv3, {"variant": "small", "width": 0.75}, "timm", 2_041_872, 43_399_344),
    ("mobilenet_v3_small", mobilenetv3, {"variant": "small"}, "torchvision", 2_542_856, 56_510_400),
    ("efficientnet_b0", efficientnet_b0, {}, "torchvision", 5_288_548, 385_814_752),
]
FIVE = [ghostnet, shufflenetv2, mobilenetv2, mobilenetv3, efficientnet_b0]


def source(name: str, origin: str, num_classes: int) -> nn.Module:
    if origin == "timm":
        return timm.create_model(name, pretrained=False, num_classes=num_classes)
    return getattr(torchvision.models, name)(weights=None, num_classes=num_classes)


@pytest.mark.parametrize(
    ("name", "build", "options", "origin", "parameters", "macs"), CASES, ids=[case[0] for case in CASES]
)
def test_a_rival_is_its_source(
    name: str, build: Build, options: dict[str, Any], origin: str, parameters: int, macs: int
) -> None:
    torch.manual_seed(3)
    expected = source(name, origin, 7)
    state = torch.get_rng_state()
    torch.manual_seed(3)
    model = build(**options, num_classes=7)
    assert torch.equal(torch.get_rng_state(), state), "the frame draws nothing"
    assert all(module.training for module in model.modules())
    ours, theirs = list(model.state_dict().values()), list(expected.state_dict().values())
    assert len(ours) == len(theirs)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True)), "the same draws, in the same order"
    x = torch.randn(2, 3, 64, 64)
    torch.manual_seed(4)
    trained = expected(x)
    torch.manual_seed(4)
    assert torch.equal(model(x), trained), "dropout and stochastic depth included"
    assert torch.equal(model.eval()(x), expected.eval()(x))

    counted = torchmg.count(build(**options), input=(3, 224, 224))
    assert (counted.parameters, counted.macs, counted.unknown) == (parameters, macs, ())
    assert {role for role, *_ in counted.by("role")} == {"stem", "head", "relax"}


@pytest.mark.parametrize("build", FIVE)
def test_features_are_the_last_of_each_resolution(build: Build) -> None:
    model = build(num_classes=5).eval()
    outputs: dict[str, torch.Tensor] = {}
    for path, part in [("stem", model.stem), *((f"blocks.{i}", block) for i, block in enumerate(model.blocks))]:
        part.register_forward_hook(lambda module, args, out, path=path: outputs.update({path: out.clone()}))
    features = model.forward_features(torch.randn(1, 3, 65, 97))
    last = {out.shape[2]: path for path, out in outputs.items()}
    assert [info["module"] for info in model.feature_info] == list(last.values())
    for feature, info in zip(features, model.feature_info, strict=True):
        height, width = -(-65 // info["reduction"]), -(-97 // info["reduction"])
        assert feature.shape == (1, info["num_chs"], height, width)
        assert torch.equal(feature, outputs[info["module"]]), "no later layer works in place on it"
        module = model.get_submodule(info["module"])
        assert isinstance(module, nn.Module)


@pytest.mark.parametrize("build", FIVE)
def test_other_channels_change_only_the_first_convolution(build: Build) -> None:
    ours, grey = build(num_classes=5), build(num_classes=5, in_channels=1)
    differing = [
        (a.shape, b.shape) for a, b in zip(ours.parameters(), grey.parameters(), strict=True) if a.shape != b.shape
    ]
    ((three, one),) = differing
    assert (three[1], one[1]) == (3, 1)
    assert grey(torch.randn(2, 1, 32, 32)).shape == (2, 5)
    first = next(grey.parameters())
    assert first.std() < 1.5 * next(ours.parameters()).std() * 3**0.5
    with pytest.raises(ShapeError, match="1, H, W"):
        grey(torch.randn(2, 3, 32, 32))


@pytest.mark.parametrize("build", [ghostnet, lambda **k: mobilenetv3(width=0.75, **k)])
def test_norms_can_be_converted_for_several_processes(build: Build) -> None:
    model = build(num_classes=5).eval()
    x = torch.randn(1, 3, 32, 32)
    expected = model(x)
    assert torch.equal(nn.SyncBatchNorm.convert_sync_batchnorm(model)(x), expected)


SLOW = [ghostnet, mobilenetv2, mobilenetv3, lambda **k: mobilenetv3(width=0.75, **k), efficientnet_b0]


@pytest.mark.parametrize("build", [shufflenetv2, *(pytest.param(build, marks=pytest.mark.slow) for build in SLOW)])
@pytest.mark.parametrize("ending", ["pt2", pytest.param("onnx", marks=pytest.mark.slow)])
def test_exported_files_answer_alike(build: Build, ending: str, tmp_path: Path) -> None:
    model = build(num_classes=5)
    with torch.no_grad():
        for _ in range(3):
            model(2 * torch.randn(4, 3, 64, 64) + 1)
    exported = torchmg.export(model, tmp_path / f"net.{ending}", input=(3, 64, 64))
    assert [check.batch for check in exported.checks] == [1, 2, 5]
    assert all(check.relative <= 1e-4 for check in exported.checks)


def test_mobilenetv2_takes_any_width() -> None:
    assert torchmg.count(mobilenetv2(width=0.6), (3, 224, 224)).parameters == 2_217_000


@pytest.mark.parametrize(
    ("build", "options", "error", "message"),
    [
        (ghostnet, {"width": 0.6}, UsageError, "choose from 0.5, 1.0, 1.3"),
        (shufflenetv2, {"width": float("nan")}, UsageError, "choose from 0.5, 1.0, 1.5, 2.0"),
        (mobilenetv3, {"width": 0.5}, UsageError, "MobileNetV3-Large has no width 0.5; choose from 0.75, 1.0"),
        (mobilenetv3, {"variant": "smal"}, UnknownNameError, "small"),
        (mobilenetv2, {"width": 0}, UsageError, "positive"),
        (mobilenetv2, {"width": float("inf")}, UsageError, "positive"),
        (efficientnet_b0, {"num_classes": 0}, UsageError, "num_classes"),
        (shufflenetv2, {"in_channels": 1.5}, UsageError, "in_channels"),
    ],
)
def test_what_the_sources_lack(build: Build, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        build(**options)


def test_timm_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingExtraError, match=r"GhostNet needs the extra 'timm': pip install 'torchmg\[timm\]'"):
        ghostnet()
    mobilenetv3(num_classes=2)


def test_nothing_is_downloaded_or_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def refuse(*args: Any) -> None:
        raise AssertionError("no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for build in FIVE:
            build(num_classes=2)
