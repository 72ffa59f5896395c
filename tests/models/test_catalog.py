"""The catalogue, the registry, and the options that recipes and command lines pass on."""

import dataclasses
import typing

import pytest
import torch
from torch import nn

import torchmg
from torchmg.errors import UnknownNameError
from torchmg.models.catalog import MODELS, find, select
from torchmg.models.options import ModelOptions
from torchmg.models.registry import option_names


def test_the_catalogue_is_consistent() -> None:
    for name, entry in MODELS.items():
        assert entry.name == name
        assert find(name) is entry
        assert entry.citation
        assert {"mgic": "mgic_", "resnet": "resn"}.get(entry.family, entry.family) in name
        if entry.dense is not None:
            assert entry.family != "resnet"
            assert entry.parameters < MODELS[entry.dense].parameters
        if entry.dense is not None and entry.fixed:
            assert MODELS[entry.dense].fixed == entry.fixed
        if entry.family == "mgic":
            assert name == f"mgic_{entry.dense}"
    assert {f"resnet{n}" for n in (20, 32, 44, 56, 110)} | {"resnet18_cifar"} <= set(MODELS)
    assert {entry.dense for entry in MODELS.values()} - {None} == {
        n for n, entry in MODELS.items() if entry.family in ("resnet", "vit")
    }


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*resnet20", ["resnet20", "mgic_resnet20"]),
        ("mgic_*56", ["mgic_resnet56"]),
        (
            "*resn*t50",
            ["resnet50", "wide_resnet50", "resnext50", "mgic_resnet50", "mgic_wide_resnet50", "mgic_resnext50"],
        ),
        ("resnet20", ["resnet20"]),
        ("*", list(MODELS)),
    ],
)
def test_patterns_select_in_catalogue_order(pattern: str, names: list[str]) -> None:
    assert torchmg.list_models(pattern) == names
    assert [entry.name for entry in select(pattern)] == names


def test_models_are_drawn_from_the_global_seed_and_nothing_else() -> None:
    def draw(seed: int) -> list[torch.Tensor]:
        torch.manual_seed(seed)
        return [*torchmg.create("mgic_resnet20").parameters()]

    assert all(torch.equal(a, b) for a, b in zip(draw(1), draw(1), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(draw(1), draw(2), strict=True))


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("mgic_resnt20", {}, ["Unknown model 'mgic_resnt20'", "Did you mean mgic_resnet20", f"all {len(MODELS)}"]),
        ("ResNet20", {}, ["Unknown model 'ResNet20'", "Did you mean resnet20"]),
        ("", {}, ["Unknown model ''", "Known: "]),
        ("zzz", {}, ["Unknown model 'zzz'", "Known: "]),
        ("resnet20", {"num_class": 10}, ["resnet20 has no option 'num_class'", "Did you mean num_classes"]),
        ("resnet20", {"group_size": 8}, ["resnet20 has no option 'group_size'", "Options: num_classes"]),
        ("mgic_resnet20", {"groupsize": 8}, ["no option 'groupsize'", "Did you mean group_size", "coarsest"]),
        ("mgic_resnet20", {"depth": 20}, ["no option 'depth'", "Options:"]),
        ("mgic_resnet20", {"relax": "bottleneck"}, ["no option 'relax'"]),
    ],
)
def test_unknown_models_and_options_name_the_nearest(name: str, options: dict[str, object], words: list[str]) -> None:
    with pytest.raises(UnknownNameError) as caught:
        torchmg.create(name, **options)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert caught.value.exit_code == 2


def test_a_pattern_without_match_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"No model matches 'mgic_resnt\*'\. Did you mean mgic_resnet"):
        torchmg.list_models("mgic_resnt*")


@pytest.mark.parametrize("name", MODELS)
def test_every_listed_option_is_accepted(name: str) -> None:
    names = option_names(find(name))
    assert {"num_classes", "in_channels", "width"} <= set(names)
    assert "depth" not in names
    assert ("coarsest" in names) == name.startswith(("mgic", "mgiad"))
    values = {"num_classes": 7, "in_channels": 1, "width": 0.5, "group_size": 4, "coarsest": 8}
    with torch.device("meta"):
        model = torchmg.create(name, **{k: v for k, v in values.items() if k in names})
    assert isinstance(model, nn.Module)


def test_model_options_are_the_options_of_the_models_with_the_same_choices() -> None:
    fields = {field.name for field in dataclasses.fields(ModelOptions)}
    options = {name: set(option_names(entry)) for name, entry in MODELS.items()}
    assert fields == set().union(*options.values()) - {"num_classes", "in_channels"}
    assert ModelOptions().given() == {}
    assert ModelOptions(width=0.5, stop="lt1").given() == {"width": 0.5, "stop": "lt1"}
    for name, hint in typing.get_type_hints(ModelOptions).items():
        model = next(m for m in ("mgic_resnet20", "mgiad20", "mgnet20") if name in options[m])
        for arm in typing.get_args(hint):
            for choice in typing.get_args(arm) if typing.get_origin(arm) is typing.Literal else ():
                torchmg.create(model, **ModelOptions(**{name: choice}).given())
        if typing.Literal in map(typing.get_origin, typing.get_args(hint)):
            with pytest.raises(UnknownNameError, match=name):
                torchmg.create(model, **{name: "no such choice"})
