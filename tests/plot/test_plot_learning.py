"""Learning curves: what is drawn is what the logs say, and damaged logs are named."""

import csv
import sys
from pathlib import Path

import pytest
from drawn_runs import capture, covered, label_boxes, log_rows, make_run, texts, with_seed

from torchmg.errors import CheckpointError, MissingExtraError, UsageError
from torchmg.plot import curves
from torchmg.train.recipe import recipe

BASE = recipe("digits_mgic_resnet20", epochs=4)


def test_lines_are_the_columns_of_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = capture(monkeypatch, "learning")
    curves([make_run(tmp_path / "run")], tmp_path / "c")
    accuracy, loss, rate = figures[0].axes
    expected = {name: [row[name] for row in log_rows(4)] for name in log_rows(1)[0]}
    for axes, what in ((accuracy, "accuracy"), (loss, "loss")):
        solid, dashed = axes.lines
        assert (solid.get_linestyle(), dashed.get_linestyle()) == ("-", "--")
        assert list(solid.get_ydata()) == pytest.approx(expected[f"test_{what}"])
        assert list(dashed.get_ydata()) == pytest.approx(expected[f"train_{what}"])
        assert list(solid.get_xdata()) == [1, 2, 3, 4]
    assert list(rate.lines[0].get_ydata()) == pytest.approx(expected["lr"])


def test_the_rows_behind_the_picture(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    picture = curves([run], tmp_path / "c")
    assert [file.name for file in picture.files] == ["c.png", "c.svg", "c.csv"]
    with picture.files[2].open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3, 4]
    for row, logged in zip(rows, log_rows(4), strict=True):
        assert (row["run"], row["model"], row["epochs"]) == (str(run), "mgic_resnet20", "4")
        assert all(float(row[name]) == logged[name] for name in ("lr", "train_loss", "test_accuracy"))


def test_the_gap_is_the_record_s_and_an_unfinished_run_says_how_far_it_got(tmp_path: Path) -> None:
    make_run(tmp_path / "runs" / "a", train_accuracy=95.25, test_accuracy=90.0)
    make_run(tmp_path / "runs" / "b", with_seed(BASE, 7), finished=3)
    text = texts(curves([tmp_path / "runs"], tmp_path / "c").files[1])
    assert "mgic_resnet20 seed=0" in text
    assert "80.00 %, gap 5.25" in text  # the log's last accuracy, the record's gap
    assert "mgic_resnet20 seed=7" in text
    assert "3 of 4 epochs" in text
    assert "digits, 2 runs" in text


def test_a_folder_means_the_runs_in_it_and_in_its_folders_once(tmp_path: Path) -> None:
    one = make_run(tmp_path / "runs" / "one")
    make_run(tmp_path / "runs" / "compare" / "two", with_seed(BASE, 1))
    picture = curves([tmp_path / "runs", one], tmp_path / "c")
    assert len({row[0] for row in picture.rows.rows}) == 2


def test_runs_without_an_epoch_are_left_out_and_named(tmp_path: Path) -> None:
    make_run(tmp_path / "runs" / "new", finished=0)
    with pytest.raises(CheckpointError, match=r"No run has finished an epoch yet: new\."):
        curves([tmp_path / "runs"], tmp_path / "c")
    make_run(tmp_path / "runs" / "old")
    assert curves([tmp_path / "runs"], tmp_path / "c").rows.note == "Left out, no finished epoch yet: new."


def test_same_recipes_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name) for name in ("first", "second")]
    text = texts(curves(runs, tmp_path / "c").files[1])
    assert "mgic_resnet20 first" in text
    assert "mgic_resnet20 second" in text


@pytest.mark.parametrize("count", [1, 8, 20])
def test_labels_do_not_cover_each_other(count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = capture(monkeypatch, "learning")
    long = recipe("digits_mgic_resnet110", epochs=2)
    runs = [make_run(tmp_path / f"r{n}", with_seed(long, 10**9 + n)) for n in range(count)]
    curves(runs, tmp_path / "c")
    boxes = list(label_boxes(figures[0]).values())
    assert len(boxes) == count
    assert covered(boxes) == []
    whole = figures[0].bbox
    assert all(whole.x0 <= b.x0 and b.x1 <= whole.x1 and whole.y0 <= b.y0 and b.y1 <= whole.y1 for b in boxes)


def test_one_epoch_and_the_same_picture_twice(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", recipe("digits", epochs=1))
    one, other = (curves([run], tmp_path / name).files[1].read_bytes() for name in ("a", "b"))
    assert one == other


def test_not_a_run_folder_names_those_beside_it(tmp_path: Path) -> None:
    make_run(tmp_path / "good")
    with pytest.raises(CheckpointError, match=r"bad is not a run folder.*Run folders beside it: good"):
        curves([tmp_path / "bad"])
    with pytest.raises(UsageError, match="at least one run folder"):
        curves([])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("test_accuracy", "accuracy", r"log\.csv, line 1: no column test_accuracy"),
        ("\n2,20,", "\n2,20,x", r"log\.csv, line 3: lr is 'x0\.05', not a finite number"),
        ("\n2,20,0.05,", "\n2,20,nan,", r"log\.csv, line 3: lr is 'nan', not a finite number"),
        ("\n2,20,0.05,1.0,75.0,1.25,70.0,1.5", "\n2,20,0.05,1.0", r"log\.csv, line 3: train_accuracy is None"),
    ],
)
def test_a_damaged_log_is_named_with_its_line(old: str, new: str, message: str, tmp_path: Path) -> None:
    log = make_run(tmp_path / "run") / "log.csv"
    text = log.read_bytes().decode().replace("\r\n", "\n")
    assert old in text
    log.write_text(text.replace(old, new))
    with pytest.raises(CheckpointError, match=message):
        curves([tmp_path / "run"], tmp_path / "c")


def test_a_log_that_is_no_text(tmp_path: Path) -> None:
    (make_run(tmp_path / "run") / "log.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CheckpointError, match=r"log\.csv cannot be read"):
        curves([tmp_path / "run"], tmp_path / "c")


def test_an_earlier_picture_is_replaced_and_a_log_is_not(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    before = (run / "log.csv").read_bytes()
    with pytest.raises(UsageError, match=r"log\.csv exists and is not the table of an earlier picture"):
        curves([run], run / "log")
    assert (run / "log.csv").read_bytes() == before
    first = curves([run], tmp_path / "c.png").files
    assert [file.name for file in first] == ["c.png", "c.svg", "c.csv"]
    first[0].write_bytes(b"")
    assert curves([run], tmp_path / "c").files[0].stat().st_size > 2000


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        curves([make_run(tmp_path / "run")], tmp_path / "file" / "c")


def test_matplotlib_is_an_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path / "run")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'torchmg\[plot\]'"):
        curves([run], tmp_path / "c")
