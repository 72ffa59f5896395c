"""Parameters and MACs over width, both axes logarithmic, so that a power of the width is a straight line."""

from collections.abc import Sequence
from math import ceil
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from torchmg.bench.scaling import COLUMNS, Growth, Scaling, scaling_table
from torchmg.plot.picture import COLOURS, INK, PALE, Picture, appearance, check_stem, drawing, save, short, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

TICKS = 7
"""As many widths have room below an axis."""
APART = 2.5
"""Factor between the guides and the counts nearest to them."""
FEW = len(COLOURS)
"""As many families have a legend; more would need one that covers lines, so each is named at its line's end."""
LABEL = 0.052
"""Height of a line's name as a share of the axes, with the space around it."""


def draw_scaling(scalings: Sequence[Scaling], stem: str | Path = "scale") -> Picture:
    """Draw parameters (left) and MACs (right) over width: a line for each family, with its name and fitted exponent.

    Grey guides rise with exponents 1 and 2. Names stand in a legend, those of more than six families at the right ends
    of their lines, moved apart.

    Args:
        scalings: at least one, what `torchmg.bench.scaling.scaling` gave.
        stem: file name without ending; `.png`, `.svg` and `.csv` are written, those of an earlier picture replaced.

    Raises:
        UsageError: the files cannot be written or would replace another table.
        MissingExtraError: matplotlib is not installed.
    """
    stem = check_stem(stem, COLUMNS)
    table = scaling_table(scalings)
    many = len({s.family for s in scalings}) > FEW
    with drawing(*((13.0, 5.2) if many else (9.5, 4.6))) as figure:
        for index, (name, what) in enumerate((("parameters", "parameters"), ("macs", "MACs"))):
            axes = figure.add_subplot(1, 2, index + 1)
            growths = {s.family: getattr(s, name) for s in scalings}
            _guides(axes, list(growths.values()))
            _lines(axes, growths)
            _scale(axes, next(iter(growths.values())).widths)
            if many:
                _names(axes, growths, what)
            else:
                axes.legend(title=f"exponent of {what}", loc="upper left", framealpha=0.9)
            axes.set_ylabel(f"{what} of one block")
        return save(figure, stem, table)


def _lines(axes: "Axes", growths: dict[str, Growth]) -> None:
    """One line a family; later ones are smaller, so that both show where two lie on one another."""
    steps = max(len(growths) - 1, FEW - 2)
    for index, (family, growth) in enumerate(growths.items()):
        shown = index / steps
        axes.plot(
            growth.widths,
            growth.counts,
            **appearance(index),
            markersize=10 - 6 * shown,
            linewidth=2.4 - 1.6 * shown,
            linestyle="-" if index < FEW else (0, (5, 1)),
            label=f"{family}  {growth.fit().exponent:.2f}",
        )


def _names(axes: "Axes", growths: dict[str, Growth], what: str) -> None:
    """Each line's name and exponent to the right of the axes, where the line ends or as near as others leave room."""
    ends = [(growth.widths[-1], growth.counts[-1]) for growth in growths.values()]
    to_share = axes.transData + axes.transAxes.inverted()
    axes.autoscale_view()
    heights = [float(to_share.transform(end)[1]) for end in ends]
    for line, end, height in zip(_drawn(axes), ends, apart(heights, LABEL), strict=True):
        axes.annotate(
            str(line.get_label()),
            end,
            (1.09, height),
            textcoords="axes fraction",
            va="center",
            fontsize=9,
            color=INK,
            arrowprops={
                "arrowstyle": "-",
                "color": line.get_color(),
                "linewidth": 0.7,
                "shrinkA": 1,
                "shrinkB": 4,
                "relpos": (0, 0.5),
            },
        )
    axes.annotate(f"exponent of {what}", (1.09, 1.04), xycoords="axes fraction", fontsize=9, color=INK)


def _drawn(axes: "Axes") -> "list[Line2D]":
    """The families' lines, which have markers; the guides have none."""
    return [line for line in axes.get_lines() if line.get_marker() != "None"]


def apart(wanted: Sequence[float], gap: float) -> list[float]:
    """Heights in [0, 1] as near to the wanted ones as neighbours that are `gap` apart can be, in the same order.

    Least squares: neighbours that are too near make a stack, which stands around the mean of what they want. Equal ones
    keep their order from top to bottom. More than fit are spread evenly.
    """
    gap = min(gap, 1 / max(len(wanted) - 1, 1))
    order = sorted(range(len(wanted)), key=lambda index: -wanted[index])
    stacks: list[list[float]] = []  # of how far up each would begin if it stood on its own
    for place, index in enumerate(order):
        stacks.append([wanted[index] + place * gap])
        while len(stacks) > 1 and fmean(stacks[-2]) < fmean(stacks[-1]):
            stacks[-2:] = [stacks[-2] + stacks[-1]]
    found, place = [0.0] * len(wanted), 0
    for stack in stacks:
        top = min(max(fmean(stack), (len(wanted) - 1) * gap), 1.0)
        for _ in stack:
            found[order[place]] = top - place * gap
            place += 1
    return found


def _guides(axes: "Axes", growths: Sequence[Growth]) -> None:
    """Exponent 2 above all counts, exponent 1 below them."""
    widths = growths[0].widths
    ratio = widths[-1] / widths[0]
    below = min(growth.counts[0] for growth in growths) / APART
    above = max(growth.counts[-1] for growth in growths) * APART
    for exponent, start in ((1, below), (2, above / ratio**2)):
        ends = (start, start * ratio**exponent)
        axes.plot((widths[0], widths[-1]), ends, color=PALE, linestyle="--", linewidth=1.0, zorder=1)
        axes.annotate(
            f"slope {exponent}",
            (widths[-1], ends[1]),
            (-4, 5 if exponent == 2 else -12),  # away from the counts
            textcoords="offset points",
            ha="right",
            va="bottom" if exponent == 2 else "top",
            color=INK,
            fontsize=9,
        )


def _scale(axes: "Axes", widths: Sequence[int]) -> None:
    """Both logarithmic, with the widths themselves below."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(FixedLocator(widths[:: -ceil(len(widths) / TICKS)]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("channels")
    tidy(axes)
