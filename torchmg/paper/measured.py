"""Which of our finished runs belong to a row of a paper, and what they reached. No torch.

A run belongs to a row when model, data set and every option are the row's. Nothing here calls a run a reproduction:
what its training differs in from the paper's, above all fewer epochs, stands beside its accuracy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from types import MappingProxyType
from typing import Any

from torchmg.data.names import DATASETS
from torchmg.errors import UsageError
from torchmg.models.options import ModelOptions
from torchmg.paper.rows import Network, PaperTable, Row
from torchmg.train.recipe import Recipe
from torchmg.train.records import read_record
from torchmg.train.scores import score_of

NOT_YET = "not yet"
"""What stands for accuracies that we could measure and have not."""

_MGNET: Mapping[str, Any] = MappingProxyType({"share": "level", "norms": "use"})
_MGIAD: Mapping[str, Any] = MappingProxyType({**_MGNET, "group_size": 8, "eta_pre": 1, "eta_post": 1})
_IMEXNET: Mapping[str, Any] = MappingProxyType({"released": False, "width": 0.25})
_PDE: Mapping[str, Any] = MappingProxyType({"preset": "cifar10"})
_SEGMENTER: Mapping[str, Any] = MappingProxyType({"preset": "paper", "group_rule": "floor", "act": "hswish"})
DEFAULTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "mgnet18": {**_MGNET, "steps": 2},
        "mgnet20": {**_MGNET, "steps": 3},
        "mgiad18": {**_MGIAD, "coarsest": 64},
        "mgiad20": {**_MGIAD, "coarsest": 16},
        "parabolic": _PDE,
        "hamiltonian": _PDE,
        "second_order": _PDE,
        "imexnet": _IMEXNET,
        "imexnet_explicit": _IMEXNET,
        "mgic_resnet56": {"preset": "paper", "group_size": 8, "coarsest": 16},
        "mgic_resnet50": {"preset": "paper", "group_size": 32, "coarsest": 64},
        "mgic_mobilenetv3_large": {"preset": "paper", "group_size": 64, "coarsest": 64, "act": "hswish"},
        "mgic_lraspp_mobilenetv3_small": {
            **_SEGMENTER,
            "stop": "le",
            "group_size": 16,
            "coarsest": 16,
            "se_levels": "finest",
        },
        "mgic_lraspp_mobilenetv3_large": {
            **_SEGMENTER,
            "stop": "lt1",
            "group_size": 32,
            "coarsest": 64,
            "se_levels": "all",
        },
    }
)
"""What the options that rows set are when nobody sets them, so that a run that names a default belongs too."""
OF_PRESETS: Mapping[tuple[str, str], Mapping[str, Any]] = MappingProxyType(
    {("mgic_resnet56", "two_level"): {"coarsest": 64}}
)
"""(Model, preset) -> the defaults that are the preset's own."""


OURS_ALONE = (
    *("distill_from", "start_from", "cutmix", "mixup", "erase", "whiten", "zero_init"),
    *("nesterov", "ema", "label_smoothing", "warmup_epochs"),
)
"""Settings that no paper's training has unless its table says so; where a run has one, its row says so."""


@dataclass(frozen=True)
class Measured:
    """What the runs of one recipe reached, one run for each seed."""

    recipe: Recipe
    test: tuple[float, ...]
    """Accuracies in percent, a seed each."""
    train: tuple[float, ...]

    @property
    def gap(self) -> float:
        """Mean train minus mean test accuracy."""
        return mean(self.train) - mean(self.test)

    def ours_alone(self) -> list[str]:
        """Those of `OURS_ALONE` that the recipe has."""
        return [key for key in OURS_ALONE if getattr(self.recipe, key)]

    def differences(self, training: Mapping[str, Any]) -> list[str]:
        """What the recipe has otherwise than the paper, such as `12 of 400 epochs` and `lr 0.1`."""
        ours = asdict(self.recipe)
        without_effect = {"epochs", *(("milestones", "gamma") if self.recipe.schedule == "cosine" else ())}
        found = [f"{key} {ours[key]}" for key in training if key not in without_effect and ours[key] != training[key]]
        found += [f"{key} {ours[key]}" for key in self.ours_alone() if key not in training]
        whole = training.get("epochs")
        if whole is None:
            return [f"{ours['epochs']} epochs", *found]
        return found if whole == ours["epochs"] else [f"{ours['epochs']} of {whole} epochs", *found]


def spread(values: Sequence[float]) -> float | None:
    """Standard deviation over seeds, where there are several."""
    return stdev(values) if len(values) > 1 else None


def load(folder: Path) -> list[Measured]:
    """The results in a folder of records such as `results/`; repeats of a recipe and seed count once.

    Raises:
        CheckpointError: a file that is no record, or damaged; the message names it.
        UsageError: no such folder.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder. Name one with records of finished runs, such as results.")
    groups: dict[Recipe, dict[int, dict[str, Any]]] = {}
    for path in sorted(folder.glob("*.json")):
        recipe, record = read_record(path)
        groups.setdefault(replace(recipe, seed=0), {}).setdefault(recipe.seed, record)
    return [
        Measured(
            recipe,
            tuple(score_of(recipe.data).of(record, "test") for record in by_seed.values()),
            tuple(score_of(recipe.data).of(record, "train") for record in by_seed.values()),
        )
        for recipe, by_seed in groups.items()
    ]


def of_row(row: Row, table: PaperTable, results: Sequence[Measured]) -> Measured | None:
    """The results of the row's model: of several recipes the longest, then the nearest to the paper's.

    One with settings that no paper has comes last, however long it was trained.
    """
    if not isinstance(row.ours, Network):
        return None
    ours = row.ours
    matching = [result for result in results if _same(result.recipe, ours)]

    def merit(result: Measured) -> tuple[bool, int, int]:
        return not result.ours_alone(), result.recipe.epochs, -len(result.differences(table.training))

    return max(matching, key=merit, default=None)


def measurable(row: Row) -> bool:
    """Whether a run could fill the row: a network, not a hierarchy that is only counted, on data that can be read."""
    return isinstance(row.ours, Network) and row.ours.data in DATASETS


def resolved(model: str, options: ModelOptions) -> dict[str, Any]:
    """Options with the defaults of their model and preset, so that equal networks have equal options.

    Only options that a row sets have defaults here; widths compare as numbers.
    """
    given = options.given()
    own = DEFAULTS.get(model, {})
    preset = given.get("preset", own.get("preset", ""))
    return {"width": 1.0, **own, **OF_PRESETS.get((model, preset), {}), **given}


def _same(recipe: Recipe, ours: Network) -> bool:
    if (recipe.model, recipe.data) != (ours.model, ours.data):
        return False
    return resolved(ours.model, recipe.options) == resolved(ours.model, ours.options)
