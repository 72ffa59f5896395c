"""Recipes as values: names, changes, JSON, commands, and the options of models they hold."""

import json
import shlex
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import torchmg
from torchmg import cli
from torchmg.data.names import AUGMENTATIONS, DATASETS
from torchmg.errors import UnknownNameError, UsageError
from torchmg.models import resnet_cifar
from torchmg.models.catalog import MODELS, select
from torchmg.models.options import ModelOptions
from torchmg.models.registry import option_names
from torchmg.nn import shortcut, transfer
from torchmg.train import recipe as module
from torchmg.train.loop import Run
from torchmg.train.recipe import BASES, Recipe, load_recipe, recipe, recipe_names
from torchmg.train.schedule import learning_rate


def test_every_name_makes_its_recipe() -> None:
    assert set(BASES) == set(DATASETS) | {f"mgiad_{name}" for name in DATASETS if name != "digits"}
    assert len(recipe_names()) == len(BASES) * (1 + len(MODELS))
    for name in recipe_names():
        made = recipe(name)
        base = f"mgiad_{made.data}" if name.startswith("mgiad_") else made.data
        assert made == replace(BASES[base], model=made.model)
        assert made.name == name.removeprefix("mgiad_") or name in BASES
        assert name in BASES or made.command().startswith(f"torchmg train {name}")
    assert recipe("cifar10_mgic_resnet56").model == "mgic_resnet56"
    assert recipe("cifar100_mgic_resnet56").data == "cifar100"
    assert recipe("fashion_mnist_resnet18_cifar").data == "fashion_mnist"
    names = [f"{data}_resnet20" for data in ("digits", "fashion_mnist", "cifar10", "cifar100")]
    assert recipe_names("resnet20")[:4] == names


def test_the_mgiad_papers_settings() -> None:
    for data in ("cifar10", "cifar100", "fashion_mnist"):
        made = recipe(f"mgiad_{data}_mgiad18")
        assert (made.data, made.model, made.epochs, made.batch_size) == (data, "mgiad18", 400, 128)
        assert (made.lr, made.momentum, made.weight_decay) == (0.05, 0.9, 1e-4)
    assert recipe("mgiad_cifar10").augment == "autoaugment"
    rates = [learning_rate(recipe("mgiad_fashion_mnist"), epoch, 1) for epoch in (0, 24, 25, 49, 50, 399)]
    assert rates == pytest.approx([0.05, 0.05, 0.005, 0.005, 0.0005, 0.05 * 0.1**15])


def test_changes_make_another_value() -> None:
    base = recipe("digits")
    assert recipe("digits", epochs=3, seed=4) == replace(base, epochs=3, seed=4)
    assert base == recipe("digits")
    with pytest.raises(AttributeError):
        base.epochs = 3  # pyright: ignore
    assert torchmg.recipe is recipe


