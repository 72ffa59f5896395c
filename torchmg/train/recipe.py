"""Recipes: everything that decides what a training run computes, as a value. No torch.

The rules below are ours. The batch sizes and learning rates of the MGIC paper are lost; what survives (SGD,
momentum 0.9, weight decay 1e-4, crops and flips) is kept and the rest is pinned here: batch 128, rate 0.1, cosine.
"""

import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from torchmg.data.names import DATASETS, SETS, TASKS, check_pictures
from torchmg.errors import UnknownNameError, UsageError, did_you_mean
from torchmg.hierarchy import check_choice
from torchmg.models.catalog import MODELS, find
from torchmg.models.libraries import ARCHIVE, is_outside
from torchmg.models.options import ModelOptions
from torchmg.train.files import read_text
from torchmg.train.settings import Training

MADE_HERE = ("digits", "functions", "signed_distance", "qtips")
"""Data sets that need no files."""
FOLDS = 10
"""Parts that data is cut into for cross-validation, as in the MGIC paper's Table 2."""


@dataclass(frozen=True)
class Recipe(Training):
    """One training run as a value: `replace(recipe, epochs=10)` makes another.

    Raises:
        UsageError: a value that cannot be trained with; the message names it.
    """

    model: str = "mgic_resnet20"
    """A model of the catalogue, timm:NAME, torchvision:NAME, path/to/file.py:factory, or archive:FOLDER, a saved
    network with its weights."""
    data: str = "digits"
    """A data set of `torchmg.data.DATASETS`."""
    subset: int = 0
    """Train on so many samples only, the same for all models and seeds; 0: on all. The test samples stay."""
    holdout: int = 0
    """So many training samples are not trained on and stand in for the test samples, whose files are then not opened;
    the same for all models and seeds, and of each class its share. Scores are called holdout. For choosing settings."""
    fold: int | None = None
    """Of ten parts of the training data the one that is held out instead of the test data (functions)."""
    options: ModelOptions = field(default_factory=ModelOptions)
    """What to change about the model."""
    start_from: str = ""
    """Weights that the network starts from instead of random ones: a safetensors file with exactly its tensors, or a
    run folder that holds one."""
    seed: int = 0
    """Seed of initial weights, sample order and augmentation."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.seed, int) or self.seed < 0:
            raise UsageError(f"seed must be a whole number, at least 0; got {self.seed!r}.")
        check_choice("data", self.data, tuple(DATASETS))
        for name, what in (
            ("subset", "samples, or 0 for all"),
            ("holdout", "samples, or 0 for none"),
            ("crop", "pixels, or 0 for the data's own size"),
        ):
            if not isinstance(value := getattr(self, name), int) or value < 0:
                raise UsageError(f"{name} must be a whole number of {what}, at least 0; got {value!r}.")
        if self.subset and self.fold is not None:
            raise UsageError("A run is on a subset or on a fold; give one of them.")
        info = SETS[self.data]
        if self.augment not in info.augmentations:
            raise UsageError(
                f"augment={self.augment!r} is not for {self.data}. It takes: {', '.join(info.augmentations)}."
            )
        if self.crop and self.augment != "scale_crop_flip" and "inception" not in info.augmentations:
            raise UsageError(f"crop={self.crop} is for picture folders, or needs augment=scale_crop_flip.")
        for name in ("cutmix", "mixup", "erase", "whiten", "flip_test", "holdout"):
            if getattr(self, name):
                check_pictures(name, self.data)
        for name in ("whiten", "zero_init"):
            if getattr(self, name) and (self.start_from or self.model.startswith(ARCHIVE)):
                source = "start_from" if self.start_from else self.model
                raise UsageError(f"{source} gives the weights that {name} would replace; leave one of them out.")
        if self.fold is not None and (info.task != "regress" or self.fold not in range(FOLDS)):
            raise UsageError(f"fold must be 0 to {FOLDS - 1}, of data whose targets are numbers; got {self.fold}.")
        if not is_outside(self.model) and (task := find(self.model).task) != info.task:
            fitting = [name for name, entry in MODELS.items() if entry.task == info.task]
            raise UsageError(
                f"{self.model} is made to {TASKS[task]}, {self.data} asks to {TASKS[info.task]}. "
                f"Models for it: {', '.join(fitting[:8])}{' ...' if len(fitting) > 8 else ''}."
            )

    @property
    def scored_on(self) -> Literal["test", "holdout"]:
        """What its scores are of, as logs and records call them: test samples, or held-out training samples."""
        return "holdout" if self.holdout else "test"

    @property
    def name(self) -> str:
        """`data_model`, such as `cifar10_mgic_resnet56`; a user's file gives its factory's name."""
        return f"{self.data}_{self.model.rpartition(':')[2]}"

    def to_json(self) -> dict[str, Any]:
        """As plain values; `from_json` reads them back."""
        return json.loads(json.dumps(asdict(self)))

    @staticmethod
    def from_json(values: Mapping[str, Any], where: str = "a recipe") -> "Recipe":
        """The recipe that `to_json` wrote.

        Raises:
            UnknownNameError: a key that is no field of a recipe.
            UsageError: a value of the wrong type.
        """
        known, values = [f.name for f in fields(Recipe)], dict(values)
        if isinstance(last := values.pop("channels_last", None), bool):  # what `layout` was at first
            values["layout"] = "channels_last" if last else "channels_first"
        for key in values:
            if key not in known:
                raise UnknownNameError(f"{where} has no setting '{key}'.{did_you_mean(key, known)}")
        try:
            given = dict(values)
            given["options"] = ModelOptions(**given.get("options", {}))
            if "milestones" in given:
                given["milestones"] = tuple(given["milestones"])
            return Recipe(**given)
        except TypeError as error:
            raise UsageError(f"{where} cannot be read as a recipe: {error}") from error

    def command(self) -> str:
        """The command line that trains this recipe; `DATA_DIR` stands for where the data lies."""
        return " ".join(self._words(self.base, BASES[self.base]))

    @property
    def base(self) -> str:
        """The name in `BASES` of the settings that this recipe changes least: those that its command names."""
        fitting = [name for name, base in BASES.items() if self._begins(name, base)]
        return min(fitting, key=lambda name: len(self._words(name, BASES[name])))

    def _begins(self, name: str, base: "Recipe") -> bool:
        """Whether the recipe called `name` can be changed into this one: options can be set, not taken back."""
        given = self.options.given().items()
        return base.data == self.data and _has_family(name, self.model) and base.options.given().items() <= given

    def _words(self, name: str, base: "Recipe") -> list[str]:
        """The command's words when it starts from the recipe called `name`."""
        user = ":" in self.model
        named = f"{name} --model {shlex.quote(self.model)}" if user else f"{name}_{self.model}"
        words = [f"torchmg train {named}"]
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name == "options":
                # Unset options are None, so that theirs are no switches: --periodic True.
                words += [_flag(key, str(given)) for key, given in self.options.given().items()]
            elif f.name != "model" and value != getattr(base, f.name):
                words.append(_flag(f.name, value))
        if self.data not in MADE_HERE:
            words.append("--data-dir DATA_DIR")
        return words


