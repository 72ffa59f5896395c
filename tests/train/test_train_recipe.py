"""Recipes as values: names, changes, JSON, commands, and the options of models they hold."""

import json
import shlex
from collections import defaultdict
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import torchmg
from torchmg import cli, hierarchy
from torchmg.data.names import AUGMENTATIONS, DATASETS, OTHER_AUGMENTATIONS, PICTURE_AUGMENTATIONS, SETS
from torchmg.errors import UnknownNameError, UsageError
from torchmg.models import options, presets
from torchmg.models.catalog import MODELS, select
from torchmg.models.options import ModelOptions
from torchmg.models.registry import option_names
from torchmg.nn import coupling, reaction, shortcut, step_norm, transfer
from torchmg.train import settings as module
from torchmg.train.loop import Run
from torchmg.train.recipe import BASES, Recipe, load_recipe, recipe, recipe_names


def test_every_name_makes_its_recipe() -> None:
    papers = {"mgiad": ("cifar10", "cifar100", "fashion_mnist"), "pde": ("cifar10", "cifar100", "stl10")}
    papers["modern"] = tuple(path.stem for path in (Path(__file__).parents[2] / "results" / "search").glob("*.json"))
    assert set(BASES) == set(DATASETS) | {f"{paper}_{name}" for paper, names in papers.items() for name in names}
    networks = {"pde_": [e for e in MODELS.values() if e.family in ("pde", "drnet")]}
    fitting = {
        name: [e.name for e in networks.get(name[:4], MODELS.values()) if e.task == SETS[b.data].task]
        for name, b in BASES.items()
    }
    assert len(recipe_names()) == len(BASES) + sum(map(len, fitting.values()))
    assert set(recipe_names()) == {*BASES, *(f"{name}_{model}" for name in BASES for model in fitting[name])}
    assert all(BASES[name].model in models for name, models in fitting.items())
    for name in recipe_names():
        made = recipe(name)
        paper = next((f"{paper}_" for paper in papers if name.startswith(f"{paper}_")), "")
        assert made == replace(BASES[f"{paper}{made.data}"], model=made.model)
        assert made.name == name.removeprefix(paper) or name in BASES
        assert name in BASES or made.command().startswith(f"torchmg train {name}")
    assert recipe("cifar10_mgic_resnet56").model == "mgic_resnet56"
    assert recipe("cifar100_mgic_resnet56").data == "cifar100"
    assert recipe("fashion_mnist_resnet18_cifar").data == "fashion_mnist"
    names = [f"{data}_resnet20" for data in ("digits", "fashion_mnist", "cifar10", "cifar100")]
    assert recipe_names("resnet20")[:4] == names
    assert recipe_names("dgcnn") == ["modelnet10_dgcnn", "modelnet40_dgcnn"]


