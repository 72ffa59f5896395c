"""The picture of growth over width: what is drawn is what was counted."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from drawn_runs import capture, covered, label_boxes, texts
from hypothesis import given
from hypothesis import strategies as st

from torchmg.bench.scaling import FAMILIES, scaling
from torchmg.errors import UsageError
from torchmg.plot import draw_scaling
from torchmg.plot.scaling import apart


def test_lines_legends_and_guides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = capture(monkeypatch, "scaling")
    found = scaling(("dense", "mgiad"), (64, 128, 256))
    picture = draw_scaling(found, tmp_path / "s.png")
    assert [file.name for file in picture.files] == ["s.png", "s.svg", "s.csv"]
    for axes, name in zip(figures[0].axes, ("parameters", "macs"), strict=True):
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
        drawn = {str(line.get_label()).split()[0]: line for line in axes.get_lines() if line.get_marker() != "None"}
        assert list(drawn) == ["dense", "mgiad"]
        for one in found:
            line, growth = drawn[one.family], getattr(one, name)
            assert tuple(np.asarray(line.get_xdata())) == growth.widths
            assert tuple(np.asarray(line.get_ydata())) == growth.counts
            assert str(line.get_label()).endswith(f"{growth.fit().exponent:.2f}")
        guides = [line for line in axes.get_lines() if line.get_linestyle() == "--"]
        starts, ends = np.asarray([line.get_ydata() for line in guides], float).T
        assert ends / starts == pytest.approx([256 / 64, (256 / 64) ** 2])
    text = texts(picture.files[1])
    assert "slope 1" in text
    assert "slope 2" in text


def test_many_widths_do_not_crowd_the_axis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = capture(monkeypatch, "scaling")
    widths = [2**n for n in range(2, 17)]
    draw_scaling(scaling(["dense"], widths), tmp_path / "s")
    ticks = [round(tick) for tick in figures[0].axes[0].get_xticks()]
    assert len(ticks) <= 7
    assert set(ticks) <= set(widths)
    assert max(ticks) == 2**16


def test_another_table_is_not_replaced_and_the_same_picture_comes_twice(tmp_path: Path) -> None:
    found = scaling(["dense"], (64, 128))
    one, other = (draw_scaling(found, tmp_path / name).files[1].read_bytes() for name in ("a", "a"))
    assert one == other
    (tmp_path / "b.csv").write_text("mine\n1\n")
    with pytest.raises(UsageError, match="Name another --out"):
        draw_scaling(found, tmp_path / "b")


def test_many_families_are_named_at_their_ends_and_no_name_covers_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = capture(monkeypatch, "scaling")
    found = scaling(tuple(FAMILIES), (64, 128))
    picture = draw_scaling(found, tmp_path / "many")
    for axes, name in zip(figures[0].axes, ("parameters", "macs"), strict=True):
        assert axes.get_legend() is None
        names = [text for text in axes.texts if text.get_text().split()[0] in FAMILIES]
        assert [text.get_text().split()[0] for text in names] == list(FAMILIES)
        heights = [text.get_position()[1] for text in names]
        ends = [getattr(one, name).counts[-1] for one in found]
        from_below = [end for _, end in sorted(zip(heights, ends, strict=True))]
        assert from_below == sorted(ends)
        assert min(line.get_linewidth() for line in axes.get_lines()) > 0.5
        figure = figures[0]
        boxes = [box for text, box in label_boxes(figure).items() if text in {name.get_text() for name in names}]
        assert not covered(boxes)
        assert all(box.y0 >= 0 and box.y1 <= figure.bbox.y1 and box.x1 <= figure.bbox.x1 for box in boxes)
    assert "circulant_fft" in texts(picture.files[1])


@given(wanted=st.lists(st.floats(0, 1), max_size=20), gap=st.floats(0.01, 0.1))
def test_names_stay_in_order_apart_and_within(wanted: list[float], gap: float) -> None:
    found = apart(wanted, gap)
    least = min(gap, 1 / max(len(wanted) - 1, 1)) - 1e-9
    order = sorted(range(len(wanted)), key=lambda index: -wanted[index])
    assert all(found[upper] - found[lower] >= least for upper, lower in pairwise(order))
    assert all(-1e-9 <= height <= 1 for height in found)
    if all(wanted[upper] - wanted[lower] >= gap for upper, lower in pairwise(order)):
        assert found == pytest.approx(wanted)
    elif len(wanted) == 2 and gap <= sum(wanted) <= 2 - gap:
        assert sum(found) == pytest.approx(sum(wanted))  # both move as far
