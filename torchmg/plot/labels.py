"""Labels at what they name, moved apart where they would cover each other."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from torchmg.plot.picture import INK, PALE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

DIRECTIONS = (
    ((0, 1), "center", "bottom"),
    ((0, -1), "center", "top"),
    ((1, 0), "left", "center"),
    ((-1, 0), "right", "center"),
    ((0.7, 0.7), "left", "bottom"),
    ((-0.7, 0.7), "right", "bottom"),
    ((0.7, -0.7), "left", "top"),
    ((-0.7, -0.7), "right", "top"),
)
DISTANCES = (9, 26, 44, 64, 90)
"""Points from a marker to its label, tried in turn; beyond the first a thin line leads back."""


class Label(NamedTuple):
    """Text for a place in data coordinates; `reach` is half the length of its error bar."""

    x: float
    y: float
    text: str
    reach: float = 0.0


def label_points(figure: "Figure", axes: "Axes", labels: Sequence[Label]) -> None:
    """Put every label beside its point where it covers least: other labels, other points, the edge of the axes."""
    figure.draw_without_rendering()  # only then does the layout stand, and sizes in pixels are known
    markers = [_marker(axes, label, 5 * figure.dpi / 72) for label in labels]
    taken = list(markers)
    for label, marker in zip(labels, markers, strict=True):
        best = min(_trials(axes, label, taken, marker), key=lambda trial: trial[0])
        taken.append(best[2])
        _write(axes, label, best[1])


def _trials(axes: "Axes", label: Label, taken: "Sequence[Bbox]", marker: "Bbox") -> "list[tuple[float, dict, Bbox]]":
    """(area covered, annotation settings, box) for every place that is tried."""
    trials = []
    frame = axes.get_window_extent()
    for distance in DISTANCES:
        for (dx, dy), ha, va in DIRECTIONS:
            anchor = label.y + (label.reach if dy > 0 else -label.reach if dy < 0 else 0)
            place: dict[str, Any] = {
                "xy": (label.x, anchor),
                "xytext": (dx * distance, dy * distance),
                "textcoords": "offset points",
                "ha": ha,
                "va": va,
                "fontsize": 9,
            }
            text = axes.annotate(label.text, **place, parse_math=False)
            box = text.get_window_extent()
            text.remove()
            if distance > DISTANCES[0]:
                place["arrowprops"] = {"arrowstyle": "-", "color": PALE, "linewidth": 0.6, "shrinkB": 4}
            covered = sum(_overlap(box, other) for other in taken if other is not marker)
            outside = box.width * box.height - _overlap(box, frame)
            trials.append((round(covered + outside), place, box))
        if trials and min(trial[0] for trial in trials) == 0:
            break
    return trials


def _write(axes: "Axes", label: Label, place: dict[str, Any]) -> None:
    from matplotlib.patheffects import Stroke

    # the halo is drawn as outlines; the text itself stays text, also in the SVG
    halo = {key: value for key, value in place.items() if key != "arrowprops"}
    axes.annotate(label.text, **halo, parse_math=False, path_effects=[Stroke(linewidth=3, foreground="white")])
    axes.annotate(label.text, **place, parse_math=False, color=INK)


def _marker(axes: "Axes", label: Label, half: float) -> "Bbox":
    """The box in pixels that a point with its error bar fills; a marker is two `half` wide."""
    from matplotlib.transforms import Bbox

    x, low = axes.transData.transform((label.x, label.y - label.reach))
    high = axes.transData.transform((label.x, label.y + label.reach))[1]
    return Bbox([[x - half, low - half], [x + half, high + half]])


def _overlap(one: "Bbox", other: "Bbox") -> float:
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    return max(width, 0.0) * max(height, 0.0)


def apart(wished: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places near the wished ones, in their order, at least `gap` apart, between `low` and `high` where all fit.

    Where they do not fit, they keep their distances and reach below `low`.
    """
    order = sorted(range(len(wished)), key=lambda i: wished[i])
    placed = [0.0] * len(wished)
    floor = low
    for i in order:
        placed[i] = max(wished[i], floor)
        floor = placed[i] + gap
    ceiling = high
    for i in reversed(order):
        placed[i] = min(placed[i], ceiling)
        ceiling = placed[i] - gap
    return placed
