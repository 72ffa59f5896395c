"""Error of approximated functions over parameters (MGIC paper, Table 2 and Fig. 4)."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

from torchmg.errors import UsageError
from torchmg.plot.picture import Picture, appearance, check_stem, clipped, drawing, save, short, tidy
from torchmg.tables import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class FunctionError:
    """One network at one width: its size, and its mean squared error with the standard deviation, if of several."""

    model: str
    channels: int
    parameters: int
    mse: float
    deviation: float | None = None


def draw_functions(
    points: Sequence[FunctionError], path_stem: str | Path, *, title: str = "", rows: Table | None = None
) -> Picture:
    """Draw mean squared error over parameters, both logarithmic: a line a network, bars of one standard deviation.

    A bar that would reach zero or below, where no logarithm is, ends at the lower edge.

    Args:
        points: at least one; the last width stands beside each.
        path_stem: file name without ending; `.png`, `.svg` and `.csv` are written, those of an earlier picture
            replaced.
        title: the function, epochs and folds belong in it.
        rows: the table behind the picture; default: the points.

    Raises:
        MissingExtraError: matplotlib is not installed.
        UsageError: no points, sizes or errors that are not positive and finite, or files that cannot be written or
            would replace another table.
    """
    rows = rows or _table(points, title)
    stem = check_stem(path_stem, rows.columns)
    if not points:
        raise UsageError("There is nothing to draw: give at least one point.")
    for point in points:
        if point.parameters < 1 or not 0 < point.mse < float("inf") or not isfinite(point.deviation or 0):
            raise UsageError(f"Logarithms need parameters and errors above 0, and finite; got {point}.")
    low = 0.8 * min(p.mse - _bar(p) if p.mse > 1.05 * _bar(p) else p.mse / 3 for p in points)
    with drawing(7, 4.6) as figure:
        axes = figure.add_subplot()
        axes.set_xscale("log")
        axes.set_yscale("log")
        for index, model in enumerate(dict.fromkeys(point.model for point in points)):
            members = sorted((p for p in points if p.model == model), key=lambda p: p.parameters)
            below = [min(_bar(p), p.mse - low / 2) for p in members]
            axes.errorbar(
                [p.parameters for p in members],
                [p.mse for p in members],
                yerr=[below, [_bar(p) for p in members]] if any(p.deviation for p in members) else None,
                **appearance(index),
                markersize=7,
                linewidth=1.4,
                capsize=4,
                label=clipped(model, 40),
            )
            for p in members:
                axes.annotate(str(p.channels), (p.parameters, p.mse), (5, 6), textcoords="offset points", fontsize=8)
        axes.set_ylim(low, 1.25 * max(p.mse + _bar(p) for p in points))
        _label_sizes(axes)
        axes.set_xlabel("parameters (logarithmic); the numbers at the points are last widths")
        axes.set_ylabel("test mean squared error (logarithmic)")
        axes.set_title(title, parse_math=False, fontsize=11)
        figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
        tidy(axes)
        return save(figure, stem, rows)


def _label_sizes(axes: "Axes") -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _bar(point: FunctionError) -> float:
    return point.deviation or 0.0


def _table(points: Sequence[FunctionError], title: str) -> Table:
    rows = [(p.model, p.channels, p.parameters, p.mse, p.deviation) for p in points]
    return Table(["model", "channels", "parameters", "test_mean", "test_std"], rows, title)
