"""A number for each of many things, as dots on horizontal lines: grouped, in panels side by side, with a reference."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torchmg.errors import UsageError
from torchmg.plot.picture import INK, PALE, Picture, appearance, check_stem, clipped, drawing, save, tidy
from torchmg.tables import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Dot:
    """One number: on the line `label` of `group`, in a panel, with its standard deviation if it is a mean."""

    group: str
    label: str
    panel: str
    value: float
    deviation: float | None = None
    hollow: bool = False
    """Drawn hollow: it is in this panel for comparison only."""


@dataclass(frozen=True)
class Course:
    """A line in the last panel: values over numbers of epochs, with their standard deviations."""

    label: str
    epochs: Sequence[int]
    values: Sequence[float]
    deviations: Sequence[float | None]


def draw_dots(
    dots: Sequence[Dot],
    path_stem: str | Path,
    *,
    panels: Sequence[str],
    axis: str,
    title: str,
    rows: Table,
    reference: str = "",
    courses: Sequence[Course] = (),
    course_title: str = "",
) -> Picture:
    """Draw dots in panels side by side, a line of each panel for each label, groups under headings of their own.

    Args:
        dots: at least one; groups and labels in their order.
        path_stem: file name without ending; `.png`, `.svg` and `.csv` are written, those of an earlier picture
            replaced.
        panels: names of the panels, from the left.
        axis: what the numbers are.
        title: of the picture.
        rows: the table behind it.
        reference: label whose value is a line through each panel, with a band of one standard deviation.
        courses: lines of a further panel on the right.
        course_title: heading of that panel.

    Raises:
        MissingExtraError: matplotlib is not installed.
        UsageError: no dots, or files that cannot be written or would replace another table.
    """
    stem = check_stem(path_stem, rows.columns)
    if not dots:
        raise UsageError("There is nothing to draw: give at least one dot.")
    places, headings = _places(dots)
    with drawing(4.2 + 2.7 * (len(panels) + bool(courses)), 1.4 + 0.22 * (len(places) + len(headings))) as figure:
        shares = [1.0] * len(panels) + [0.8] * bool(courses)
        grid = figure.add_gridspec(1, len(shares), width_ratios=shares)
        first: Axes | None = None
        for number, panel in enumerate(panels):
            axes = figure.add_subplot(grid[0, number], sharex=first, sharey=first)
            _panel(axes, [dot for dot in dots if dot.panel == panel], places, reference)
            axes.set_title(panel, fontsize=10)
            axes.set_xlabel(axis)
            if first is None:
                _name_lines(axes, places, headings)
            else:
                axes.tick_params(axis="y", length=0, labelleft=False)
            first = first or axes
        if courses:
            _courses(figure.add_subplot(grid[0, -1]), courses, axis, course_title)
        figure.suptitle(clipped(title, 120), fontsize=11)
        return save(figure, stem, rows)


def _places(dots: Sequence[Dot]) -> tuple[dict[tuple[str, str], float], dict[str, float]]:
    """Height of every line by group and label, and of every heading, from 0 downwards."""
    places: dict[tuple[str, str], float] = {}
    headings: dict[str, float] = {}
    height = 0.0
    for group in dict.fromkeys(dot.group for dot in dots):
        headings[group], height = height, height - 1
        for label in dict.fromkeys(dot.label for dot in dots if dot.group == group):
            places[group, label], height = height, height - 1
    return places, headings


def _panel(axes: "Axes", dots: Sequence[Dot], places: dict[tuple[str, str], float], reference: str) -> None:
    groups = list(dict.fromkeys(group for group, _ in places))
    for dot in dots:
        if dot.label == reference:
            axes.axvline(dot.value, color=PALE, lw=0.8, zorder=1)
            spread = dot.deviation or 0.0
            axes.axvspan(dot.value - spread, dot.value + spread, color=PALE, alpha=0.15, lw=0, zorder=0)
        look = appearance(groups.index(dot.group))
        axes.errorbar(
            [dot.value],
            [places[dot.group, dot.label]],
            xerr=None if dot.deviation is None else [dot.deviation],
            **look,
            markersize=6,
            markerfacecolor="white" if dot.hollow else look["color"],
            linestyle="none",
            capsize=3,
        )
    tidy(axes)
    axes.grid(visible=False, axis="y", which="both")


def _name_lines(axes: "Axes", places: dict[tuple[str, str], float], headings: dict[str, float]) -> None:
    names = {height: clipped(label, 44) for (_, label), height in places.items()}
    names |= {height: clipped(group, 50) for group, height in headings.items()}
    axes.set_yticks(list(names), list(names.values()), fontsize=8)
    for tick, height in zip(axes.get_yticklabels(), names, strict=True):
        tick.set_parse_math(False)
        tick.set_color(INK)
        if height in headings.values():
            tick.set_fontweight("bold")
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(min(names) - 0.7, max(names) + 0.7)


def _courses(axes: "Axes", courses: Sequence[Course], axis: str, title: str) -> None:
    for index, course in enumerate(courses):
        axes.errorbar(
            list(course.epochs),
            list(course.values),
            yerr=[deviation or 0.0 for deviation in course.deviations] if any(course.deviations) else None,
            **appearance(index),
            markersize=6,
            capsize=3,
            label=clipped(course.label, 34),
        )
    epochs = sorted({epoch for course in courses for epoch in course.epochs})
    axes.set_xscale("log")
    axes.set_xticks(epochs, [str(epoch) for epoch in epochs])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("epochs (logarithmic)")
    axes.set_ylabel(axis)
    axes.set_title(title, fontsize=10)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    tidy(axes)
