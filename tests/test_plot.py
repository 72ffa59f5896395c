"""The picture: both files, of a size, with its labels, whatever the points."""

import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from matplotlib.image import imread

from torchmg.errors import MissingExtraError
from torchmg.plot import Point, short, tradeoff

TWO = (Point("resnet20", "resnet", 269_722, 98.9, 0.2), Point("mgic_resnet20", "mgic", 104_890, 98.6, 0.35))


def texts(svg: Path) -> str:
    """All text in a picture."""
    return " ".join("".join(element.itertext()) for element in ElementTree.parse(svg).iter() if "text" in element.tag)


def test_both_files_with_their_labels(tmp_path: Path) -> None:
    png, svg = tradeoff(TWO, tmp_path / "new" / "tradeoff", "digits, 8 epochs, 3 seeds")
    assert (png.name, svg.name) == ("tradeoff.png", "tradeoff.svg")
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
    _, svg = tradeoff(TWO, tmp_path / "t", "")
    drawn = svg.read_text().lower()
    assert "#0072b2" in drawn
    assert "#d55e00" in drawn
    _, svg = tradeoff(TWO[:1], tmp_path / "u", "")
    assert "#d55e00" not in svg.read_text().lower()


def test_error_bars_only_where_there_is_a_spread(tmp_path: Path) -> None:
    def bars(name: str, spread: float | None) -> int:
        return (
            tradeoff([Point("a", "f", 1000, 90.0, spread)], tmp_path / name, "")[1].read_text().count("LineCollection")
        )

    assert bars("without", None) < bars("with", 2.0)


@pytest.mark.parametrize(
    "points",
    [
        TWO[:1],
        [Point("a", "f", 100, 50.0), Point("b", "f", 100, 50.0)],
        [Point("a", "f", 100, 50.0), Point("b", "g", 10_000, 50.0)],
        [Point("zero", "f", 1, 0.0), Point("perfect", "g", 3_000_000_000, 100.0, 0.0)],
        [Point(f"model_{n}", f"family{n % 9}", 1000 * (n + 1), 90 + n / 10, n / 20) for n in range(40)],
        [Point("$weird_{name$ <&>", "f$", 10, 50.0), Point("ω" * 60, "f", 11, 51.0)],
    ],
    ids=["one", "same", "equal accuracies", "extremes", "many", "strange names"],
)
def test_whatever_the_points(points: list[Point], tmp_path: Path) -> None:
    for file in tradeoff(points, tmp_path / "t", "title"):
        assert file.stat().st_size > 2000
    text = texts(tmp_path / "t.svg")
    assert all(point.label in text for point in points)


def test_a_small_difference_is_not_blown_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.axes import Axes

    limits: list[tuple[float, float]] = []
    original = Axes.set_ylim
    monkeypatch.setattr(Axes, "set_ylim", lambda axes, *a, **k: (limits.append(a), original(axes, *a, **k))[1])
    tradeoff([Point("a", "f", 10, 98.60), Point("b", "f", 20, 98.61)], tmp_path / "t", "")
    low, high = limits[-1]
    assert high - low > 0.9


def test_the_same_points_make_the_same_picture(tmp_path: Path) -> None:
    one, other = (tradeoff(TWO, tmp_path / name, "t")[1].read_bytes() for name in ("a", "b"))
    assert one == other
    assert b"<dc:date>" not in one


def test_a_name_with_a_dot_keeps_it(tmp_path: Path) -> None:
    assert [file.name for file in tradeoff(TWO, tmp_path / "v1.2", "")] == ["v1.2.png", "v1.2.svg"]


def test_matplotlib_is_an_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'torchmg\[plot\]'"):
        tradeoff(TWO, tmp_path / "t", "")


@pytest.mark.parametrize(
    ("value", "text"),
    [(7, "7"), (999, "999"), (1000, "1 k"), (104_890, "105 k"), (1_234_567, "1.23 M"), (3e9, "3 G")],
)
def test_short(value: float, text: str) -> None:
    assert short(value) == text
