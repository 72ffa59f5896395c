"""Trade-offs of papers' tables: hollow as printed, filled ours, half filled shortened."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from drawn_runs import capture, texts

from torchmg.cli.plot import main
from torchmg.errors import UnknownNameError
from torchmg.models.options import ModelOptions
from torchmg.paper import TABLES
from torchmg.paper.measured import Measured, load
from torchmg.paper.rows import Network
from torchmg.plot import paper
from torchmg.plot.printed import COLUMNS, table_of
from torchmg.train.recipe import recipe

WHOLE = recipe("mgiad_fashion_mnist_mgiad20", options=ModelOptions(group_size=8, coarsest=16))
FULL = Measured(WHOLE, (93.0, 94.0), (99.0, 99.0), 36_858, 1)
SHORT = Measured(
    replace(WHOLE, epochs=12, options=ModelOptions(group_size=4, coarsest=16)), (92.0,), (93.0,), 27_642, 1
)
EARLY = Measured(recipe("cifar10_resnet20", epochs=2), (40.0,), (41.0,), 269_722, 1)


def rows(file: Path) -> list[dict[str, str]]:
    with file.open() as opened:
        return list(csv.DictReader(opened))


def test_every_printed_accuracy_is_a_point_once() -> None:
    table = table_of("mgiad", [])
    printed = [
        (name, row.label, float(row.accuracy.test))
        for name, of_paper in TABLES.items()
        for row in of_paper.rows
        if name.startswith("mgiad") and row.accuracy and isinstance(row.ours, Network) and not row.repeats
    ]
    at = {column: index for index, column in enumerate(COLUMNS)}
    assert [(row[0], row[1], row[at["test_mean"]]) for row in table.rows] == printed
    assert len(printed) == 59
    assert {row[at["by"]] for row in table.rows} == {"paper"}


def test_our_runs_stand_beside_their_rows(tmp_path: Path) -> None:
    picture = paper("mgiad", [FULL, SHORT, EARLY], tmp_path / "p")
    assert [file.name for file in picture.files] == ["p.png", "p.svg", "p.csv"]
    assert all(file.stat().st_size > 1000 for file in picture.files)
    ours = {row["configuration"]: row for row in rows(picture.files[2]) if row["by"] == "torchmg"}
    assert set(ours) == {"MGiaD, c_K=16, g_s=8", "MGiaD, c_K=16, g_s=4", "ResNet20"}
    full, short = ours["MGiaD, c_K=16, g_s=8"], ours["MGiaD, c_K=16, g_s=4"]
    assert (full["parameters"], full["test_mean"], full["seeds"], full["training"]) == ("36858", "93.5", "2", "")
    assert float(full["test_std"]) == pytest.approx(0.5**0.5)
    assert (short["parameters"], short["test_std"], short["training"]) == ("27642", "", "12 of 400 epochs")
    shown = texts(picture.files[1])
    assert "12 of 400 epochs" in shown
    assert "below: 40.00 %" in shown


def test_how_points_are_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = capture(monkeypatch, "printed")
    paper("mgiad", [FULL, SHORT, EARLY], tmp_path / "p")
    cifar, fashion, _ = figures[0].axes
    assert [axes.get_title() for axes in figures[0].axes] == ["cifar10", "fashion_mnist", "cifar100"]
    assert {axes.get_xscale() for axes in figures[0].axes} == {"log"}
    drawn = {
        (line.get_xdata()[0], line.get_ydata()[0]): (line.get_fillstyle(), line.get_color())  # pyright: ignore
        for line in fashion.lines
        if line.get_marker() not in ("_", "|", "None")
    }
    assert drawn[36_858, 93.5][0] == "full"
    assert drawn[27_642, 92.0][0] == "left"
    assert drawn[37_000, 93.35][0] == "none"
    assert drawn[36_858, 93.5][1] == drawn[27_642, 92.0][1] == drawn[37_000, 93.35][1]
    assert drawn[270_000, 93.02][1] != drawn[37_000, 93.35][1], "another family"
    assert cifar.get_ylim()[0] > 75, "a run of two epochs does not decide the scale"


def test_mgic_and_unknown_papers(tmp_path: Path) -> None:
    picture = paper("mgic", [], tmp_path / "p")
    assert {row["data"] for row in rows(picture.files[2])} == {"cifar10", "imagenet"}
    assert "MGIC-ResNet-56, s_c=16, s_g=8" in texts(picture.files[1])
    with pytest.raises(UnknownNameError, match=r"Unknown paper 'mgia'\. Did you mean mgiad"):
        paper("mgia", [], tmp_path / "q")


def test_the_command_draws_what_the_repository_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    root = Path(__file__).parents[2]
    monkeypatch.chdir(root)
    assert main(["paper", "mgic", "--out", str(tmp_path / "m")]) == 0
    assert "MGIC, printed and measured" in capsys.readouterr().out
    assert (tmp_path / "m.csv").read_text() == (root / "docs" / "images" / "paper_mgic.csv").read_text()
    assert table_of("mgic", load(root / "results")).csv() == (tmp_path / "m.csv").read_text()
