"""What the study of stability found of each run: as curves, as rows, as plain values for a record."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torchmg.plot.stability import COLUMNS, DepthCurve
from torchmg.study.disturbed import Disturbed
from torchmg.tables import Cell, Table
from torchmg.train.recipe import Recipe

NOTE = (
    "growth: relative difference behind the last step or block over that of the input, for random perturbations of a "
    "relative size, mean over images; logits: the same at the logits.\n"
    "expansion: the largest factor by which one step takes two maps apart, of all steps and images.\n"
    "error: normalised mean squared error behind the last step or block, with activations rounded behind every one; "
    "weights and everything in between stay floating point.\n"
    "change: of the accuracy, in points; same: images that keep their class, in percent."
)
"""What the columns of the summary mean."""


@dataclass(frozen=True)
class Stability:
    """One run and what disturbances do to it."""

    run: str
    """Name of its folder."""
    network: str
    """Model and the settings in which the study's runs differ, but for the seed."""
    recipe: Recipe
    weights: str
    """Sha256 of the weights' file."""
    finished: bool
    found: Disturbed

    def curves(self) -> list[DepthCurve]:
        """What is drawn of it."""
        name, found = self.network, self.found
        return [
            *(DepthCurve(name, "growth", size, c.mean, c.largest) for size, c in found.growth.items()),
            *(DepthCurve(name, "expansion", size, c.mean, c.largest) for size, c in found.expansion.items()),
            *(DepthCurve(name, "error", bits, errors) for bits, errors in found.error.items()),
        ]

    def record(self) -> dict[str, Any]:
        """Plain values: the run, its recipe and weights, and every number of `Disturbed`."""
        own = {"run": self.run, "network": self.network, "weights": self.weights, "finished": self.finished}
        return {**own, **asdict(self.found), "recipe": self.recipe.to_json()}


def summary_table(rows: Sequence[Stability], title: str) -> Table:
    """A row a run, with the ends of its courses."""
    cells = [_summary(row) for row in rows]
    return Table(list(cells[0]), [list(row.values()) for row in cells], title, NOTE)


def depth_table(rows: Sequence[Stability], title: str) -> Table:
    """A row for each run, quantity, setting and site, in the columns of `torchmg.plot.stability.COLUMNS`."""
    cells: list[list[Cell]] = []
    for row in rows:
        places = [*row.found.sites, "logits"]
        for curve in row.curves():
            largest = curve.largest or (None,) * len(curve.mean)
            cells += [
                [row.run, row.network, row.recipe.seed, curve.quantity, curve.setting, site, module, mean, most]
                for site, (module, mean, most) in enumerate(zip(places, curve.mean, largest, strict=False), 1)
            ]
    return Table(COLUMNS, cells, title, NOTE)


def _summary(row: Stability) -> dict[str, Cell]:
    found = row.found
    cells: dict[str, Cell] = {
        "network": row.network + ("" if row.finished else " (unfinished)"),
        "seed": row.recipe.seed,
        "sites": len(found.sites),
        "accuracy %": found.accuracy,
    }
    for size, course in found.growth.items():
        cells[f"growth {size:g}"] = course.mean[-2]
        cells[f"logits {size:g}"] = course.mean[-1]
        cells[f"expansion {size:g}"] = max(found.expansion[size].largest) if found.expansion else None
    for number, errors in found.error.items():
        cells[f"error {number} bits"] = errors[-2]
        cells[f"change {number} bits"] = found.rounded_accuracy[number] - found.accuracy
        cells[f"same {number} bits"] = found.same[number]
    return cells