def test_our_settings_for_photographs_are_the_pinned_ones() -> None:
    for name in ("fashion_mnist", "cifar10", "cifar100"):
        made = recipe(name)
        assert (made.epochs, made.batch_size, made.lr, made.schedule) == (200, 128, 0.1, "cosine")
        assert (made.momentum, made.weight_decay, made.augment) == (0.9, 1e-4, "crop_flip")


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: recipe("digts"), UnknownNameError, ["Unknown recipe 'digts'", "Did you mean digits"]),
        (lambda: recipe("digits_resnt20"), UnknownNameError, ["'digits_resnt20'", "digits_resnet20"]),
        (lambda: recipe("digits_"), UnknownNameError, ["'digits_'"]),
        (lambda: recipe(""), UnknownNameError, ["''", "Known:"]),
        (lambda: recipe("digits", epoch=3), UnknownNameError, ["'epoch'", "Did you mean epochs"]),
        (lambda: recipe("digits", model="resnt20"), UnknownNameError, ["model 'resnt20'", "resnet20"]),
        (lambda: recipe("digits", data="mnist"), UnknownNameError, ["data='mnist'", "fashion_mnist"]),
        (lambda: recipe("digits", schedule="cos"), UnknownNameError, ["schedule='cos'", "cosine"]),
        (lambda: recipe("digits", precision="half"), UnknownNameError, ["precision='half'", "bf16"]),
        (lambda: recipe("digits", augment="flip"), UnknownNameError, ["augment='flip'", "crop_flip"]),
        (lambda: recipe("digits", decay="none"), UnknownNameError, ["decay='none'", "weights"]),
        (lambda: recipe("digits", epochs=0), UsageError, ["epochs", "at least 1", "got 0"]),
        (lambda: recipe("digits", epochs=1.5), UsageError, ["epochs", "whole number", "got 1.5"]),
        (lambda: recipe("digits", batch_size=-4), UsageError, ["batch_size", "got -4"]),
        (lambda: recipe("digits", seed=-1), UsageError, ["seed", "got -1"]),
        (lambda: recipe("digits", seed=0.5), UsageError, ["seed", "got 0.5"]),
        (lambda: recipe("digits", lr=-0.1), UsageError, ["lr", "got -0.1"]),
        (lambda: recipe("digits", lr=float("nan")), UsageError, ["lr", "got nan"]),
        (lambda: recipe("digits", weight_decay=float("inf")), UsageError, ["weight_decay", "got inf"]),
        (lambda: recipe("digits", momentum=-1), UsageError, ["momentum", "got -1"]),
        (lambda: recipe("digits", label_smoothing=1.0), UsageError, ["label_smoothing", "[0, 1)"]),
        (lambda: recipe("digits", nesterov=True, momentum=0.0), UsageError, ["nesterov", "momentum"]),
        (lambda: Recipe.from_json({"epoch": 3}), UnknownNameError, ["a recipe", "'epoch'", "epochs"]),
        (lambda: Recipe.from_json({"epochs": "3"}), UsageError, ["epochs", "'3'"]),
        (lambda: Recipe.from_json({"lr": "fast"}), UsageError, ["cannot be read as a recipe"]),
        (lambda: Recipe.from_json({"milestones": 3}), UsageError, ["cannot be read as a recipe"]),
        (lambda: Recipe.from_json({"model": 3}), UsageError, ["cannot be read as a recipe"]),
        (lambda: Recipe.from_json({"options": {"widht": 2}}), UsageError, ["cannot be read as a recipe", "widht"]),
        (lambda: Recipe.from_json({"options": 3}), UsageError, ["cannot be read as a recipe"]),
        (lambda: load_recipe(Path("/nowhere/config.json")), UsageError, ["/nowhere/config.json"]),
    ],
)
def test_what_is_wrong_is_named(make: Any, error: type[Exception], words: list[str]) -> None:
    with pytest.raises(error) as caught:
        make()
    for word in words:
        assert word in str(caught.value)
    assert caught.value.exit_code == 2


# ---- JSON and commands, for whatever recipe

positive = st.floats(1e-6, 10, allow_nan=False)
options = st.builds(
    ModelOptions,
    group_size=st.none() | st.integers(1, 64),
    coarsest=st.none() | st.integers(1, 64),
    width=st.none() | positive,
    preset=st.none() | st.sampled_from(["paper", "table5", "reference_code", "two_level"]),
    shortcut=st.none() | st.sampled_from(["depthwise", "pointwise"]),
    stop=st.none() | st.sampled_from(["le", "le1", "lt1"]),
    transfer_weights=st.none() | st.sampled_from(["own", "transpose"]),
)
recipes = st.builds(
    Recipe,
    model=st.sampled_from([*MODELS, "some folder/net.py:make"]),
    data=st.sampled_from(list(DATASETS)),
    epochs=st.integers(1, 500),
    batch_size=st.integers(1, 4096),
    lr=positive,
    momentum=st.floats(0.1, 1),
    nesterov=st.booleans(),
    weight_decay=positive | st.just(0.0),
    decay=st.sampled_from(get_args(module.Decay)),
    schedule=st.sampled_from(get_args(module.Schedule)),
    milestones=st.lists(st.integers(1, 300), max_size=4).map(tuple),
    gamma=positive,
    warmup_epochs=positive,
    label_smoothing=st.floats(0, 0.99),
    augment=st.sampled_from(get_args(module.Augment)),
    precision=st.sampled_from(get_args(module.Precision)),
    layout=st.sampled_from(["auto", "channels_last", "channels_first"]),
    options=options,
    seed=st.integers(0, 2**63),
)