def _flag(name: str, value: Any) -> str:
    dashed = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{dashed}" if value else f"--no-{dashed}"
    return f"--{dashed} {' '.join(map(str, value)) if isinstance(value, tuple) else shlex.quote(str(value))}"


SEGMENTING: Mapping[str, Any] = {"model": "mgic_lraspp_mobilenetv3_small", "schedule": "poly"}
CLOUDS: Mapping[str, Any] = {
    "model": "mgic_dgcnn",
    "epochs": 250,
    "batch_size": 32,
    "label_smoothing": 0.2,
    "augment": "clouds",
}
PDE: Mapping[str, Any] = {
    "batch_size": 32,
    "lr": 0.05,
    "schedule": "step",
    "gamma": 2 / 3,
    "weight_decay": 2e-4,
    "decay": "weights",
    "time_smoothness": 2e-4,
    "limit": 1.0,
    "augment": "crop_flip",
}
PDE_STL10: Mapping[str, Any] = {**PDE, "weight_decay": 4e-4, "time_smoothness": 1e-4}
REGRESSING: Mapping[str, Any] = {
    "model": "function_mgic",
    "epochs": 100,
    "batch_size": 50,
    "lr": 0.02,
    "schedule": "constant",
    "weight_decay": 0.0,
}
"""Settings that recipes of a task share: DeepLabV3's schedule (Chen et al. 2017); DGCNN's length, batch and smoothing
(Wang et al. 2019, section 5.1); the constant rate of the MGIC paper's function approximation."""

