"""Run folders with numbers made up by tests, and what a picture shows."""

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox

from torchmg.train.recipe import Recipe, recipe

COLUMNS = ("epoch", "step", "lr", "train_loss", "train_accuracy", "test_loss", "test_accuracy", "seconds")
DATA = {"test_pixels": "aa", "train_pixels": "bb"}


def log_rows(epochs: int, best: float = 90.0) -> list[dict[str, float]]:
    """Numbers that all differ."""
    return [
        {
            "epoch": e,
            "step": 10 * e,
            "lr": 0.1 / e,
            "train_loss": 2 / e,
            "train_accuracy": best - 30 / e,
            "test_loss": 2.5 / e,
            "test_accuracy": best - 40 / e,
            "seconds": 1.5,
        }
        for e in range(1, epochs + 1)
    ]


def record(what: Recipe, **changes: Any) -> dict[str, Any]:
    """A record with made-up numbers."""
    values = {"parameters": 1000, "macs": 50_000, "train_accuracy": 95.0, "test_accuracy": 90.0, "data": DATA}
    return {"recipe": what.to_json(), **values, **changes}


def make_run(folder: Path, what: Recipe | None = None, *, finished: int | None = None, **numbers: Any) -> Path:
    """A run folder; `finished` epochs of a run that is not, else all of them and a record."""
    what = what or recipe("digits_mgic_resnet20", epochs=4)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(what.to_json()))
    rows = log_rows(what.epochs if finished is None else finished, numbers.get("test_accuracy", 90.0))
    if rows:
        with (folder / "log.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
    if finished is None:
        (folder / "record.json").write_text(json.dumps(record(what, **numbers)))
    return folder


def with_seed(what: Recipe, seed: int) -> Recipe:
    """The same recipe, another seed."""
    return replace(what, seed=seed)


def texts(svg: Path) -> str:
    """All text in a picture."""
    return " ".join("".join(element.itertext()) for element in ElementTree.parse(svg).iter() if "text" in element.tag)


def capture(patch: pytest.MonkeyPatch, module: str) -> list[Figure]:
    """The figures that a module saves from now on."""
    from torchmg.plot import picture

    figures: list[Figure] = []

    def save(figure: Figure, *arguments: Any) -> picture.Picture:
        figures.append(figure)
        return picture.save(figure, *arguments)

    patch.setattr(f"torchmg.plot.{module}.save", save)
    return figures


def label_boxes(figure: Figure) -> dict[str, Bbox]:
    """Where each label stands, in pixels; the halo of a label has its place and counts once."""
    figure.draw_without_rendering()
    labels = [child for axes in figure.axes for child in axes.get_children() if isinstance(child, Annotation)]
    # of an annotation's own extent its leading line is a part
    return {label.get_text(): Text.get_window_extent(label) for label in labels if label.get_text()}


def covered(boxes: Sequence[Bbox]) -> list[tuple[Bbox, Bbox]]:
    """Pairs that cover each other."""
    return [(a, b) for a, b in combinations(boxes, 2) if a.overlaps(b)]
