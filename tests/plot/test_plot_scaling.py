"""The picture of growth over width: what is drawn is what was counted."""

from pathlib import Path

import numpy as np
import pytest
from drawn_runs import capture, texts

from torchmg.bench.scaling import scaling
from torchmg.errors import UsageError
from torchmg.plot import draw_scaling


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