def test_settings_by_task() -> None:
    for name in ("camvid", "cityscapes", "mask_folder"):
        made = recipe(name)
        assert (made.schedule, made.power, made.augment) == ("poly", 0.9, "scale_crop_flip")
    assert (recipe("cityscapes").crop, recipe("camvid").crop) == (769, 0)
    for name in ("modelnet10", "modelnet40"):
        made = recipe(name)
        assert (made.epochs, made.batch_size, made.label_smoothing, made.augment) == (250, 32, 0.2, "clouds")
    for name in ("functions", "signed_distance"):
        made = recipe(name, fold=9)
        assert (made.schedule, made.lr, made.weight_decay, made.fold) == ("constant", 0.02, 0.0, 9)
    assert recipe("image_folder", crop=64, damaged="skip").command().endswith("--data-dir DATA_DIR")


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
        (lambda: recipe("digits", damaged="drop"), UnknownNameError, ["damaged='drop'", "skip"]),
        (lambda: recipe("digits", power=-1.0), UsageError, ["power", "at least 0", "got -1"]),
        (lambda: recipe("digits", power=float("nan")), UsageError, ["power", "got nan"]),
        (lambda: recipe("camvid", crop=-8), UsageError, ["crop", "at least 0", "got -8"]),
        (lambda: recipe("digits", crop=8), UsageError, ["crop=8", "picture folders", "scale_crop_flip"]),
        (lambda: recipe("camvid", crop=8, augment="none"), UsageError, ["crop=8", "scale_crop_flip"]),
        (lambda: recipe("digits", augment="clouds"), UsageError, ["augment='clouds' is not for digits", "crop_flip"]),
        (lambda: recipe("imagenet", augment="crop"), UsageError, ["is not for imagenet", "none, inception"]),
        (lambda: recipe("digits", fold=0), UsageError, ["fold", "numbers", "got 0"]),
        (lambda: recipe("functions", fold=10), UsageError, ["fold must be 0 to 9", "got 10"]),
        (lambda: recipe("functions", fold=-1), UsageError, ["fold must be 0 to 9", "got -1"]),
        (
            lambda: recipe("camvid_resnet20"),
            UsageError,
            ["resnet20 is made to classify images, camvid asks to segment images", "lraspp_mobilenetv3_small"],
        ),
        (
            lambda: recipe("digits", model="mgic_dgcnn"),
            UsageError,
            ["mgic_dgcnn is made to classify point clouds, digits asks to classify images", "resnet20", "..."],
        ),
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
        (lambda: recipe("digits", distill_weight=1.5), UsageError, ["distill_weight", "[0, 1]", "got 1.5"]),
        (lambda: recipe("digits", distill_temperature=0.0), UsageError, ["distill_temperature", "above 0"]),
        (lambda: recipe("digits", distill_features=1.0), UsageError, ["distill_features", "distill_from"]),
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
changes = st.builds(
    ModelOptions,
    group_size=st.none() | st.integers(1, 64),
    coarsest=st.none() | st.integers(1, 64),
    width=st.none() | positive,
    channels=st.none() | st.integers(1, 64),
    output_stride=st.none() | st.sampled_from([8, 16, 32]),
    neighbours=st.none() | st.integers(1, 64),
    graph_of=st.sampled_from([None, "features", "positions"]),
    conv=st.none() | st.sampled_from(["edge", "diff"]),
    preset=st.none() | st.sampled_from(["paper", "table5", "reference_code", "two_level", "budget_140m"]),
    shortcut=st.none() | st.sampled_from(["depthwise", "pointwise"]),
    stop=st.none() | st.sampled_from(["le", "le1", "lt1"]),
    transfer_init=st.none() | st.sampled_from(["uniform", "gaussian"]),
    transfer_weights=st.none() | st.sampled_from(["own", "transpose", "fixed"]),
    correction=st.none() | st.sampled_from(["fas", "plain"]),
    coupling=st.none() | st.sampled_from(["full", "lean", "chain", "shuffle", "separable"]),
    coarsest_coupling=st.none() | st.sampled_from(["full", "grouped"]),
    stencil=st.none() | st.sampled_from(["9", "3h"]),
    radius=st.none() | st.integers(1, 8),
    periodic=st.none() | st.booleans(),
    h=st.none() | positive,
    sign=st.none() | st.sampled_from(["minus", "plus"]),
)


of_pictures: dict[str, st.SearchStrategy[Any]] = dict.fromkeys(("cutmix", "mixup", "erase"), st.floats(0, 1))
of_pictures |= {"flip_test": st.booleans(), "holdout": st.integers(0, 50_000)}
starts = st.sampled_from([{}, {"start_from": "some folder/first.safetensors"}, {"zero_init": True, "whiten": True}])


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    data = draw(st.sampled_from(list(DATASETS)))
    info = SETS[data]
    in_memory = info.augmentations == PICTURE_AUGMENTATIONS
    augment = draw(st.sampled_from(info.augmentations))
    cropped = augment == "scale_crop_flip" or "inception" in info.augmentations
    start = {name: value for name, value in draw(starts).items() if name != "whiten" or in_memory}
    return Recipe(
        model=draw(
            st.sampled_from([*(e.name for e in MODELS.values() if e.task == info.task), "some folder/net.py:make"])
        ),
        data=data,
        epochs=draw(st.integers(1, 500)),
        batch_size=draw(st.integers(1, 4096)),
        lr=draw(positive),
        momentum=draw(st.floats(0.1, 1)),
        nesterov=draw(st.booleans()),
        weight_decay=draw(positive | st.just(0.0)),
        decay=draw(st.sampled_from(get_args(module.Decay))),
        schedule=draw(st.sampled_from(get_args(module.Schedule))),
        milestones=draw(st.lists(st.integers(1, 300), max_size=4).map(tuple)),
        gamma=draw(positive),
        power=draw(positive),
        warmup_epochs=draw(positive),
        label_smoothing=draw(st.floats(0, 0.99)),
        **({name: draw(values) for name, values in of_pictures.items()} if in_memory else {}),
        **start,
        time_smoothness=draw(positive | st.just(0.0)),
        limit=draw(positive | st.just(0.0)),
        distill_from=draw(st.sampled_from(["runs/of others/teacher", "some folder/net.py:trained"])),
        distill_weight=draw(st.floats(0, 1)),
        distill_temperature=draw(positive),
        distill_features=draw(positive | st.just(0.0)),
        augment=augment,  # pyright: ignore[reportArgumentType]
        crop=draw(st.integers(0, 1024)) if cropped else 0,
        damaged=draw(st.sampled_from(get_args(module.Damaged))),
        fold=draw(st.none() | st.integers(0, 9)) if info.task == "regress" else None,
        precision=draw(st.sampled_from(get_args(module.Precision))),
        layout=draw(st.sampled_from(get_args(module.Layout))),
        options=draw(changes),
        seed=draw(st.integers(0, 2**63)),
    )


