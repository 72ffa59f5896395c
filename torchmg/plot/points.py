"""Accuracy over size: one point a model, one colour a family."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log10
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from torchmg.plot.labels import Label, label_points
from torchmg.plot.picture import PALE, Picture, appearance, clipped, drawing, save, short, tidy
from torchmg.tables import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Size = Literal["parameters", "macs"]
"""What stands on the horizontal axis."""
SIZES: dict[str, str] = {"parameters": "parameters", "macs": "MACs of one sample"}


@dataclass(frozen=True)
class Point:
    """One model in the trade-off: its size, score in percent, and standard deviation over seeds, if several."""

    label: str
    family: str
    size: int
    accuracy: float
    deviation: float | None = None


def draw_tradeoff(
    points: Sequence[Point],
    stem: Path,
    title: str,
    *,
    rows: Table | None = None,
    size: Size = "parameters",
    label: str = "accuracy",
) -> Picture:
    """Draw accuracy over size (logarithmic), a colour and a line per family, and the Pareto front as a thin step line.

    Args:
        points: at least one.
        stem: file name without ending; `.png`, `.svg` and `.csv` are written.
        title: data set and number of seeds belong in it.
        rows: the table behind the picture; default: the points.
        size: what the sizes of the points are.
        label: what the score is called.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    with drawing(7, 4.4) as figure:
        axes = figure.add_subplot()
        for index, family in enumerate(dict.fromkeys(point.family for point in points)):
            members = sorted((p for p in points if p.family == family), key=lambda p: p.size)
            axes.errorbar(
                [p.size for p in members],
                [p.accuracy for p in members],
                yerr=[p.deviation or 0.0 for p in members] if any(p.deviation for p in members) else None,
                **appearance(index),
                markersize=8,
                linewidth=1.2,
                capsize=4,
            )
        logarithmic(axes, points)
        front, edge = pareto(points), axes.get_xlim()[1]
        sizes, accuracies = [p.size for p in front], [p.accuracy for p in front]
        axes.step([*sizes, edge], [*accuracies, accuracies[-1]], where="post", color=PALE, lw=0.7, zorder=1)
        axes.set_xlabel(f"{SIZES[size]} (logarithmic)")
        axes.set_ylabel(f"test {label} (%)")
        axes.set_title(title, parse_math=False, fontsize=11)
        tidy(axes)
        label_points(figure, axes, [_label(point) for point in sorted(points, key=lambda p: (p.size, p.accuracy))])
        return save(figure, stem, rows or _table(points, title, size))


def pareto(points: Sequence[Point]) -> list[Point]:
    """The points that no other one beats in accuracy without being larger, by size."""
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p.size, -p.accuracy)):
        if not front or point.accuracy > front[-1].accuracy:
            front.append(point)
    return front


def _label(point: Point) -> Label:
    text = f"{clipped(point.label, 40)}\n{short(point.size)}, {point.accuracy:.2f} %"
    return Label(point.size, point.accuracy, text, point.deviation or 0.0)


def _table(points: Sequence[Point], title: str, size: Size) -> Table:
    rows = [(p.label, p.family, p.size, p.accuracy, p.deviation) for p in points]
    return Table(["model", "family", size, "test_accuracy", "test_deviation"], rows, title)


def logarithmic(axes: "Axes", points: Sequence[Point]) -> None:
    """Logarithmic sizes, with room for labels at the sides, and differences of a tenth of a percent not blown up."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    sizes = [point.size for point in points]
    axes.set_xlim(min(sizes) / 1.6, max(sizes) * 1.6)
    low = min(p.accuracy - (p.deviation or 0) for p in points)
    high = max(p.accuracy + (p.deviation or 0) for p in points)
    margin = max(0.5, 0.35 * (high - low))
    axes.set_ylim(low - margin, min(high + margin, 100.0 + margin / 4))
    narrow = log10(max(sizes) / min(sizes)) < 2
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5) if narrow else (1,)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())
