"""Trade-offs from records: seeds become means, other differences become names, different data is refused."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawn_runs import DATA, capture, make_run, record, texts, with_seed

from torchmg.errors import CheckpointError, TorchmgError, UnknownNameError, UsageError
from torchmg.models.options import ModelOptions
from torchmg.plot import tradeoff
from torchmg.plot.runs import distinct_names
from torchmg.train.recipe import recipe

MGIC, DENSE = recipe("digits_mgic_resnet20", epochs=4), recipe("digits_resnet20", epochs=4)


def rows(file: Path) -> list[dict[str, str]]:
    with file.open() as opened:
        return list(csv.DictReader(opened))


def test_seeds_become_a_mean_with_its_deviation(tmp_path: Path) -> None:
    accuracies = [90.0, 91.5, 94.0]
    for seed, accuracy in enumerate(accuracies):
        make_run(tmp_path / "runs" / f"m{seed}", with_seed(MGIC, seed), test_accuracy=accuracy, parameters=1234)
    make_run(tmp_path / "runs" / "d", DENSE, test_accuracy=92.0)
    picture = tradeoff([tmp_path / "runs"], tmp_path / "t")
    found = {row["name"]: row for row in rows(picture.files[2])}
    assert list(found) == ["resnet20", "mgic_resnet20"]
    mgic = found["mgic_resnet20"]
    assert (mgic["seeds"], mgic["parameters"], mgic["family"]) == ("3", "1234", "mgic")
    assert float(mgic["test_mean"]) == pytest.approx(np.mean(accuracies))
    assert float(mgic["test_std"]) == pytest.approx(np.std(accuracies, ddof=1))
    assert found["resnet20"]["test_std"] == ""
    assert picture.rows.title == "digits, 4 epochs, 1 to 3 seeds"
    assert f"1.23 k, {np.mean(accuracies):.2f} %" in texts(picture.files[1])


def test_points_and_bars_are_drawn_where_the_records_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = capture(monkeypatch, "points")
    for seed, accuracy in enumerate((90.0, 94.0)):
        make_run(tmp_path / "runs" / f"m{seed}", with_seed(MGIC, seed), test_accuracy=accuracy)
    tradeoff([tmp_path / "runs"], tmp_path / "t", "macs")
    axes = figures[0].axes[0]
    assert axes.get_xlabel() == "MACs of one sample (logarithmic)"
    assert list(axes.lines[0].get_xdata()) == [50_000]
    assert list(axes.lines[0].get_ydata()) == [92.0]
    (bar,) = axes.collections[0].get_segments()  # pyright: ignore
    assert sorted(y for _, y in bar) == pytest.approx([92 - 8**0.5, 92 + 8**0.5])


def test_records_run_folders_and_folders_of_either(tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs" / "one", MGIC)
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "two.json").write_text(json.dumps(record(DENSE)))
    for sources in (["runs", "results"], ["runs/one/record.json", "results/two.json"], [run, "runs", "results"]):
        picture = tradeoff([tmp_path / source for source in sources], tmp_path / "t")
        assert sorted(str(row[0]) for row in picture.rows.rows) == ["mgic_resnet20", "resnet20"]


def test_repeats_and_unfinished_runs_are_left_out_and_told(tmp_path: Path) -> None:
    make_run(tmp_path / "runs" / "a", test_accuracy=90.0)
    make_run(tmp_path / "runs" / "b", test_accuracy=90.0)
    make_run(tmp_path / "runs" / "c", finished=2)
    picture = tradeoff([tmp_path / "runs"], tmp_path / "t")
    assert len(picture.rows.rows) == 1
    assert picture.rows.note == "Left out, not finished: c. Left out, repeats of the same recipe and seed: 1."
    assert picture.rows.title == "digits, 4 epochs, 1 seed"
    with pytest.raises(CheckpointError, match=r"No run is finished yet: c\. Continue: torchmg train --resume"):
        tradeoff([tmp_path / "runs" / "c"], tmp_path / "t")


def test_different_data_is_refused_and_listed(tmp_path: Path) -> None:
    make_run(tmp_path / "a", MGIC)
    make_run(tmp_path / "b", recipe("fashion_mnist_resnet20"), data={**DATA, "test_pixels": "cc"})
    make_run(tmp_path / "c", MGIC, data={**DATA, "test_pixels": "dd"})
    with pytest.raises(UsageError, match=r"digits \(test images aa\): a; fashion_mnist \(test images cc\): b"):
        tradeoff([tmp_path / "a", tmp_path / "b"], tmp_path / "t")
    with pytest.raises(UsageError, match=r"digits \(test images aa\): a; digits \(test images dd\): c"):
        tradeoff([tmp_path / "a", tmp_path / "c"], tmp_path / "t")
    assert not (tmp_path / "t.png").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{\n"recipe": \n', r"record\.json, line 3: Expecting value"),
        ("[]", r"record\.json is not the record of a finished run: its 'recipe' is None"),
        (json.dumps(record(MGIC, test_accuracy="90")), r"its 'test_accuracy' is '90'"),
        (json.dumps(record(MGIC, test_accuracy=float("nan"))), r"its 'test_accuracy' is nan"),
        (json.dumps({**record(MGIC), "recipe": {"lerning_rate": 1}}), r"record\.json has no setting 'lerning_rate'"),
        (b"\xff\xfe", r"record\.json cannot be read"),
    ],
)
def test_a_damaged_record_is_named(content: str | bytes, message: str, tmp_path: Path) -> None:
    file = make_run(tmp_path / "run") / "record.json"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(TorchmgError, match=message):
        tradeoff([tmp_path / "run"], tmp_path / "t")


def test_wrong_requests(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least one run folder or record"):
        tradeoff([])
    with pytest.raises(UnknownNameError, match="size='parameter' is not a choice"):
        tradeoff([make_run(tmp_path / "run")], tmp_path / "t", "parameter")  # pyright: ignore[reportArgumentType]
    (tmp_path / "tradeoff.csv").write_text("model,ms_median\n")  # such as compare's, which has more columns
    with pytest.raises(UsageError, match=r"tradeoff\.csv exists"):
        tradeoff([tmp_path / "run"], tmp_path / "tradeoff")


def test_names_are_the_model_and_what_differs() -> None:
    wide = replace(MGIC, options=ModelOptions(width=2.0))
    user = replace(MGIC, model="folder/net.py:tiny")
    assert distinct_names([MGIC, wide, DENSE]) == ["mgic_resnet20", "mgic_resnet20 width=2.0", "resnet20"]
    assert distinct_names([MGIC, replace(user, lr=0.2)]) == ["mgic_resnet20 lr=0.1", "net.py:tiny lr=0.2"]
    assert distinct_names([MGIC]) == ["mgic_resnet20"]
    assert distinct_names([]) == []