@given(recipes())
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
        return Run(Path("run"), defaultdict(int))

    patch.setattr("torchmg.train.loop.fit", fit)
    program, *words = shlex.split(command)
    assert program == "torchmg"
    assert cli.run(words) == 0
    return asked[0]


@settings(max_examples=25)
@given(recipes())
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
        ("preset", presets.Preset),
        ("preset", options.MobilePreset),
        ("preset", options.PDEPreset),
        ("coupling", hierarchy.CouplingName),
        ("coarsest_coupling", hierarchy.CouplingName),
        ("pointwise", coupling.PointwisePart),
        ("evaluate", coupling.Evaluation),
        ("norm", step_norm.StepNorm),
        ("scheme", reaction.ReactionScheme),
        ("conv", options.GraphConvName),
        ("shortcut", shortcut.ShortcutKind),
        ("transfer_init", transfer.TransferInit),
        ("transfer_weights", transfer.TransferWeights),
        ("transfer_groups", transfer.TransferGroups),
    ],
)
def test_choices_are_those_of_the_models(name: str, choices: Any) -> None:
    *literals, none = get_args(get_type_hints(ModelOptions)[name])
    assert none is type(None)
    assert get_args(choices) in map(get_args, literals)


def test_augmentations_are_those_of_the_data() -> None:
    assert get_args(module.Augment) == (*AUGMENTATIONS, *OTHER_AUGMENTATIONS)


@pytest.mark.parametrize("name", [field.name for field in fields(ModelOptions)])
def test_every_option_reaches_the_model(name: str) -> None:
    values: dict[str, Any] = {
        "group_size": 4,
        "coarsest": 4,
        "width": 0.5,
        "channels": 32,
        "output_stride": 8,
        "neighbours": 5,
        "graph_of": "positions",
        "conv": "diff",
        "act": "relu",
        "se_levels": "finest",
        "se_ratio": 0.5,
        "head_scale": "always",
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
        "recompute": True,
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
        "coupling": "lean",
        "coarsest_coupling": "lean",
        "stencil": "3",
        "pointwise": "circulant",
        "block": 4,
        "evaluate": "channel_fft",
        "radius": 2,
        "lattice_neighbours": 9,
        "periodic": True,
        "act_order": "pre",
        "layer": "double",
        "norm": "tv",
        "h": 0.5,
        "sign": "plus",
        "rescale": True,
        "certified": True,
        "scheme": "strang",
        "backend": "cosine",
        "diffusion_init": "spread",
        "released": True,
    }
    # What else these need where a model takes more than one coupling or scheme.
    needs: dict[str, dict[str, str]] = {
        "group_size": {"coupling": "grouped"},
        "coarsest": {"coupling": "multigrid"},
        "stencil": {"coupling": "lean"},
        "pointwise": {"coupling": "lean"},
        "block": {"coupling": "circulant"},
        "evaluate": {"coupling": "circulant"},
        "radius": {"coupling": "chain"},
        "lattice_neighbours": {"coupling": "lattice"},
        "periodic": {"coupling": "chain"},
        "backend": {"scheme": "imex"},
        "diffusion_init": {"scheme": "imex"},
    }
    given = ModelOptions(**{name: values[name]}).given()
    assert given == {name: values[name]}
    takers = [entry for entry in select() if name in option_names(entry)]
    if name == "preset":
        takers = [entry for entry in takers if "mobilenetv3" not in entry.name and entry.family not in ("pde", "drnet")]
    if name.endswith("coupling"):  # relaxations of inverted residuals and of clouds choose their own
        takers = [entry for entry in takers if "resnet" in entry.name or entry.family in ("pde", "imexnet", "mgiad")]
    assert takers
    for entry in sorted(takers, key=lambda entry: entry.parameters)[:3]:
        chooses = entry.family in ("pde", "drnet", "imexnet")
        also = {key: value for key, value in needs.get(name, {}).items() if chooses and key in option_names(entry)}
        torchmg.create(entry.name, **given, **also)
