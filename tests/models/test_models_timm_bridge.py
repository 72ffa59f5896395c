"""Our classifiers through timm: the same networks, under timm's calling conventions."""

import subprocess
import sys
from typing import Any

import pytest
import timm
import torch
from timm.data import resolve_model_data_config
from torch import nn

import torchmg
from torchmg.errors import MissingExtraError, UnknownNameError, UsageError
from torchmg.models.catalog import MODELS
from torchmg.models.classifier import Classifies
from torchmg.models.timm_bridge import Features

TIMMS = set(timm.list_models())
"""Before anything of ours is there."""
ENTRYPOINTS = {name: timm.model_entrypoint(name) for name in TIMMS}
NAMES = torchmg.register_with_timm()
OURS = {theirs: theirs.removeprefix("torchmg_") for theirs in NAMES}
SMALL = ["mgic_resnet20", "mgiad20", "mgic_vit_cifar", "parabolic", "mgic_mobilenetv3_small_cifar", "shufflenetv2_050"]
"""One of every kind of network and of head."""
ONE_OF_EACH = {(MODELS[ours].builder, MODELS[ours].input): theirs for theirs, ours in OURS.items()}
"""(Builder, input) -> a name."""


def same(one: nn.Module, other: nn.Module) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return list(mine) == list(theirs) and all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_every_classifier_is_registered_once_and_none_of_timms_is_changed() -> None:
    assert list(OURS.values()) == [name for name, entry in MODELS.items() if entry.task == "classify"]
    assert {name for name in NAMES if name.startswith("torchmg_")} == {
        f"torchmg_{n}" for n in OURS.values() if n in TIMMS
    }
    assert torchmg.register_with_timm() == NAMES
    assert set(timm.list_models()) == TIMMS | set(NAMES)
    assert all(timm.model_entrypoint(name) is function for name, function in ENTRYPOINTS.items())
    assert timm.list_models("mgic_resnet1*") == [
        "mgic_resnet18",
        "mgic_resnet18_cifar",
        "mgic_resnet101",
        "mgic_resnet110",
    ]
    assert not set(NAMES) & set(timm.list_models(pretrained=True))
    exec("from torchmg.models.timm_bridge import *", {})


@pytest.mark.parametrize("name", ONE_OF_EACH.values())
def test_what_timm_says_of_a_model_is_true(name: str) -> None:
    with torch.device("meta"):
        model = timm.create_model(name)
    config, entry = model.pretrained_cfg, MODELS[OURS[name]]
    assert config is model.default_cfg
    assert config["architecture"] == name
    assert config["input_size"] == entry.input
    assert sum(p.numel() for p in model.parameters()) == entry.parameters
    registered = timm.get_pretrained_cfg(name)
    assert registered.num_classes == config["num_classes"] == model.num_classes == model.get_classifier().out_features
    assert model.get_submodule(config["classifier"]) is model.get_classifier()
    assert model.get_submodule(config["first_conv"]).in_channels == 3
    assert model.num_features == model.feature_info[-1]["num_chs"]
    assert resolve_model_data_config(model)["input_size"] == entry.input


@pytest.mark.parametrize("name", SMALL)
def test_a_model_is_the_catalogues(name: str) -> None:
    torch.manual_seed(5)
    expected = torchmg.create(name, num_classes=7, in_channels=1).eval()
    torch.manual_seed(5)
    model = timm.create_model(name, pretrained=False, num_classes=7, in_chans=1, drop_path_rate=0.0).eval()
    assert same(model, expected)
    x = torch.rand(2, 1, 32, 32)
    assert torch.equal(model(x), expected(x))
    assert model.default_cfg["input_size"][0] == 1
    assert model.default_cfg["num_classes"] == 7


def test_our_options_pass() -> None:
    model = timm.create_model("mgic_resnet20", width=2.0, group_size=16)
    torch.manual_seed(0)
    assert sum(p.numel() for p in model.parameters()) == sum(
        p.numel() for p in torchmg.create("mgic_resnet20", width=2.0, group_size=16).parameters()
    )


@pytest.mark.parametrize("name", SMALL)
def test_without_classes_pooled_features_come_out_and_a_new_classifier_takes_them(name: str) -> None:
    model = timm.create_model(name, num_classes=0).eval()
    x = torch.rand(2, 3, 32, 32)
    features = model(x)
    assert model.num_classes == 0
    assert features.shape == (2, model.head_hidden_size)
    model.double().reset_classifier(4, global_pool="avg")
    classifier = model.get_classifier()
    assert model.num_classes == 4
    assert torch.allclose(model(x.double()), classifier(features.double()), atol=1e-5)
    assert list(model.state_dict()) == list(torchmg.create(name, num_classes=4).state_dict())
    model.reset_classifier(0)
    assert torch.allclose(model(x.double()), features.double(), atol=1e-5)


