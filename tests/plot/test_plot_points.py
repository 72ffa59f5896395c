"""The picture: both files, of a size, with its labels, whatever the points."""

import sys
from pathlib import Path

import pytest
from drawn_runs import capture, covered, label_boxes, texts
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.image import imread

from torchmg.errors import MissingExtraError
from torchmg.plot import Point, draw_tradeoff
from torchmg.plot.picture import appearance, clipped, short
from torchmg.plot.points import pareto

TWO = (Point("resnet20", "resnet", 269_722, 98.9, 0.2), Point("mgic_resnet20", "mgic", 104_890, 98.6, 0.35))


def test_both_files_with_their_labels(tmp_path: Path) -> None:
    png, svg, csv = draw_tradeoff(TWO, tmp_path / "new" / "tradeoff", "digits, 8 epochs, 3 seeds").files
    assert (png.name, svg.name, csv.name) == ("tradeoff.png", "tradeoff.svg", "tradeoff.csv")
    image = imread(png)
    assert image.shape[:2] == (704, 1120)
    assert 0.005 < (image[..., :3].min(2) < 0.9).mean() < 0.3  # something is drawn, and most is paper
    text = texts(svg)
    for word in (
        *("resnet20", "mgic_resnet20", "270 k, 98.90 %", "105 k, 98.60 %", "digits, 8 epochs, 3 seeds"),
        *("parameters (logarithmic)", "test accuracy (%)"),
    ):
        assert word in text


def test_families_have_their_colours(tmp_path: Path) -> None:
    svg = draw_tradeoff(TWO, tmp_path / "t", "").files[1]
    drawn = svg.read_text().lower()
    assert "#0072b2" in drawn
    assert "#d55e00" in drawn
    svg = draw_tradeoff(TWO[:1], tmp_path / "u", "").files[1]
    assert "#d55e00" not in svg.read_text().lower()


def test_error_bars_only_where_there_is_a_spread(tmp_path: Path) -> None:
    def bars(name: str, spread: float | None) -> int:
        picture = draw_tradeoff([Point("a", "f", 1000, 90.0, spread)], tmp_path / name, "")
        return picture.files[1].read_text().count("LineCollection")

    assert bars("without", None) < bars("with", 2.0)


@pytest.mark.parametrize(
    "points",
    [
        TWO[:1],
        [Point("a", "f", 100, 50.0), Point("b", "f", 100, 50.0)],
        [Point("a", "f", 100, 50.0), Point("b", "g", 10_000, 50.0)],
        [Point("zero", "f", 1, 0.0), Point("perfect", "g", 3_000_000_000, 100.0, 0.0)],
        [Point(f"model_{n}", f"family{n % 9}", 1000 * (n + 1), 90 + n / 10, n / 20) for n in range(24)],
        [Point("$weird_{name$ <&>", "f$", 10, 50.0), Point("ω" * 60, "f", 11, 51.0), Point("多重網格", "f", 12, 52.0)],
    ],
    ids=["one", "same", "equal accuracies", "extremes", "many", "strange names"],
)
def test_whatever_the_points(points: list[Point], tmp_path: Path) -> None:
    for file in draw_tradeoff(points, tmp_path / "t", "title").files[:2]:
        assert file.stat().st_size > 2000
    text = texts(tmp_path / "t.svg")
    assert all(clipped(point.label, 40) in text for point in points)


def test_a_small_difference_is_not_blown_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.axes import Axes

    limits: list[tuple[float, float]] = []
    original = Axes.set_ylim
    monkeypatch.setattr(Axes, "set_ylim", lambda axes, *a, **k: (limits.append(a), original(axes, *a, **k))[1])
    draw_tradeoff([Point("a", "f", 10, 98.60), Point("b", "f", 20, 98.61)], tmp_path / "t", "")
    low, high = limits[-1]
    assert high - low > 0.9


def test_the_same_points_make_the_same_picture(tmp_path: Path) -> None:
    one, other = (draw_tradeoff(TWO, tmp_path / name, "t").files[1].read_bytes() for name in ("a", "b"))
    assert one == other
    assert b"<dc:date>" not in one


def test_a_name_with_a_dot_keeps_it(tmp_path: Path) -> None:
    names = [file.name for file in draw_tradeoff(TWO, tmp_path / "v1.2", "").files]
    assert names == ["v1.2.png", "v1.2.svg", "v1.2.csv"]


def test_matplotlib_is_an_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'torchmg\[plot\]'"):
        draw_tradeoff(TWO, tmp_path / "t", "")


@pytest.mark.parametrize(
    ("value", "text"),
    [(7, "7"), (999, "999"), (1000, "1 k"), (104_890, "105 k"), (1_234_567, "1.23 M"), (3e9, "3 G")],
)
def test_short(value: float, text: str) -> None:
    assert short(value) == text


def test_labels_of_crowded_points_do_not_cover_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = capture(monkeypatch, "points")
    crowded = [Point(f"mgic_resnet{n} width=0.{n}", f"f{n % 2}", 100_000 + 9000 * n, 97 + n / 9) for n in range(8)]
    draw_tradeoff(crowded, tmp_path / "t", "title")
    boxes = label_boxes(figures[0])
    assert len(boxes) == 8
    assert covered(list(boxes.values())) == []
    frame = figures[0].axes[0].get_window_extent()
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 for box in boxes.values())


def test_the_pareto_front_is_drawn_as_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = capture(monkeypatch, "points")
    points = [Point("a", "f", 10, 50.0), Point("b", "f", 20, 40.0), Point("c", "f", 30, 60.0)]
    draw_tradeoff(points, tmp_path / "t", "title")
    axes = figures[0].axes[0]
    (steps,) = [line for line in axes.lines if line.get_drawstyle() == "steps-post"]
    assert list(steps.get_ydata()) == [50.0, 60.0, 60.0]
    assert list(steps.get_xdata()) == [10, 30, axes.get_xlim()[1]]


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), min_size=1, max_size=12))
def test_pareto_keeps_what_nothing_beats(pairs: list[tuple[int, int]]) -> None:
    front = [(p.size, p.accuracy) for p in pareto([Point("", "", size, accuracy) for size, accuracy in pairs])]
    unbeaten = {
        (size, accuracy)
        for size, accuracy in pairs
        if not any((s <= size and a > accuracy) or (s < size and a >= accuracy) for s, a in pairs)
    }
    assert front == sorted(unbeaten)


def test_no_two_of_many_look_alike() -> None:
    looks = {tuple(appearance(index).values()) for index in range(36)}
    assert len(looks) == 36


@given(st.text(), st.integers(3, 20))
def test_clipped_keeps_both_ends(text: str, length: int) -> None:
    short_text = clipped(text, length)
    assert len(short_text) == min(len(text), length)
    assert short_text[:1] == text[:1]
    assert short_text[-1:] == text[-1:]