BASES: Mapping[str, Recipe] = MappingProxyType(
    {
        "digits": Recipe(
            data="digits",
            epochs=20,
            batch_size=32,
            nesterov=True,
            weight_decay=5e-4,
            label_smoothing=0.1,
            augment="crop",
        ),
        "fashion_mnist": Recipe(data="fashion_mnist", augment="crop_flip"),
        "cifar10": Recipe(data="cifar10", augment="crop_flip"),
        "cifar100": Recipe(data="cifar100", augment="crop_flip"),
        "imagenet": Recipe(
            model="mgic_resnet50",
            data="imagenet",
            epochs=100,
            batch_size=256,
            schedule="step",
            milestones=(30, 60, 90),
            augment="inception",
        ),
        "image_folder": Recipe(model="mgic_resnet18", data="image_folder", epochs=100, augment="inception"),
        "camvid": Recipe(
            **SEGMENTING, data="camvid", epochs=200, batch_size=8, lr=0.05, weight_decay=4e-5, augment="scale_crop_flip"
        ),
        "cityscapes": Recipe(
            **SEGMENTING,
            data="cityscapes",
            epochs=480,
            batch_size=16,
            lr=0.01,
            weight_decay=5e-4,
            augment="scale_crop_flip",
            crop=769,
        ),
        "mask_folder": Recipe(**SEGMENTING, data="mask_folder", batch_size=8, lr=0.05, augment="scale_crop_flip"),
        "modelnet10": Recipe(**CLOUDS, data="modelnet10"),
        "modelnet40": Recipe(**CLOUDS, data="modelnet40"),
        "functions": Recipe(**REGRESSING, data="functions"),
        "signed_distance": Recipe(**REGRESSING, data="signed_distance"),
        "stl10": Recipe(data="stl10", augment="crop_flip"),
        "qtips": Recipe(model="imexnet", data="qtips", epochs=100, batch_size=8, lr=0.05),
        "features": Recipe(
            model="mgic_transfers",
            data="features",
            epochs=40,
            batch_size=8,
            lr=1.0,
            momentum=0.99,
            nesterov=True,
            weight_decay=0.0,
            clip=0.1,
        ),
        "pde_cifar10": Recipe(
            **PDE, model="parabolic", data="cifar10", epochs=180, milestones=tuple(range(40, 180, 10))
        ),
        "pde_cifar100": Recipe(
            **PDE,
            model="parabolic",
            data="cifar100",
            epochs=340,
            milestones=tuple(range(40, 340, 20)),
            options=ModelOptions(preset="cifar100"),
        ),
        "pde_stl10": Recipe(
            **PDE_STL10,
            model="parabolic",
            data="stl10",
            epochs=180,
            milestones=tuple(range(40, 180, 10)),
            options=ModelOptions(preset="stl10"),
        ),
        "mgiad_cifar10": Recipe(data="cifar10", epochs=400, lr=0.05, augment="autoaugment"),
        "mgiad_cifar100": Recipe(data="cifar100", epochs=400, lr=0.05, augment="crop_flip"),
        "mgiad_fashion_mnist": Recipe(
            data="fashion_mnist", epochs=400, lr=0.05, schedule="step", milestones=tuple(range(25, 400, 25))
        ),
        "modern_fashion_mnist": Recipe(
            data="fashion_mnist",
            batch_size=64,
            nesterov=True,
            weight_decay=5e-4,
            decay="weights",
            mixup=0.2,
            whiten=True,
        ),
    }
)
"""Settings by name. Those named after a data set are ours. The digits are few, 1,438 to train on: hence small batches,
smoothed labels and more decay; they are shifted but not mirrored, because a mirrored digit is another sign. ImageNet's
steps are what survives of the MGIC paper's; the squares and the schedule of Cityscapes are DeepLabV3's.
Features want many short steps: transfers begin as averages, near a saddle where all coarse channels are alike, which
plain momentum leaves late where groups are large; hence momentum 0.99 with clipping.

Those that start with `pde_` are those of Ruthotto and Haber's public drivers (lowcost spec 3.2): the rate falls by 1.5
every ten or twenty epochs after the fortieth, weights are cut to [-1, 1] and differences between time steps penalised.
Where they shift CIFAR's pictures by 2 pixels and STL-10's by 6 ours are shifted by an eighth of the side, and where
they standardise each picture ours are standardised by the set's own mean. Q-tips' rate is ours: the released 1e-3
without momentum is for a loss weighted by class.

Those that start with `mgiad_` are the MGiaD paper's: batch 128, 400 epochs, rate 0.05, weight decay 1e-4, a cosine, or
for FashionMNIST a tenth every 25 epochs. The paper does not name its augmentation. Its training accuracies do: below
98 % on CIFAR-10, near 100 % on the others, as with AutoAugment on the first, crops and flips on the second, and nothing
on the third; a later project of the authors trains so. `augment="crop_flip"` for CIFAR-10 is the other reading:
training accuracy then has nothing to hold it below 100 %, and the gap to the test that the paper reports cannot come
out. Where the authors' code steps the cosine by epochs, ours falls with every step.

Those that start with `modern_` won a search on held-out training samples, results/search/ (docs/recipes.md)."""


