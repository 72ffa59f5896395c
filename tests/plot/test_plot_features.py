"""Pictures of coded features: their tables are the errors, their greys one scale, and nothing wrong is drawn."""

import csv
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn_runs import capture, texts
from hypothesis import given, settings
from hypothesis import strategies as st

from torchmg.errors import MissingExtraError, ShapeError, UsageError
from torchmg.paper.mgic import TABLE_1
from torchmg.plot.features import PUBLISHED, CodeError, draw_mse, draw_reconstructions

ORIGINALS = torch.randn(3, 6, 5, 7, generator=torch.Generator().manual_seed(1)) * torch.tensor(
    [1.0, 9.0, 0.0, 3.0, 4.0, 5.0]
).view(6, 1, 1)
WAYS = {"group size 8": ORIGINALS + 0.5, "$odd_{name": 2 * ORIGINALS}


def read(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_published_errors_are_those_of_the_paper_layer() -> None:
    found = {}
    for row in TABLE_1.rows:
        number = re.search(r"printed: ([\d.]+)\.$", row.note or "")
        assert number
        found[int(row.label.removeprefix("s_g="))] = float(number[1])
    assert found == PUBLISHED


def test_reconstructions_and_their_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = capture(monkeypatch, "features")
    png, svg, table = draw_reconstructions(ORIGINALS, WAYS, tmp_path / "new" / "maps.png", title="digits").files
    assert [png.name, svg.name, table.name] == ["maps.png", "maps.svg", "maps.csv"]
    rows = {(row["reconstruction"], row["channel"]): float(row["mse"]) for row in read(table)}
    exact = ORIGINALS.double().numpy()
    for c in range(6):
        assert rows["$odd_{name", str(c)] == pytest.approx((exact[:, c] ** 2).mean(), rel=1e-5)
    assert rows["$odd_{name", "all"] == pytest.approx((exact**2).mean(), rel=1e-5)
    assert rows["group size 8", "all"] == pytest.approx(0.25, rel=1e-5)
    assert len(rows) == 14
    images = [axes.get_images()[0] for axes in figures[0].axes if axes.get_title()]
    shown = [1, 3, 4, 5]
    wanted = [way[0, c].numpy() for way in (ORIGINALS, *WAYS.values()) for c in shown]
    assert len(images) == len(wanted)
    assert all(np.array_equal(np.asarray(i.get_array()), w) for i, w in zip(images, wanted, strict=True))
    assert {i.get_clim() for i in images} == {(min(w.min() for w in wanted), max(w.max() for w in wanted))}
    assert {i.get_cmap().name for i in images} == {"gray"}
    text = texts(svg)
    for word in ("digits", "channel 4", "original", "group size 8", "MSE 0.25", "$odd_{name"):
        assert word in text
    frame = figures[0].bbox
    labels = [axes.yaxis.label.get_window_extent() for axes in figures[0].axes if axes.get_ylabel()]
    assert all(min(box.x0, box.y0) >= 0 and box.y1 <= frame.y1 for box in labels), "nothing is cut off"


def test_named_channels_and_samples_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = capture(monkeypatch, "features")
    draw_reconstructions(ORIGINALS.half(), {"same": ORIGINALS.half()}, tmp_path / "t", channels=[5, 0], sample=2)
    images = [axes.get_images()[0] for axes in figures[0].axes if axes.get_title()]
    wanted = [ORIGINALS[2, c].half().float().numpy() for c in (5, 0)] * 2
    assert all(np.array_equal(np.asarray(i.get_array()), w) for i, w in zip(images, wanted, strict=True))


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 2, 40, 3), (2, 1, 2, 90)])
def test_whatever_the_shape(shape: tuple[int, ...], tmp_path: Path) -> None:
    flat = torch.zeros(shape)
    draw_reconstructions(flat, {"same": flat}, tmp_path / "t")
    assert {row["mse"] for row in read(tmp_path / "t.csv")} == {"0.0"}


