"""Parameters and MACs over width, both axes logarithmic, so that a power of the width is a straight line."""

from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from torchmg.bench.scaling import COLUMNS, Growth, Scaling, scaling_table
from torchmg.plot.picture import INK, PALE, Picture, appearance, check_stem, drawing, save, short, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TICKS = 7
"""As many widths have room below an axis."""
APART = 2.5
"""Factor between the guides and the counts nearest to them."""


def draw_scaling(scalings: Sequence[Scaling], stem: str | Path = "scale") -> Picture:
    """Draw parameters (left) and MACs (right) over width: a line for each family, its fitted exponent in the legend.

    Grey guides rise with exponents 1 and 2.

    Args:
        scalings: at least one, what `torchmg.bench.scaling.scaling` gave.
        stem: file name without ending; `.png`, `.svg` and `.csv` are written, those of an earlier picture replaced.

    Raises:
        UsageError: the files cannot be written or would replace another table.
        MissingExtraError: matplotlib is not installed.
    """
    stem = check_stem(stem, COLUMNS)
    table = scaling_table(scalings)
    with drawing(9.5, 4.6) as figure:
        for index, (name, what) in enumerate((("parameters", "parameters"), ("macs", "MACs"))):
            axes = figure.add_subplot(1, 2, index + 1)
            growths = {s.family: getattr(s, name) for s in scalings}
            _guides(axes, list(growths.values()))
            _lines(axes, growths, what)
            _scale(axes, next(iter(growths.values())).widths)
            axes.set_ylabel(f"{what} of one block")
        return save(figure, stem, table)


def _lines(axes: "Axes", growths: dict[str, Growth], what: str) -> None:
    """One line a family; later ones are smaller, so that both show where two lie on one another."""
    for index, (family, growth) in enumerate(growths.items()):
        axes.plot(
            growth.widths,
            growth.counts,
            **appearance(index),
            markersize=10 - 1.5 * index,
            linewidth=2.4 - 0.5 * index,
            label=f"{family}  {growth.fit().exponent:.2f}",
        )
    axes.legend(title=f"exponent of {what}", loc="upper left", framealpha=0.9)


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
