"""Accuracy over parameters as papers print it, and as our runs reached it: the papers' points hollow, ours filled."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any, Literal

from torchmg.errors import UnknownNameError, did_you_mean
from torchmg.models.catalog import MODELS
from torchmg.paper import TABLES
from torchmg.paper.measured import Measured, of_row
from torchmg.paper.rows import Network, PaperTable, Row
from torchmg.plot.labels import Label, label_points
from torchmg.plot.picture import INK, Picture, appearance, check_stem, drawing, save, tidy
from torchmg.plot.points import Point, logarithmic
from torchmg.tables import Table, deviation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Fill = Literal["none", "full", "left"]
PAPERS = {"mgiad": "MGiaD", "mgic": "MGIC"}
"""Name -> what the paper is called; its tables are those whose names begin with the name."""
FEW = 10
"""Points up to which a panel has room for the names of printed rows."""
BELOW = 4.0
"""Points below the lowest that is printed or of full length, where a shortened run is drawn that lies lower still; its
label has the number. Else the first epochs of one network would leave no room for what tells all others apart."""
COLUMNS = ("table", "configuration", "data", "family", "by", "parameters", "test_mean", "test_std", "seeds", "training")


@dataclass(frozen=True)
class _Place:
    """One point: a row as printed, or as our runs reached it."""

    table: PaperTable
    row: Row
    data: str
    point: Point
    ours: Measured | None = None

    @property
    def shortened(self) -> bool:
        return self.ours is not None and self.ours.shortened(self.table.training)

    @property
    def training(self) -> str:
        return ", ".join(self.ours.differences(self.table.training)) if self.ours else ""

    def cells(self) -> tuple[Any, ...]:
        by, seeds = ("torchmg", len(self.ours.test)) if self.ours else ("paper", None)
        point = self.point
        numbers = (point.size, point.accuracy, point.deviation, seeds, self.training or None)
        return self.table.name, self.row.label, self.data, point.family, by, *numbers


def table_of(name: str, results: Sequence[Measured]) -> Table:
    """What `paper` draws, a row a point; rows that a later table prints again are left out.

    Raises:
        UnknownNameError: no such paper; the message names the nearest.
    """
    return Table(COLUMNS, [place.cells() for place in _places(name, results)], f"{PAPERS[name]}, printed and measured")


def paper(name: str, results: Sequence[Measured], stem: str | Path) -> Picture:
    """Draw test accuracy over parameters of all rows of a paper's tables with a printed accuracy, a panel a data set.

    Colours are families. Hollow: as printed, at the printed number of parameters; filled: the mean over seeds of our
    runs, at our number; half filled: of runs that were shortened, with how. Bars are one standard deviation each way.

    Args:
        name: `mgiad` or `mgic`.
        results: our runs (`torchmg.paper.measured.load`).
        stem: file name without ending; `.png`, `.svg` and `.csv` are written, those of an earlier picture replaced.

    Raises:
        UnknownNameError: no such paper.
        UsageError: files that cannot be written or would replace another table.
        MissingExtraError: matplotlib is not installed.
    """
    places, stem = _places(name, results), check_stem(stem, COLUMNS)
    panels = list(dict.fromkeys(place.data for place in places))
    families = list(dict.fromkeys(place.point.family for place in places))
    with drawing(5.2 * len(panels), 4.6) as figure:
        for axes, data in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            _panel(axes, _within([place for place in places if place.data == data]), families)
            axes.set_title(data, parse_math=False, fontsize=11)
            axes.set_xlabel("parameters (logarithmic)")
        figure.axes[0].set_ylabel("test accuracy (%)")
        _legend(figure, families)
        for axes, data in zip(figure.axes, panels, strict=True):
            shown = [place for place in places if place.data == data]
            label_points(
                figure,
                axes,
                [_label(place, drawn.point, len(shown)) for place, drawn in zip(shown, _within(shown), strict=True)],
            )
        return save(figure, stem, table_of(name, results))


def _places(name: str, results: Sequence[Measured]) -> list[_Place]:
    if name not in PAPERS:
        raise UnknownNameError(f"Unknown paper '{name}'.{did_you_mean(name, PAPERS)} ({', '.join(PAPERS)})")
    found = []
    for table in (table for title, table in TABLES.items() if title.startswith(f"{name}-")):
        for row in table.rows:
            if row.repeats or row.accuracy is None or not isinstance(row.ours, Network):
                continue
            printed, family, data = row.accuracy, _family(row.ours), row.ours.data
            bar = None if printed.spread is None else float(printed.spread)
            point = Point(row.label, family, row.parameters.value, float(printed.test), bar)
            found.append(_Place(table, row, data, point))
            if ours := of_row(row, table, results):
                size = ours.parameters or row.parameters.value
                point = Point(row.label, family, size, mean(ours.test), deviation(ours.test))
                found.append(_Place(table, row, data, point, ours))
    return found


def _family(ours: Network) -> str:
    """The catalogue's; MgNet with groups and no coarser widths is one of its own."""
    family = MODELS[ours.model].family
    return f"{family}, grouped" if family == "mgnet" and ours.options.group_size else family


def _within(places: Sequence[_Place]) -> list[_Place]:
    """The same places, with shortened runs that lie far below all others raised to the floor."""
    floor = min(place.point.accuracy for place in places if not place.shortened) - BELOW
    return [
        replace(place, point=replace(place.point, accuracy=floor, deviation=None))
        if place.shortened and place.point.accuracy < floor
        else place
        for place in places
    ]


def _label(place: _Place, drawn: Point, points: int) -> Label:
    """Of a shortened run how short it was, and of a printed row its name where there is room."""
    text = place.row.label if points <= FEW and place.ours is None else ""
    if place.ours and place.shortened:
        text = place.ours.differences(place.table.training)[0]
        text += f"\nbelow: {place.point.accuracy:.2f} %" if drawn.accuracy > place.point.accuracy else ""
    return Label(drawn.size, drawn.accuracy, text, drawn.deviation or 0.0)


def _panel(axes: "Axes", places: Sequence[_Place], families: Sequence[str]) -> None:
    for place in places:
        looks = appearance(families.index(place.point.family))
        how = "full" if place.ours else "none"
        axes.errorbar(
            [place.point.size],
            [place.point.accuracy],
            yerr=None if place.point.deviation is None else [place.point.deviation],
            **looks,
            fillstyle="left" if place.shortened else how,
            markerfacecoloralt="white",
            markersize=8 if place.ours else 7,
            linestyle="none",
            capsize=3,
            elinewidth=0.8,
            zorder=3 if place.ours else 2,
        )
    logarithmic(axes, [place.point for place in places])
    tidy(axes)


def _legend(figure: "Figure", families: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    def mark(label: str, fill: Fill, **looks: Any) -> Line2D:
        return Line2D([], [], linestyle="none", fillstyle=fill, markerfacecoloralt="white", label=label, **looks)

    kinds: dict[str, Fill] = {"as printed": "none", "ours": "full", "ours, shortened": "left"}
    handles = [mark(family, "none", **appearance(index)) for index, family in enumerate(families)]
    handles += [mark(label, fill, color=INK, marker="o") for label, fill in kinds.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=9, frameon=False)