@pytest.mark.parametrize("name", [*SMALL, "torchmg_resnet18", "mgic_mobilenetv3_large", "torchmg_efficientnet_b0"])
def test_features_are_those_of_the_model(name: str) -> None:
    torch.manual_seed(5)
    expected = timm.create_model(name).eval()
    torch.manual_seed(5)
    model = timm.create_model(name, features_only=True).eval()
    x = torch.rand(1, 3, 64, 64)
    maps = model(x)
    for mine, theirs in zip(maps, expected.forward_features(x), strict=True):
        assert torch.equal(mine, theirs)
    assert model.feature_info.channels() == [m.shape[1] for m in maps]
    assert model.feature_info.reduction() == [64 // m.shape[2] for m in maps]
    assert all(expected.get_submodule(path) is not None for path in model.feature_info.module_name())
    assert {f"model.{key}" for key in expected.state_dict() if not key.startswith("head.")} == set(model.state_dict())
    assert model.default_cfg["input_size"] == expected.default_cfg["input_size"]


@pytest.mark.parametrize(
    ("out_indices", "kept"), [((1, 2), [1, 2]), ((-1,), [2]), ((2, 0), [2, 0]), (2, [1, 2]), (None, [0, 1, 2])]
)
def test_some_features(out_indices: Any, kept: list[int]) -> None:
    model = timm.create_model("mgic_resnet20", features_only=True, out_indices=out_indices).eval()
    assert isinstance(model, Features)
    assert model.feature_info.channels() == [(16, 32, 64)[index] for index in kept]
    assert model.feature_info.get("index") == kept
    x = torch.rand(1, 3, 16, 16)
    every = model.model.forward_features(x)
    assert all(torch.equal(got, every[index]) for got, index in zip(model(x), kept, strict=True))


def test_a_finer_output() -> None:
    model = timm.create_model("mgic_resnet18", features_only=True, output_stride=8)
    assert model.feature_info.reduction() == [4, 8, 8, 8]
    assert [m.shape[2] for m in model(torch.zeros(2, 3, 64, 64))] == [16, 8, 8, 8]


def test_dropout_is_that_of_heads_that_have_one() -> None:
    rates = {
        rate: [
            m.p for m in timm.create_model("mobilenetv3_small_cifar", **options).modules() if isinstance(m, nn.Dropout)
        ]
        for rate, options in {0.2: {}, 0.0: {"drop_rate": 0.0}, 0.5: {"drop_rate": 0.5}}.items()
    }
    assert rates == {rate: [rate] for rate in rates}
    timm.create_model("mgic_resnet20", drop_rate=0.0)


def test_a_description_can_be_replaced_in_part() -> None:
    model = timm.create_model("mgic_resnet20", pretrained_cfg_overlay={"mean": (0.5,) * 3, "input_size": (3, 28, 28)})
    assert model.default_cfg["mean"] == (0.5,) * 3
    assert model.default_cfg["input_size"] == (3, 28, 28)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"pretrained": True}, UsageError, ["No weights of mgic_resnet20 are published"]),
        ({"drop_rate": 0.1}, UsageError, ["mgic_resnet20 has no dropout", "drop_rate=0.1"]),
        ({"drop_path_rate": 0.1}, UsageError, ["no stochastic depth", "drop_path_rate=0.1"]),
        ({"global_pool": "max"}, UsageError, ["global_pool is 'avg'", "'max'"]),
        ({"features_only": True, "out_indices": (3,)}, UsageError, ["out_indices", "0 to 2", "(3,)"]),
        ({"features_only": True, "out_indices": ()}, UsageError, ["out_indices", "()"]),
        ({"features_only": True, "out_indices": 4}, UsageError, ["out_indices", "3 maps"]),
        ({"output_stride": 3}, UsageError, ["output_stride=3"]),
        ({"num_classes": -1}, UsageError, ["num_classes", "-1"]),
        ({"group_sise": 4}, UnknownNameError, ["no option 'group_sise'", "group_size"]),
    ],
)
def test_bad_options(options: dict[str, Any], error: type[Exception], words: list[str]) -> None:
    with pytest.raises(error) as caught:
        timm.create_model("mgic_resnet20", **options)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_bad_classifiers() -> None:
    model = torchmg.create("mgic_resnet20")
    assert isinstance(model, Classifies)
    with pytest.raises(UsageError, match="global_pool is 'avg'; got 'max'"):
        model.reset_classifier(3, "max")
    with pytest.raises(UsageError, match="num_classes must be a whole number"):
        model.reset_classifier(-3)


def test_without_timm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'torchmg\[timm\]'"):
        torchmg.register_with_timm()


def test_the_catalogue_needs_no_timm() -> None:
    code = (
        "import sys, torchmg; torchmg.create('mgic_resnet20').reset_classifier(3); torchmg.register_with_timm; "
        "assert 'timm' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
