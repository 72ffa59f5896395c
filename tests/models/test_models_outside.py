"""Models of timm and torchvision by name are those libraries' own; weights are fetched only when asked for."""

import subprocess
import sys
from typing import Any

import pytest
import timm
import torch
import torchvision.models
from torch import Tensor, nn
from torchvision.models import ResNet18_Weights, _api

import torchmg
from torchmg.cli import run
from torchmg.errors import DataError, MissingExtraError, UnknownNameError, UsageError
from torchmg.models.libraries import library_of
from torchmg.models.outside import build_outside, input_of, without_weights
from torchmg.models.user import build
from torchmg.train.recipe import Recipe


def same(one: nn.Module, other: nn.Module) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return list(mine) == list(theirs) and all(torch.equal(mine[name], theirs[name]) for name in mine)


def shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What torchvision's weights would be, by the file they come from; nothing else can be fetched."""
    known: dict[str, Any] = {}

    def fetch(url: str, *_: Any, **__: Any) -> dict[str, Tensor]:
        return next(state for part, state in known.items() if part in url)

    monkeypatch.setattr(_api, "load_state_dict_from_url", fetch)
    return known


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ("timm:resnet50.a1_in1k", ("timm", "resnet50.a1_in1k")),
        ("torchvision:resnet18", ("torchvision", "resnet18")),
        ("timm:", ("timm", "")),
        ("mgic_resnet20", None),
        ("timm", None),
        ("keras:resnet50", None),
        ("timm:x.py:net", None),
        ("file.py:timm", None),
    ],
)
def test_names_of_libraries(spec: str, found: tuple[str, str] | None) -> None:
    assert library_of(spec) == found


def test_a_model_of_timm_is_timms() -> None:
    torch.manual_seed(4)
    expected = timm.create_model("resnet18", num_classes=7, in_chans=1)
    torch.manual_seed(4)
    model = build("timm:resnet18", num_classes=7, in_channels=1)
    assert same(model, expected)
    assert input_of(model, "timm:resnet18") == tuple(model.pretrained_cfg["input_size"]) == (3, 224, 224)
    wide = build("timm:vit_tiny_patch16_384")
    assert input_of(wide, "timm:vit_tiny_patch16_384") == (3, 384, 384)


def test_a_model_of_torchvision_is_torchvisions() -> None:
    torch.manual_seed(4)
    expected = torchvision.models.get_model("resnet18", weights=None, num_classes=7)
    torch.manual_seed(4)
    model = build("torchvision:resnet18", num_classes=7, in_channels=3)
    assert same(model, expected)
    assert input_of(model, "torchvision:resnet18") is None
    assert input_of(torchmg.create("mgic_resnet20"), "mgic_resnet20") == (3, 32, 32)


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_0", "vit_b_16", "r3d_18"])
def test_other_numbers_of_channels_change_only_the_first_convolution(name: str) -> None:
    with torch.device("meta"):
        model, expected = build(f"torchvision:{name}", in_channels=5), build(f"torchvision:{name}")
    changed = {key: (a, shapes(expected)[key]) for key, a in shapes(model).items() if a != shapes(expected)[key]}
    ((ours, theirs),) = changed.values()
    assert ours == (theirs[0], 5, *theirs[2:])
    assert list(shapes(model)) == list(shapes(expected))


def test_a_backbone_fetches_nothing_either(fetched: dict[str, Any]) -> None:
    model = build("torchvision:lraspp_mobilenet_v3_large", num_classes=3)
    assert model(torch.zeros(2, 3, 32, 32))["out"].shape == (2, 3, 32, 32)


@pytest.mark.parametrize("weights", ["DEFAULT", "IMAGENET1K_V1", "ResNet18_Weights.DEFAULT", ResNet18_Weights.DEFAULT])
def test_weights_are_torchvisions(fetched: dict[str, Any], weights: Any) -> None:
    trained = torchvision.models.resnet18()
    fetched["resnet18"] = trained.state_dict()
    assert same(build("torchvision:resnet18", weights=weights), trained)