@pytest.mark.parametrize(
    ("originals", "ways", "options", "error", "message"),
    [
        (ORIGINALS[0], {"a": ORIGINALS[0]}, {}, ShapeError, r"\(N, C, H, W\)"),
        (ORIGINALS, {"a": ORIGINALS[:1]}, {}, ShapeError, r"'a' is \(1, 6, 5, 7\), the original \(3, 6, 5, 7\)"),
        (ORIGINALS, {"a": ORIGINALS / 0}, {}, UsageError, "'a' holds values that are not finite"),
        (ORIGINALS, {}, {}, UsageError, "nothing to draw"),
        (ORIGINALS, WAYS, {"channels": [6]}, UsageError, "6 channels"),
        (ORIGINALS, WAYS, {"channels": []}, UsageError, "6 channels"),
        (ORIGINALS, WAYS, {"sample": 3}, UsageError, "3 samples"),
    ],
)
def test_what_cannot_be_drawn(
    originals: torch.Tensor,
    ways: dict[str, torch.Tensor],
    options: dict[str, Any],
    error: type[Exception],
    message: str,
    tmp_path: Path,
) -> None:
    with pytest.raises(error, match=message):
        draw_reconstructions(originals, ways, tmp_path / "t", **options)
    assert not list(tmp_path.iterdir())


def test_errors_beside_the_published_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = capture(monkeypatch, "features")
    points = [CodeError(32, 0.01), CodeError(2, 0.05, 0.01), CodeError(8, 0.02)]
    _, svg, table = draw_mse(points, tmp_path / "mse", title="ResNet-50").files
    (axes,) = figures[0].axes
    assert axes.get_xscale() == "log"
    curves = {line.get_marker(): line.get_xydata().tolist() for line in axes.lines}  # pyright: ignore
    assert curves["s"] == [[2, 0.05], [8, 0.02], [32, 0.01]]
    assert curves["o"] == [[4, 0.024], [8, 0.017], [16, 0.013], [32, 0.011]]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["2", "4", "8", "16", "32"]
    assert read(table)[0] == {"group_size": "2", "mse": "0.05", "deviation": "0.01", "published_mse": ""}
    assert read(table)[1] == {"group_size": "4", "mse": "", "deviation": "", "published_mse": "0.024"}
    for word in ("ResNet-50", "torchmg", "published (MGIC, Table 1)", "mean squared error"):
        assert word in texts(svg)
    draw_mse(points[:1], tmp_path / "mse", published={})
    assert [row["group_size"] for row in read(table)] == ["32"]


@settings(max_examples=10)
@given(st.dictionaries(st.integers(1, 1024), st.floats(0, 1e6), min_size=1, max_size=4))
def test_whatever_the_errors(errors: dict[int, float]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        # the whole but the drawing of pixels, which would take seconds
        patch.setattr("matplotlib.figure.Figure.savefig", lambda *args, **options: None)
        draw_mse([CodeError(size, mse) for size, mse in errors.items()], Path(folder) / "t")
        found = {int(row["group_size"]): row["mse"] for row in read(Path(folder) / "t.csv")}
    assert {size: float(mse) for size, mse in found.items() if mse} == errors


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([], "at least one"),
        ([CodeError(8, 0.1), CodeError(8, 0.2)], r"one point for each group size.*\[8, 8\]"),
        ([CodeError(0, 0.1)], "at least 1"),
        ([CodeError(8, float("nan"))], "finite"),
        ([CodeError(8, -0.1)], "not negative"),
    ],
)
def test_impossible_points(points: list[CodeError], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        draw_mse(points, tmp_path / "t")
    assert not list(tmp_path.iterdir())


def test_a_foreign_table_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("mine\n1\n")
    for draw in (
        lambda: draw_mse([CodeError(8, 0.1)], tmp_path / "t"),
        lambda: draw_reconstructions(ORIGINALS, WAYS, tmp_path / "t"),
    ):
        with pytest.raises(UsageError, match="Name another"):
            draw()
    assert (tmp_path / "t.csv").read_text() == "mine\n1\n"


def test_matplotlib_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"torchmg\[plot\]"):
        draw_mse([CodeError(8, 0.1)], tmp_path / "t")
