"""Labels at what they name, moved apart where they would cover each other."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from torchmg.plot.picture import INK, PALE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

DIRECTIONS = ((0, 1), (0, -1), (1, 0), (-1, 0), (0.7, 0.7), (-0.7, 0.7), (0.7, -0.7), (-0.7, -0.7))
"""Where a label can stand from its point: above, below, to the sides, then across."""
FONT = 9
DISTANCES = (9, 26, 44, 64, 90)
"""Points from a marker to its label, tried in turn; beyond the first a thin line leads back."""


class Label(NamedTuple):
    """Text for a place in data coordinates; `reach` is half the length of its error bar.

    Without text it is a point that no label shall cover.
    """

    x: float
    y: float
    text: str
    reach: float = 0.0


def label_points(figure: "Figure", axes: "Axes", labels: Sequence[Label]) -> None:
    """Put every label beside its point where it covers least: other labels, other points, the edge of the axes."""
    figure.draw_without_rendering()  # only then does the layout stand, and sizes in pixels are known
    point = figure.dpi / 72  # in pixels
    markers = [_marker(axes, label, 5 * point) for label in labels]
    taken = list(markers)
    for label, marker in ((label, marker) for label, marker in zip(labels, markers, strict=True) if label.text):
        others = [box for box in taken if box is not marker]
        offset, box = _place(axes, label, others, point)
        taken.append(box)
        _write(axes, label, offset)


def _place(axes: "Axes", label: Label, others: "Sequence[Bbox]", point: float) -> "tuple[tuple[float, float], Bbox]":
    """The offset from its point, in points, at which a label covers least, and the box that it fills there."""
    from matplotlib.transforms import Bbox

    text = axes.annotate(label.text, (label.x, label.y), fontsize=FONT, parse_math=False)
    width, height = text.get_window_extent().size
    text.remove()
    frame = axes.get_window_extent()
    trials = []
    for distance in DISTANCES:
        for dx, dy in DIRECTIONS:
            x, y = axes.transData.transform((label.x, label.y + _sign(dy) * label.reach))
            left = x + dx * distance * point - (1 - _sign(dx)) * width / 2
            bottom = y + dy * distance * point - (1 - _sign(dy)) * height / 2
            box = Bbox.from_bounds(left, bottom, width, height)
            outside = width * height - _overlap(box, frame)
            covered = sum(_overlap(box, other) for other in others)
            trials.append((round(covered + outside), (dx * distance, dy * distance), box))
        if min(trial[0] for trial in trials) == 0:
            break
    return min(trials, key=lambda trial: trial[0])[1:]


def _sign(number: float) -> int:
    return (number > 0) - (number < 0)


def _write(axes: "Axes", label: Label, offset: tuple[float, float]) -> None:
    from matplotlib.patheffects import Stroke

    dx, dy = map(_sign, offset)
    place: dict[str, Any] = {
        "xy": (label.x, label.y + dy * label.reach),
        "xytext": offset,
        "textcoords": "offset points",
        "ha": ("right", "center", "left")[dx + 1],
        "va": ("top", "center", "bottom")[dy + 1],
        "fontsize": FONT,
        "parse_math": False,
    }
    # the halo is drawn as outlines; the text itself stays text, also in the SVG
    axes.annotate(label.text, **place, path_effects=[Stroke(linewidth=3, foreground="white")])
    if max(map(abs, offset)) > DISTANCES[0]:
        place["arrowprops"] = {"arrowstyle": "-", "color": PALE, "linewidth": 0.6, "shrinkB": 4}
    axes.annotate(label.text, **place, color=INK)


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