@pytest.mark.parametrize(
    ("name", "weights", "options"),
    [
        ("resnet18", "DEFAULT", {}),
        ("vit_b_16", "IMAGENET1K_SWAG_E2E_V1", {}),
        ("lraspp_mobilenet_v3_large", "DEFAULT", {}),
        ("fcn_resnet50", "DEFAULT", {}),
        ("googlenet", "DEFAULT", {"init_weights": False}),
        ("inception_v3", "DEFAULT", {"init_weights": False}),
    ],
)
def test_an_architecture_without_its_weights(
    monkeypatch: pytest.MonkeyPatch, name: str, weights: str, options: dict[str, Any]
) -> None:
    """Against what torchvision builds with weights: only reading them is left out."""
    spec = f"torchvision:{name}"
    plain = without_weights(spec, {"weights": weights, **options})
    assert not {"weights", "weights_backbone"} & set(plain)
    monkeypatch.setattr(_api, "load_state_dict_from_url", lambda *_, **__: {})
    monkeypatch.setattr(nn.Module, "load_state_dict", lambda *_, **__: None)
    with torch.device("meta"):
        theirs, ours = build(spec, weights=weights, **options), build(spec, **plain)
    assert shapes(ours) == shapes(theirs)
    assert getattr(ours, "transform_input", None) == getattr(theirs, "transform_input", None)


def test_options_of_weights_are_left_out_for_other_libraries_only() -> None:
    given = {"pretrained": True, "checkpoint_path": "a.pth", "num_classes": 3}
    assert without_weights("timm:resnet18", given) == {"num_classes": 3}
    assert without_weights("mgic_resnet20", given) == without_weights(None, given) == given


@pytest.mark.parametrize(
    ("spec", "options", "error", "words"),
    [
        ("timm:resnett18", {}, UnknownNameError, ["timm has no model 'resnett18'", "resnet18"]),
        ("timm:", {}, UnknownNameError, ["timm has no model ''"]),
        ("timm:hf-hub:timm/resnet18.a1_in1k", {}, UnknownNameError, ["no model 'hf-hub"]),
        ("timm:resnet18.no_such_tag", {}, UsageError, ["timm:resnet18.no_such_tag", "no_such_tag"]),
        ("timm:resnet18", {"group_size": 4}, UsageError, ["timm:resnet18", "TypeError", "group_size"]),
        ("torchvision:resnet81", {}, UnknownNameError, ["torchvision has no model 'resnet81'", "resnet18"]),
        ("torchvision:resnet18", {"coarsest": 4}, UsageError, ["torchvision:resnet18", "coarsest"]),
        ("torchvision:resnet18", {"weights": "IMAGENET1K_V3"}, UnknownNameError, ["no weights", "IMAGENET1K_V1"]),
        ("torchvision:resnet18", {"weights": "ResNet50_Weights.DEFAULT"}, UnknownNameError, ["no weights 'ResNet50"]),
        ("torchvision:mnasnet0_5", {"weights": True}, UnknownNameError, ["no weights 'True'"]),
        ("torchvision:resnet18", {"weights": "DEFAULT", "num_classes": 3}, UsageError, ["num_classes", "1000"]),
        ("torchvision:resnet18", {"weights": "DEFAULT", "in_channels": 1}, UsageError, ["3 channels", "in_channels=1"]),
        ("mgic_resnet20", {}, UsageError, ["timm:resnet50 or torchvision:resnet18"]),
    ],
)
def test_bad_names_and_options(spec: str, options: dict[str, Any], error: type[Exception], words: list[str]) -> None:
    with pytest.raises(error) as caught:
        build_outside(spec, **options)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_weights_that_cannot_be_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(_api, "load_state_dict_from_url", refuse)
    with pytest.raises(DataError, match=r"weights of torchvision:resnet18 cannot be fetched: no route to host"):
        build("torchvision:resnet18", weights="DEFAULT")


def test_without_timm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingExtraError, match=r"timm:resnet18 needs the extra 'timm': pip install 'torchmg\[timm\]'"):
        build("timm:resnet18")


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_commands_take_them(library: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["count", f"{library}:resnet18"]) == 0
    shown = capsys.readouterr().out
    assert "input 3x224x224" in shown
    assert "11,689,512" in shown
    assert "1,814,073,344" in shown, "the catalogue's own count of a ResNet-18"
    assert run(["info", f"{library}:resnet18", "--in-channels", "1", "--num-classes", "5"]) == 0
    assert "input 1x224x224" in capsys.readouterr().out


def test_a_recipe_takes_them() -> None:
    assert Recipe(data="digits", model="timm:resnet18").name == "digits_resnet18"
    with pytest.raises(UnknownNameError, match="Unknown model 'tim:resnet18'"):
        Recipe(data="digits", model="tim:resnet18")


def test_names_are_told_apart_without_torch() -> None:
    code = (
        "import sys; from torchmg.models.libraries import library_of; library_of('timm:resnet50'); "
        "assert not {'torch', 'torchvision', 'timm'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
