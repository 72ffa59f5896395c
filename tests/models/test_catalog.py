"""The catalogue, the registry, and the options that recipes and command lines pass on."""

import dataclasses
import typing

import pytest
import torch
from torch import nn

import torchmg
from torchmg.errors import UnknownNameError
from torchmg.models.catalog import MODELS, Entry, Task, find, select
from torchmg.models.options import MobilePreset, ModelOptions, PDEPreset
from torchmg.models.registry import option_names

INTERNAL = {"rows", "stem_stride", "reduced_tail", "images"}
"""Of builders, for other builders: a name stands for them."""


def test_the_catalogue_is_consistent() -> None:
    for name, entry in MODELS.items():
        assert entry.name == name
        assert find(name) is entry
        assert entry.citation
        assert entry.task in typing.get_args(Task)
        assert len(entry.input) == (2 if entry.task == "points" else 3)
        assert {"resnet": "resn", "pde": ""}.get(entry.family, entry.family) in name
        if entry.dense is None:
            continue
        dense = MODELS[entry.dense]
        assert dense.dense is None
        assert entry.family in ("mgic", "mgnet", "mgiad", "lean", "union", "circulant", "drnet")
        assert (entry.task, entry.input) == (dense.task, dense.input)
        # MobileNetV3's blocks are light already: what the levels add is more than the groups save.
        assert entry.parameters < dense.parameters * (1.12 if "mobilenetv3" in name else 1)
        own = {"rows", "images", "variant", "coupling"}
        fixed = [{k: v for k, v in e.fixed.items() if k not in own} for e in (entry, dense)]
        assert fixed[0] == fixed[1] or not entry.fixed, "of one depth or size"
        if entry.family == "mgic" and name != "function_mgic":
            assert name == f"mgic_{entry.dense}"
    assert {f"resnet{n}" for n in (20, 32, 44, 56, 110)} | {"resnet18_cifar"} <= set(MODELS)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*resnet20", ["resnet20", "mgic_resnet20", "lean_resnet20", "union_resnet20", "circulant_resnet20"]),
        ("mgic_*56", ["mgic_resnet56"]),
        ("*drnet*", ["drnet_full", "drnet_union", "drnet_pointwise", "drnet_circulant"]),
        ("*resnext50", ["resnext50", "mgic_resnext50"]),
        (
            "*lraspp*small",
            ["lraspp_mobilenetv3_small", "mgic_lraspp_mobilenetv3_small"],
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
    entry, names = find(name), option_names(find(name))
    assert {"num_classes", "in_channels"} <= set(names)
    assert not {"depth", *INTERNAL} & set(names)
    assert ("coarsest" in names) == (entry.family in ("mgic", "mgiad") or takes_couplings(entry))
    # Papers that multigrid is compared with have few widths, each with a name of its own.
    assert sum(width in {*names, *entry.fixed} for width in ("width", "channels")) == (name != "efficientnet_b0")
    values = {"num_classes": 7, "in_channels": 1, "width": 0.5, "group_size": 4, "coarsest": 8, "output_stride": 8}
    if name == "mgic_transfers":
        values |= {"num_classes": 32, "in_channels": 32}
    if takes_couplings(entry):
        values |= {"coupling": "multigrid"}
    with torch.device("meta"):
        model = torchmg.create(name, **{k: v for k, v in {**values, "channels": 32}.items() if k in names})
    assert isinstance(model, nn.Module)


def test_model_options_are_the_options_of_the_models_with_the_same_choices() -> None:
    fields = {field.name for field in dataclasses.fields(ModelOptions)}
    options = {name: set(option_names(entry)) for name, entry in MODELS.items()}
    assert fields == set().union(*options.values()) - {"num_classes", "in_channels"}
    assert ModelOptions().given() == {}
    assert ModelOptions(width=0.5, stop="lt1").given() == {"width": 0.5, "stop": "lt1"}


def literals(hint: object) -> list[object]:
    """The `Literal`s of an optional field, one of a preset's for each family that has its own."""
    arms = typing.get_args(hint)
    return [arm for arm in arms if typing.get_origin(arm) is typing.Literal]


def takes_couplings(entry: Entry) -> bool:
    """Whether a model takes every coupling with the coupling's own options."""
    return entry.family in ("pde", "imexnet")


def preset_kind(entry: Entry) -> str:
    """Whose presets a model takes."""
    return "mobile" if "mobilenetv3" in entry.name else "pde" if entry.family in ("pde", "drnet") else "mgic"


@pytest.mark.parametrize("name", [name for name, hint in typing.get_type_hints(ModelOptions).items() if literals(hint)])
def test_choices_are_those_of_the_models(name: str) -> None:
    takers = [entry for entry in MODELS.values() if name in option_names(entry)]
    choices = [list(typing.get_args(literal)) for literal in literals(typing.get_type_hints(ModelOptions)[name])]
    for values in choices:
        kinds = {tuple(typing.get_args(MobilePreset)): "mobile", tuple(typing.get_args(PDEPreset)): "pde"}
        kind = kinds.get(tuple(values), "mgic")
        fitting = [entry for entry in takers if name != "preset" or preset_kind(entry) == kind]
        if name.endswith("coupling"):  # relaxations of inverted residuals and of clouds choose their own
            fitting = [entry for entry in takers if "resnet" in entry.name or takes_couplings(entry)]
        assert fitting
        for model in sorted(fitting, key=lambda entry: entry.parameters)[:1]:
            for value in values:
                torchmg.create(model.name, **ModelOptions(**{name: value}).given())
            with pytest.raises(UnknownNameError, match=name.removeprefix("coarsest_")):
                torchmg.create(model.name, **{name: "no such choice"})
