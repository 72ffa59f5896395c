"""Dots on lines: where they stand, what is written, what is refused."""

from pathlib import Path

import pytest

from torchmg.errors import UsageError
from torchmg.plot.dots import Course, Dot, _places, draw_dots
from torchmg.tables import Table

DOTS = [
    Dot("of <what>?", "own", "left", 90.0, 0.5),
    Dot("of <what>?", "own", "right", 91.0),
    Dot("of <what>?", "other", "right", 80.0),
    Dot("why?", "same $x$", "left", 85.0, hollow=True),
]
ROWS = Table(["run", "value"], [("own", 90.0)])


def test_every_label_has_a_line_below_its_heading() -> None:
    places, headings = _places(DOTS)
    assert headings == {"of <what>?": 0, "why?": -3}
    assert places == {("of <what>?", "own"): -1, ("of <what>?", "other"): -2, ("why?", "same $x$"): -4}


def test_a_picture_has_panels_labels_and_courses(tmp_path: Path) -> None:
    courses = [Course("ours", [4, 8], [80.0, 81.0], [None, None]), Course("theirs", [4, 8], [82.0, 83.0], [0.1, 0.2])]
    how = {"panels": ["left", "right"], "axis": "accuracy (%)", "title": "all", "rows": ROWS, "reference": "own"}
    picture = draw_dots(DOTS, tmp_path / "drawn", courses=courses, course_title="longer", **how)  # pyright: ignore
    svg = (tmp_path / "drawn.svg").read_text()
    for words in ("left", "right", "own", "other", "same $x$", "of &lt;what&gt;?", "ours", "theirs", "longer", "all"):
        assert f">{words}<" in svg
    assert picture.rows is ROWS
    assert {file.name for file in picture.files} == {"drawn.png", "drawn.svg", "drawn.csv"}
    again = draw_dots(DOTS, tmp_path / "drawn", courses=courses, course_title="longer", **how)  # pyright: ignore
    assert (tmp_path / "drawn.svg").read_text() == svg
    assert again.files == picture.files


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least one dot"):
        draw_dots([], tmp_path / "drawn", panels=["left"], axis="", title="", rows=ROWS)
    (tmp_path / "drawn.csv").write_text("mine\n")
    with pytest.raises(UsageError, match="another --out"):
        draw_dots(DOTS, tmp_path / "drawn", panels=["left"], axis="", title="", rows=ROWS)
