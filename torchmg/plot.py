"""Pictures. matplotlib is imported when one is drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torchmg.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
"""Okabe and Ito's palette: told apart with colour-blind eyes; families beyond six repeat it."""
MARKERS = ("s", "o", "^", "D", "v", "P")
"""A family keeps its marker, so that the picture reads in grey too."""


@dataclass(frozen=True)
class Point:
    """One model in the trade-off: accuracy in percent, its standard deviation over seeds where there are several."""

    label: str
    family: str
    parameters: int
    accuracy: float
    deviation: float | None = None


def tradeoff(points: Sequence[Point], stem: Path, title: str) -> list[Path]:
    """Draw accuracy over parameters (logarithmic), a colour and a line per family, labels at the points.

    Args:
        points: at least one.
        stem: file name without ending; `.png` and `.svg` are written.
        title: data set and number of seeds belong in it.

    Returns:
        The two files.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    check_drawing()
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    with mpl.rc_context({"font.size": 10, "svg.hashsalt": "torchmg", "svg.fonttype": "none"}):
        figure = Figure(figsize=(7, 4.4), layout="constrained")
        axes = figure.add_subplot()
        families = list(dict.fromkeys(point.family for point in points))
        for index, family in enumerate(families):
            members = sorted((p for p in points if p.family == family), key=lambda p: p.parameters)
            axes.errorbar(
                [p.parameters for p in members],
                [p.accuracy for p in members],
                yerr=[p.deviation or 0.0 for p in members] if any(p.deviation for p in members) else None,
                color=COLOURS[index % len(COLOURS)],
                marker=MARKERS[index % len(MARKERS)],
                markersize=8,
                linewidth=1.2,
                capsize=4,
            )
        axes.set_xscale("log")
        _widen(axes, points)
        _label(axes, points)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5) if _decades(points) < 2 else (1,)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("parameters (logarithmic)")
        axes.set_ylabel("test accuracy (%)")
        axes.set_title(title, parse_math=False)
        axes.grid(alpha=0.25, which="both")
        axes.spines[["top", "right"]].set_visible(False)
        stem.parent.mkdir(parents=True, exist_ok=True)
        files = [stem.with_name(f"{stem.name}.{ending}") for ending in ("png", "svg")]
        figure.savefig(files[0], dpi=160)
        figure.savefig(files[1], metadata={"Date": None})
    return files


def check_drawing() -> None:
    """Raise `MissingExtraError` when matplotlib is not installed: better before the work than after it."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("Drawing", "plot") from error


def short(value: float) -> str:
    """1234567 as 1.23 M, 104890 as 105 k."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def _decades(points: Sequence[Point]) -> float:
    from math import log10

    sizes = [point.parameters for point in points]
    return log10(max(sizes) / min(sizes))


def _widen(axes: "Axes", points: Sequence[Point]) -> None:
    """Leave room for labels at the sides, and do not blow up differences of a tenth of a percent."""
    sizes = [point.parameters for point in points]
    axes.set_xlim(min(sizes) / 1.6, max(sizes) * 1.6)
    low = min(p.accuracy - (p.deviation or 0) for p in points)
    high = max(p.accuracy + (p.deviation or 0) for p in points)
    margin = max(0.5, 0.35 * (high - low))
    axes.set_ylim(low - margin, min(high + margin, 100.0 + margin / 4))


def _label(axes: "Axes", points: Sequence[Point]) -> None:
    """Name and size beyond the error bar of every point; alternately above and below, so that neighbours part."""
    from matplotlib.patheffects import Stroke

    halo = Stroke(linewidth=3, foreground="white")
    for index, point in enumerate(sorted(points, key=lambda p: p.parameters)):
        side = 1 if index % 2 == 0 else -1
        for effects in ([halo], []):  # the halo is drawn as outlines; the text itself stays text, also in the SVG
            axes.annotate(
                f"{point.label}\n{short(point.parameters)}, {point.accuracy:.2f} %",
                (point.parameters, point.accuracy + side * (point.deviation or 0.0)),
                textcoords="offset points",
                xytext=(0, 9 * side),
                ha="center",
                va="bottom" if side > 0 else "top",
                fontsize=9,
                path_effects=effects,
                parse_math=False,
            )