def recipe(name: str, **changes: Any) -> Recipe:
    """A recipe by name: a data set, or a data set and a model as in `cifar10_mgic_resnet56`.

    Args:
        name: a data set, or a paper's settings such as `mgiad_cifar10` or `pde_stl10`; alone or followed by `_` and a
            model of the catalogue that is for its task (`pde_`: a PDE network).
        **changes: fields of `Recipe` to change.

    Raises:
        UnknownNameError: no such recipe or field; the message names the nearest.
    """
    known = [f.name for f in fields(Recipe)]
    for key in changes:
        if key not in known:
            raise UnknownNameError(f"A recipe has no setting '{key}'.{did_you_mean(key, known)}")
    if name in BASES:
        return replace(BASES[name], **changes)
    for data, base in BASES.items():
        if name.startswith(f"{data}_") and (model := name.removeprefix(f"{data}_")) in MODELS:
            if not _has_family(data, model):
                raise UsageError(
                    f"{data} sets the widths of PDE networks, which {model} is not. Use {base.data}_{model}."
                )
            return replace(base, **{"model": model, **changes})
    raise UnknownNameError(
        f"Unknown recipe '{name}'.{did_you_mean(name, recipe_names())} (data set, or data set _ model)"
    )


def recipe_names(model: str | None = None) -> list[str]:
    """All names that `recipe` takes, or those of one model."""
    if model is not None:
        return [f"{name}_{model}" for name in BASES if _fits(name, model)]
    pairs = (f"{name}_{model}" for model in MODELS for name in BASES if _fits(name, model))
    return [*BASES, *pairs]


def _fits(name: str, model: str) -> bool:
    """Whether a model does what the data of a recipe asks for."""
    return SETS[BASES[name].data].task == find(model).task and _has_family(name, model)


def _has_family(name: str, model: str) -> bool:
    """Whether a model has the widths that settings for PDE networks choose; others choose none."""
    return not name.startswith("pde_") or (model in MODELS and MODELS[model].family in ("pde", "drnet"))


def load_recipe(path: Path) -> Recipe:
    """The recipe in a run folder's `config.json`.

    Raises:
        UsageError: the file is missing or is not a recipe.
    """
    try:
        values = json.loads(read_text(path))
    except FileNotFoundError as error:
        raise UsageError(f"{path} is missing.") from error
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} is not a readable recipe: {error}") from error
    if not isinstance(values, dict):
        raise UsageError(f"{path} is not a recipe: expected an object of settings.")
    return Recipe.from_json(values, str(path))