@given(recipes)
def test_json_is_read_back(made: Recipe) -> None:
    assert Recipe.from_json(json.loads(json.dumps(made.to_json()))) == made


def test_what_json_leaves_out_has_its_default() -> None:
    assert Recipe.from_json({}) == Recipe()
    assert Recipe.from_json({"epochs": 3}) == Recipe(epochs=3)


def trained_by(command: str, patch: pytest.MonkeyPatch) -> Recipe:
    """The recipe that a command would train."""
    asked: list[Recipe] = []

    def fit(made: Recipe, *_: Any, **__: Any) -> Run:
        asked.append(made)
        numbers = dict.fromkeys(("parameters", "macs", "train_accuracy", "test_accuracy", "seconds"), 0)
        return Run(Path("run"), numbers)

    patch.setattr("torchmg.train.loop.fit", fit)
    program, *words = shlex.split(command)
    assert program == "torchmg"
    assert cli.run(words) == 0
    return asked[0]


@settings(max_examples=25)
@given(recipes)
def test_the_command_trains_the_recipe(made: Recipe) -> None:
    with pytest.MonkeyPatch.context() as patch:
        assert trained_by(made.command(), patch) == made


def test_commands_say_what_differs_and_nothing_else() -> None:
    assert recipe("digits_resnet20").command() == "torchmg train digits_resnet20"
    assert recipe("cifar10_resnet20").command() == "torchmg train cifar10_resnet20 --data-dir DATA_DIR"
    changed = recipe(
        "cifar10_resnet20", lr=0.25, nesterov=True, layout="channels_first", options=ModelOptions(width=0.5)
    )
    flags = "--nesterov --layout channels_first --lr 0.25 --width 0.5 --data-dir DATA_DIR"
    assert set(changed.command().split()[3:]) == set(flags.split())


# ---- options without torch say the same as the builders


def test_options_are_those_of_the_models() -> None:
    known = {name for entry in MODELS.values() for name in option_names(entry)}
    assert {field.name for field in fields(ModelOptions)} == known - {"num_classes", "in_channels"}
    assert ModelOptions().given() == {}
    assert ModelOptions(width=0.5, stop="le").given() == {"width": 0.5, "stop": "le"}


@pytest.mark.parametrize(
    ("name", "choices"),
    [
        ("preset", resnet_cifar.Preset),
        ("shortcut", shortcut.ShortcutKind),
        ("transfer_init", transfer.TransferInit),
        ("transfer_weights", transfer.TransferWeights),
        ("transfer_groups", transfer.TransferGroups),
    ],
)
def test_choices_are_those_of_the_models(name: str, choices: Any) -> None:
    literal, none = get_args(get_type_hints(ModelOptions)[name])
    assert none is type(None)
    assert get_args(literal) == get_args(choices)


def test_augmentations_are_those_of_the_data() -> None:
    assert get_args(module.Augment) == tuple(AUGMENTATIONS)


@pytest.mark.parametrize("name", [field.name for field in fields(ModelOptions)])
def test_every_option_reaches_the_model(name: str) -> None:
    values: dict[str, Any] = {
        "group_size": 4,
        "coarsest": 4,
        "width": 0.5,
        "preset": "reference_code",
        "shortcut": "pointwise",
        "stop": "le1",
        "group_rule": "floor",
        "group_by": "outer",
        "transfer_init": "uniform",
        "transfer_weights": "transpose",
        "transfer_groups": "interleaved",
        "transfer_norm": "both",
        "cycle": "W",
        "pre": 1,
        "post": 2,
        "eta_pre": 2,
        "eta_post": 0,
        "steps": 1,
        "share": "A",
        "norms": "level",
        "smoother": "chebyshev",
        "degree": 3,
        "correction": "plain",
        "correction_act": True,
        "fas": False,
        "channel_fas": False,
        "grid_transfer": "dense",
        "grid_init": "frozen",
        "grid_norm": True,
        "residual_act": True,
    }
    given = ModelOptions(**{name: values[name]}).given()
    assert given == {name: values[name]}
    takers = [entry.name for entry in select("*20") if name in option_names(entry)]
    assert takers
    for model in takers:
        torchmg.create(model, **given)
