"""Which of our finished runs belong to a row of a paper, and what they reached. No torch.

A run belongs to a row when model, data set and every option are the row's. Nothing here calls a run a reproduction:
what its training differs in from the paper's, above all fewer epochs, stands beside its accuracy.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from statistics import mean
from types import MappingProxyType
from typing import Any, Literal

from torchmg.data.names import DATASETS
from torchmg.errors import UsageError
from torchmg.models.options import ModelOptions
from torchmg.paper.rows import Network, PaperTable, Row
from torchmg.train.recipe import BASES, Recipe
from torchmg.train.records import read_record
from torchmg.train.scores import score_of

NOT_YET = "not yet"
"""What stands for accuracies that we could measure and have not."""
SEEDS = 3
"""As many runs give a mean and a spread that can be compared."""

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


UNNAMED = frozenset(
    "epochs batch_size lr momentum weight_decay schedule milestones gamma power augment crop damaged layout compile "
    "sync_norm model data fold options seed".split()
)
"""Settings that differ from a paper's only where its table gives them. Of every other one, those to come included, no
paper says anything, so that whatever is not the default of `Recipe` is a difference."""


@dataclass(frozen=True)
class Run:
    """What the record of one run says besides its scores; empty or None where it says nothing."""

    seed: int
    file: str
    """Name of the record."""
    command: str = ""
    seconds: float | None = None
    device: str = ""
    """Such as `cpu, 2 thread(s)`; of a GPU its name."""
    date: str = ""
    """Year-month-day."""
    versions: str = ""
    """Such as `torchmg 0.1.0, torch 2.15.0`."""


@dataclass(frozen=True)
class Measured:
    """What the runs of one recipe reached, one run for each seed."""

    recipe: Recipe
    test: tuple[float, ...]
    """Accuracies in percent, a seed each."""
    train: tuple[float, ...]
    parameters: int | None = None
    macs: int | None = None
    """Of one sample."""
    runs: tuple[Run, ...] = ()
    """In the order of the accuracies."""

    @property
    def gap(self) -> float:
        """Mean train minus mean test accuracy."""
        return mean(self.train) - mean(self.test)

    @property
    def seconds(self) -> float | None:
        """Mean over the runs, which may have shared their machine with others."""
        known = [run.seconds for run in self.runs if run.seconds is not None]
        return mean(known) if known else None

    def said(self, what: Literal["device", "date", "versions"]) -> tuple[str, ...]:
        """What the records say, each different answer once, sorted."""
        return tuple(sorted({getattr(run, what) for run in self.runs} - {""}))

    def shortened(self, training: Mapping[str, Any]) -> bool:
        """Whether it had fewer samples, or fewer epochs than the paper's (our recipe's where those are unknown)."""
        return self.recipe.epochs < training.get("epochs", BASES[self.recipe.data].epochs) or self.recipe.subset > 0

    def ours_alone(self) -> list[str]:
        """Settings that it has and of which papers say nothing, see `UNNAMED`."""
        ours, plain = asdict(self.recipe), asdict(Recipe())
        return [f.name for f in fields(Recipe) if f.name not in UNNAMED and ours[f.name] != plain[f.name]]

    def differences(self, training: Mapping[str, Any]) -> list[str]:
        """What the recipe has otherwise than the paper, such as `12 of 400 epochs` and `lr 0.1`."""
        ours = asdict(self.recipe)
        without_effect = {"epochs", *(() if self.recipe.schedule == "step" else ("milestones", "gamma"))}
        found = [f"{key} {ours[key]}" for key in training if key not in without_effect and ours[key] != training[key]]
        found += [f"{key} {ours[key]}" for key in self.ours_alone() if key not in training]
        whole = training.get("epochs")
        if whole is None:
            return [f"{ours['epochs']} epochs", *found]
        return found if whole == ours["epochs"] else [f"{ours['epochs']} of {whole} epochs", *found]


def results_in(folder: Path | None) -> list[Measured]:
    """The results in a folder that somebody named; without one those in `results/`, none where it does not exist."""
    default = Path("results")
    if folder is None and not default.is_dir():
        return []
    return load(folder or default)


def load(folder: Path) -> list[Measured]:
    """The results in a folder of records such as `results/`; repeats of a recipe and seed count once.

    Raises:
        CheckpointError: a file that is no record, or damaged; the message names it.
        UsageError: no such folder.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder. Name one with records of finished runs, such as results.")
    groups: dict[Recipe, dict[int, tuple[str, dict[str, Any]]]] = {}
    for path in sorted(folder.glob("*.json")):
        recipe, record = read_record(path)
        groups.setdefault(replace(recipe, seed=0), {}).setdefault(recipe.seed, (path.name, record))
    return [_measured(recipe, by_seed) for recipe, by_seed in groups.items()]


def _measured(recipe: Recipe, by_seed: Mapping[int, tuple[str, Mapping[str, Any]]]) -> Measured:
    records = [record for _, record in by_seed.values()]
    test, train = (tuple(score_of(recipe.data).of(record, split) for record in records) for split in ("test", "train"))
    runs = tuple(_run(seed, file, record) for seed, (file, record) in by_seed.items())
    return Measured(recipe, test, train, records[0]["parameters"], records[0]["macs"], runs)


def _run(seed: int, file: str, record: Mapping[str, Any]) -> Run:
    here = record.get("environment") or {}
    threads = f", {here['threads']} thread(s)" if here.get("device") == "cpu" and "threads" in here else ""
    versions = (f"{name} {here[name].partition('+')[0]}" for name in ("torchmg", "torch") if name in here)
    device = f"{here.get('device', '')}{threads}"
    command, seconds = record.get("command", ""), record.get("seconds")
    return Run(seed, file, command, seconds, device, here.get("date", ""), ", ".join(versions))


def of_row(row: Row, table: PaperTable, results: Sequence[Measured]) -> Measured | None:
    """The results of the row's model, full runs before shortened ones, and settings that no paper has last.

    Of several recipes it is one of the paper's length or more, else one with `SEEDS` seeds or more, as one run of a
    shortened recipe says little, else the longest; of several such the longest, the nearest to the paper's, then that
    with most seeds.
    """
    if not isinstance(row.ours, Network):
        return None
    ours = row.ours
    matching = [result for result in results if _same(result.recipe, ours)]

    def merit(result: Measured) -> tuple[bool, bool, bool, bool, int, int, int]:
        epochs, whole = result.recipe.epochs, table.training.get("epochs", result.recipe.epochs)
        near = -len(result.differences(table.training))
        plain = not set(result.ours_alone()) - set(table.training)
        whole_length, seeds = epochs >= whole, len(result.test)
        return plain, not result.recipe.subset, whole_length, seeds >= SEEDS, min(epochs, whole), near, seeds

    return max(matching, key=merit, default=None)


def rows_of(recipe: Recipe, tables: Iterable[PaperTable]) -> list[tuple[PaperTable, Row]]:
    """The rows that a run of this recipe belongs to, each with its table; rows that repeat one are left out."""
    return [
        (table, row)
        for table in tables
        for row in table.rows
        if isinstance(row.ours, Network) and not row.repeats and _same(recipe, row.ours)
    ]


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
