"""The picture of disturbances over depth: what is drawn is what was given, and nothing covers anything."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from drawn_runs import capture, covered, texts

from torchmg.errors import UsageError
from torchmg.plot.stability import COLUMNS, DepthCurve, draw_stability
from torchmg.tables import Table

ROWS = Table(COLUMNS, [])


def curves(steps: int, names: list[str]) -> list[DepthCurve]:
    rise = tuple(1.3**i for i in range(steps + 1))
    found = []
    for place, name in enumerate(names):
        mean = tuple(0.4 * value * (place + 1) for value in rise)
        for size in (0.001, 0.05):
            found.append(DepthCurve(name, "growth", size, mean, tuple(2 * value for value in mean)))
            found.append(DepthCurve(name, "expansion", size, mean[:-1], mean[:-1]))
        found.append(DepthCurve(name, "error", 8, tuple(1e-4 * value for value in mean)))
    return found


def test_every_curve_is_drawn_in_its_panel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = capture(monkeypatch, "stability")
    names = ["symmetric", "double $x_1$"]
    given = curves(9, names)
    picture = draw_stability(given, tmp_path / "s.png", ROWS, title="runs $1$")
    assert [file.name for file in picture.files] == ["s.png", "s.svg", "s.csv"]
    growth, _, expansion, _, error, empty = figures[0].axes
    assert not empty.axison
    for axes, curve in ((growth, given[0]), (expansion, given[1]), (error, given[4])):
        assert axes.get_yscale() == "log"
        drawn = [tuple(np.asarray(line.get_ydata())) for line in axes.get_lines()]
        logits = curve.quantity != "expansion"
        assert curve.mean[: 9 if logits else None] in drawn
        assert not logits or curve.mean[9:] in drawn
        if curve.largest:
            assert curve.largest[:9] in drawn
    text = texts(picture.files[1])
    for words in (*names, "perturbation 0.05 of the image", "8-bit activations", "runs $1$"):
        assert words in text


@pytest.mark.parametrize(("steps", "networks"), [(1, 1), (54, 8)])
def test_labels_do_not_cover_each_other(
    steps: int, networks: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = capture(monkeypatch, "stability")
    names = [f"parabolic coupling=full layer=double certified=True number={i}" for i in range(networks)]
    draw_stability(curves(steps, names), tmp_path / "s", ROWS, title="digits, 500 test images, 3 runs")
    (figure,) = figures
    shown = [axes for axes in figure.axes if axes.axison]
    for axes in shown:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = [t for t in axis.get_major_ticks() if low <= t.get_loc() <= high and t.label1.get_visible()]
            assert not covered([t.label1.get_window_extent() for t in ticks if t.label1.get_text()])
            assert ticks or axes not in shown[::2]  # panels of a row share their heights
    boxes = [axes.get_tightbbox() for axes in shown]
    assert not any(one.shrunk(0.99, 0.99).overlaps(other) for one, other in combinations(filter(None, boxes), 2))
    legend = figure.legends[0].get_window_extent()
    assert not any(legend.overlaps(box) for box in boxes if box)
    assert figure.bbox.x0 <= legend.x0 < legend.x1 <= figure.bbox.x1


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to draw"):
        draw_stability([], tmp_path / "s", ROWS)
    with pytest.raises(UsageError, match="finite"):
        draw_stability([DepthCurve("a", "error", 8, (float("nan"), 1.0))], tmp_path / "s", ROWS)
    (tmp_path / "s.csv").write_text("mine\n1\n")
    with pytest.raises(UsageError, match="Name another --out"):
        draw_stability(curves(2, ["a"]), tmp_path / "s", ROWS)
