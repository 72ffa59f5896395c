"""Disturbances over depth: how perturbations grow, how much each step expands them, what rounded activations cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from torchmg.errors import UsageError
from torchmg.plot.picture import PALE, Picture, appearance, check_stem, clipped, drawing, save, tidy
from torchmg.tables import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

Quantity = Literal["growth", "expansion", "error"]
"""growth: of a relative difference since the input; expansion: of a difference in one step; error: normalised mean
squared error of rounded features."""
COLUMNS = ("run", "network", "seed", "quantity", "setting", "site", "module", "mean", "largest")
"""Of the table that lies beside the picture."""


class Look(NamedTuple):
    """How a quantity is drawn."""

    label: str
    setting: str
    logits: bool


LOOKS: dict[Quantity, Look] = {
    "growth": Look("relative difference\nover that of the input", "perturbation {:g} of the image", True),
    "expansion": Look("difference behind a step\nover that before it", "perturbation {:g} of the image", False),
    "error": Look("normalised mean\nsquared error", "{:g}-bit activations", True),
}


@dataclass(frozen=True)
class DepthCurve:
    """One quantity of one run over depth.

    Args:
        network: name; curves of one name have one colour.
        quantity: see `Quantity`.
        setting: the perturbation's relative size, or the bits.
        mean: behind every step or block and, but for `expansion`, at the logits.
        largest: the same over images; none for `error`.
    """

    network: str
    quantity: Quantity
    setting: float
    mean: tuple[float, ...]
    largest: tuple[float, ...] = ()


def draw_stability(curves: Sequence[DepthCurve], stem: str | Path, rows: Table, *, title: str = "") -> Picture:
    """Draw a row of panels for each quantity, one panel for each setting; every network in a colour of its own.

    Solid lines with filled markers are means over images, dotted ones the largest; a hollow marker stands for the
    logits. A grey line is drawn at 1, which non-expansive steps stay below.

    Args:
        curves: at least one.
        stem: file name without ending; `.png`, `.svg` and `.csv` are written, those of an earlier picture replaced.
        rows: what goes into the CSV, with the columns `COLUMNS`.
        title: above the picture.

    Raises:
        UsageError: no curves, values that are not finite, or files that cannot be written.
        MissingExtraError: matplotlib is not installed.
    """
    if not curves:
        raise UsageError("There is nothing to draw: name at least one perturbation or number of bits.")
    if not all(isfinite(value) for curve in curves for value in (*curve.mean, *curve.largest)):
        raise UsageError("Values over depth must be finite to be drawn.")
    stem = check_stem(stem, COLUMNS)
    names = list(dict.fromkeys(curve.network for curve in curves))
    panels = [
        (
            quantity,
            sorted({curve.setting for curve in curves if curve.quantity == quantity}, reverse=quantity == "error"),
        )
        for quantity in get_args(Quantity)
    ]
    panels = [(quantity, settings) for quantity, settings in panels if settings]
    width = max(len(settings) for _, settings in panels)
    inches = 1.2 + 4.2 * width
    letters = round(10 * inches) - 8  # as many fit below, beside a marker
    columns = 2 if len(names) > 3 and max(map(len, names)) <= letters / 2 - 4 else 1
    with drawing(inches, 0.9 + 2.6 * len(panels) + 0.22 * ceil(len(names) / columns)) as figure:
        grid = figure.subplots(len(panels), width, squeeze=False, sharey="row")
        for line, (quantity, settings) in zip(grid, panels, strict=True):
            for axes in line[len(settings) :]:
                axes.set_axis_off()
            for axes, setting in zip(line, settings, strict=False):
                shown = [curve for curve in curves if (curve.quantity, curve.setting) == (quantity, setting)]
                for curve in shown:
                    _line(axes, curve, names.index(curve.network))
                _axes(axes, quantity, setting)
            line[0].set_ylabel(LOOKS[quantity].label)
            _heights(line[0], quantity)
        figure.suptitle(f"{title}\nsolid: mean over images; dotted: largest", fontsize=11, parse_math=False)
        handles = [_handle(clipped(name, letters), index) for index, name in enumerate(names)]
        figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False)
        return save(figure, stem, rows)


def _line(axes: "Axes", curve: DepthCurve, index: int) -> None:
    look = appearance(index)
    steps = len(curve.mean) - LOOKS[curve.quantity].logits
    places = range(1, steps + 1)
    axes.plot(places, curve.mean[:steps], **look, linewidth=1.4, markersize=4)
    if curve.largest:
        axes.plot(places, curve.largest[:steps], color=look["color"], linewidth=1.0, linestyle=":")
    if LOOKS[curve.quantity].logits:
        axes.plot([steps + 1], curve.mean[steps:], **look, linestyle="none", markersize=6, markerfacecolor="none")


def _handle(name: str, index: int) -> "Line2D":
    from matplotlib.lines import Line2D

    return Line2D([], [], **appearance(index), linewidth=1.4, markersize=5, label=name.replace("$", r"\$"))


def _axes(axes: "Axes", quantity: Quantity, setting: float) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_yscale("log")
    if quantity != "error":
        axes.axhline(1, color=PALE, linewidth=0.9, zorder=1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_title(LOOKS[quantity].setting.format(setting), fontsize=10)
    axes.set_xlabel("time step or block" + ("; hollow: logits" if LOOKS[quantity].logits else ""))
    tidy(axes)


def _heights(axes: "Axes", quantity: Quantity) -> None:
    """Limits and ticks of a row of panels, so that some ticks have names and none cover each other."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axes.get_ylim()
    if quantity == "error":
        axes.set_ylim(10 ** floor(log10(low)), 10 ** ceil(log10(high)))
    else:
        low, high = min(low, 0.5), max(high, 2.0)
        axes.set_ylim(low, high)
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
