"""Cards of trained networks, made from the record of a finished run and from nothing else.

What a card says beyond its record follows from the names in it: the catalogue's words on the model, the data set's
terms, the rows of papers' tables that the network belongs to. No number is typed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchmg.conversion.card import header, loading
from torchmg.data.names import SETS
from torchmg.errors import UsageError
from torchmg.models.catalog import MODELS
from torchmg.models.registry import description
from torchmg.paper import TABLES
from torchmg.paper.measured import Measured, rows_of
from torchmg.paper.rows import PaperTable, Row
from torchmg.tables import Cell, Table
from torchmg.train.folder import RunFolder
from torchmg.train.recipe import BASES, MADE_HERE, Recipe
from torchmg.train.records import read_json, recipe_of
from torchmg.train.scores import score_of

HUB = {"classify": ("image-classification", "accuracy"), "segment": ("image-segmentation", "mean_iou")}
"""Task -> the Hub's words for it and for its score; other tasks of ours have none there."""


@dataclass(frozen=True)
class Finished:
    """A finished run, and where its weights are."""

    recipe: Recipe
    record: Mapping[str, Any]
    folder: str | None = None
    """Name of the run folder that holds the weights, where a folder was given."""
    weights: str | None = None
    """Name of the weights, if they ship with torchmg."""

    @property
    def name(self) -> str:
        """The heading."""
        return (
            f"{self.recipe.model}, {self.weights}" if self.weights else f"{self.recipe.name}, seed {self.recipe.seed}"
        )


def finished(path: Path) -> Finished:
    """What lies at `path`: a run folder, the record of a run or a copy of it, or the NAME.json of shipped weights.

    Raises:
        CheckpointError: nothing of these, or damaged.
        UsageError: a run that is not finished, or a recipe of another version.
    """
    if path.is_dir():
        record = RunFolder.existing(path).record()
        if record is None:
            raise UsageError(f"The run in {path} is not finished. Finish it first: torchmg train --resume {path}")
        return Finished(recipe_of(record, path / "record.json"), record, folder=path.resolve().name)
    values = read_json(path)
    if isinstance(values, dict) and "recipe" not in values and "record" in values:
        return Finished(recipe_of(values["record"], path), values["record"], weights=path.stem)
    return Finished(recipe_of(values, path), values)


def run_card(run: Finished, *, license: str | None = None) -> str:  # noqa: A002 (the Hub's name)
    """The card of a trained network: markdown with a header for the Hugging Face Hub.

    Args:
        run: what `finished` found.
        license: identifier of the weights' licence on the Hub, such as `apache-2.0`; the card mentions none without it.
    """
    record = run.record
    lines = [
        *_header(run, license),
        f"# {run.name}",
        "",
        *_network(run.recipe, record),
        *_scores(run.recipe, record),
        *_training(run.recipe, record),
        *_data(run.recipe, record),
        *_load(run),
        *_evaluate(run),
        *_limits(run.recipe, record),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _header(run: Finished, license: str | None) -> list[str]:  # noqa: A002
    data, task = run.recipe.data, SETS[run.recipe.data].task
    if task not in HUB:
        return header(license=license, datasets=[data])
    kind, metric = HUB[task]
    score = score_of(data)
    result = {
        "task": {"type": kind},
        "dataset": {"type": data, "name": data, "split": "test"},
        "metrics": [{"type": metric, "name": f"{score.label} %", "value": round(score.of(run.record, "test"), 2)}],
    }
    index = [{"name": run.name, "results": [result]}]
    return header([kind], license=license, pipeline_tag=kind, datasets=[data], **{"model-index": index})


def _network(recipe: Recipe, record: Mapping[str, Any]) -> list[str]:
    options = "".join(f", {name}={value}" for name, value in recipe.options.given().items())
    if recipe.model in MODELS:
        entry = MODELS[recipe.model]
        beside = f" Its dense twin is `{entry.dense}`." if entry.dense else ""
        what = [description(entry.name), "", f"In torchmg: `{entry.name}`{options}.{beside}"]
        what += ["", f"Paper: {entry.citation}."]
    else:
        what = [f"`{Path(recipe.model).name}`{options}, a network that is not of torchmg's catalogue."]
    shape = record.get("input")
    sample = f", one sample of {'x'.join(map(str, shape))}" if shape else ""
    costs = [("parameters", record["parameters"]), (f"MACs{sample}", record["macs"])]
    return [*what, "", Table(["costs", "number"], costs).markdown(), ""]


def _scores(recipe: Recipe, record: Mapping[str, Any]) -> list[str]:
    score = score_of(recipe.data)
    reached = {split: score.of(record, split) for split in ("train", "test")}
    rows = [(split, _loss(record.get(f"{split}_loss")), f"{value:.2f}") for split, value in reached.items()]
    if f"test_flip_{score.key}" in record:
        value = score.of(record, "test_flip")
        rows.append(("test, with the mirror image", _loss(record.get("test_flip_loss")), f"{value:.2f}"))
    rows.append(("gap, train minus test", "", f"{reached['train'] - reached['test']:.2f}"))
    lines = [Table(["split", score.loss, f"{score.label} %"], rows).markdown(), ""]
    if classes := record.get("test_classes"):
        each = [(name, f"{value:.2f}") for name, value in classes.items()]
        lines += [Table(["class", "test IoU %"], each).markdown(), ""]
    note = "After the last epoch, both splits in evaluation mode and without augmentation; no epoch was picked."
    return ["## Scores", "", *lines, note, ""]


def _loss(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _training(recipe: Recipe, record: Mapping[str, Any]) -> list[str]:
    here = record.get("environment", {})
    named = [str(here[key]) for key in ("device", "processor", "system") if here.get(key)]
    shared = [f"{key} {here[key]}" for key in ("threads", "processes") if here.get(key)]
    versions = [f"{key} {here[key]}" for key in ("torchmg", "torch", "lightning", "numpy", "python") if here.get(key)]
    facts: list[tuple[str, Cell]] = [
        ("epochs", _epochs(recipe)),
        ("steps", record.get("steps")),
        ("seed", recipe.seed),
        ("seconds", record.get("seconds")),
        ("device", ", ".join([*named, *shared])),
        ("versions", ", ".join(versions)),
        ("date", here.get("date")),
        ("teacher", record.get("teacher")),
        ("first weights", record.get("start")),
    ]
    rows = [
        (name, f"{value:,}" if isinstance(value, int | float) else value)
        for name, value in facts
        if value or value == 0
    ]
    command = record.get("command") or recipe.command()
    return ["## Training", "", "```", command, "```", "", Table(["what", "this run"], rows).markdown(), ""]


def _epochs(recipe: Recipe) -> str:
    """How many, and of how many where the recipe that was changed has more."""
    whole = BASES[recipe.base].epochs
    return f"{recipe.epochs} of {whole}" if recipe.epochs < whole else str(recipe.epochs)


def _data(recipe: Recipe, record: Mapping[str, Any]) -> list[str]:
    info = SETS[recipe.data]
    part = f" Trained on {recipe.subset:,} of the training samples." if recipe.subset else ""
    lines = [f"`{recipe.data}`: {info.text}.{part}", "", f"Terms: {info.terms}.", ""]
    if hashes := record.get("data"):
        lines += [Table(["part", "sha256"], list(hashes.items())).markdown(), ""]
    return ["## Data", "", *lines]


def _load(run: Finished) -> list[str]:
    if run.weights:
        made = f'torchmg.create("{run.recipe.model}", weights="{run.weights}")'
        return loading(["import torchmg", "", f"net = {made}.eval()"])
    if run.folder is None:
        return ["## Load", "", "The weights are not with this record; the command above trains them.", ""]
    return loading(
        [
            "from pathlib import Path",
            "",
            "from torchmg.train.folder import RunFolder",
            "from torchmg.train.model import data_for, model_for",
            "",
            f'run = RunFolder.existing(Path("{run.folder}"))',
            "net = model_for(run.recipe(), data_for(run.recipe()))",
            "run.read_weights(net)",
            "net.eval()",
        ]
    )


def _evaluate(run: Finished) -> list[str]:
    if not run.weights and run.folder is None:
        return []
    what = f"{run.recipe.model} --weights {run.weights}" if run.weights else run.folder
    where = "" if run.recipe.data in MADE_HERE else " --data-dir DATA_DIR"
    return ["## Evaluate", "", "```", f"torchmg eval {what}{where}", "```", ""]


def _limits(recipe: Recipe, record: Mapping[str, Any]) -> list[str]:
    whole = BASES[recipe.base].epochs
    limits = [f"One run, with seed {recipe.seed}: it does not say what other seeds reach."]
    if recipe.epochs < whole:
        limits.append(
            f"The run was shortened to {recipe.epochs} of the {whole} epochs of torchmg's recipe `{recipe.base}`, so "
            "its scores compare with no paper's."
        )
    if recipe.subset:
        limits.append("It saw only a part of the training samples.")
    limits.append(f"It was measured on the test part of `{recipe.data}`; what it makes of other data is not known.")
    rows = rows_of(recipe, TABLES.values())
    if not rows:
        limits.append("No row of the papers' tables in torchmg has this network on this data.")
    lines = ["## Limitations", "", *(f"- {limit}" for limit in limits), ""]
    return [*lines, *_papers(recipe, record, rows)] if rows else lines


def _papers(recipe: Recipe, record: Mapping[str, Any], rows: list[tuple[PaperTable, Row]]) -> list[str]:
    """What papers print for this network on this data, beside what the run reached."""
    score = score_of(recipe.data)
    here = Measured(recipe, (score.of(record, "test"),), (score.of(record, "train"),))
    reached = [f"{value:.2f}" for value in (*here.test, *here.train)]
    cells = [(table.source, row.label, *_printed(row), *reached, _otherwise(here, table, row)) for table, row in rows]
    columns = ["table", "row", "printed test %", "printed train %", "test %", "train %", "otherwise than there"]
    note = (
        "Printed standard deviations over runs stand in brackets. A run that differs from the paper's reproduces none."
    )
    return ["What papers print for this network and data:", "", Table(columns, cells).markdown(), "", note, ""]


def _printed(row: Row) -> tuple[str, str]:
    """Test accuracy, with its spread, and train accuracy as the paper prints them."""
    if row.accuracy is None:
        return "-", "-"
    spread = "" if row.accuracy.spread is None else f" ({row.accuracy.spread})"
    return f"{row.accuracy.test}{spread}", "-" if row.accuracy.train is None else str(row.accuracy.train)


def _otherwise(here: Measured, table: PaperTable, row: Row) -> str:
    return "; ".join([*here.differences(table.training), *([row.departs] if row.departs else [])]) or "-"
