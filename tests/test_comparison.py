"""Comparing: table, CSV, picture and folders of tiny runs; spreads and ratios by hand."""

import csv
import json
import sys
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev

import pytest
import torch

from torchmg import comparison
from torchmg.bench.latency import Latency
from torchmg.comparison import Comparison, compare
from torchmg.data.images import ImageSet, ImageSplit
from torchmg.errors import MissingExtraError, ResumeError, UnknownNameError, UsageError
from torchmg.models.catalog import COMPARISONS, MODELS
from torchmg.models.options import ModelOptions
from torchmg.train.recipe import BASES, Recipe, recipe

TINY = recipe("digits", epochs=1, batch_size=50, lr=0.1, options=ModelOptions(width=0.25, group_size=2, coarsest=4))
DEFAULT = ("resnet20", "mgic_resnet20", "mgiad20")
TIMES = {
    "resnet20": Latency(0.5, 0.4, 0.7),
    "mgic_resnet20": Latency(0.75, 0.7, 0.9),
    "mgiad20": Latency(1.0, 0.9, 1.1),
}


@pytest.fixture(scope="module")
def monkey() -> pytest.MonkeyPatch:
    return pytest.MonkeyPatch()


@pytest.fixture(scope="module", autouse=True)
def _small(monkey: pytest.MonkeyPatch):
    generator = torch.Generator().manual_seed(3)

    def split(size: int) -> ImageSplit:
        labels = torch.arange(size) % 10
        noise = torch.randint(0, 60, (size, 1, 16, 16), generator=generator)
        return ImageSplit((noise + 20 * labels[:, None, None, None]).to(torch.uint8), labels)

    small = ImageSet("digits", tuple("0123456789"), split(200), split(90))
    monkey.setattr("torchmg.train.model.load", lambda *_, **__: small)
    monkey.setattr(comparison, "latencies", lambda models, *_, **__: {name: TIMES[name] for name in models})
    yield
    monkey.undo()


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory, _small: None) -> Comparison:
    return compare(recipe=TINY, seeds=2, out=tmp_path_factory.mktemp("compared") / "out", quiet=True)


def records(folder: Path, model: str) -> list[dict]:
    return [json.loads((folder / f"{model}_s{seed}" / "record.json").read_text()) for seed in (0, 1)]


def test_files(compared: Comparison) -> None:
    names = {path.name for path in compared.folder.iterdir()}
    runs = {f"{model}_s{seed}" for model in DEFAULT for seed in (0, 1)}
    assert names == runs | {"tradeoff.csv", "tradeoff.png", "tradeoff.svg"}
    assert "digits, 1 epochs, 2 seeds" in (compared.folder / "tradeoff.svg").read_text()


def test_models_differ_in_nothing_but_themselves(compared: Comparison) -> None:
    for seed in (0, 1):
        dense, multigrid = (records(compared.folder, model)[seed]["recipe"] for model in ("resnet20", "mgic_resnet20"))
        assert dense["seed"] == multigrid["seed"] == seed
        assert {key for key in dense if dense[key] != multigrid[key]} == {"model", "options"}
        assert {key: value for key, value in dense["options"].items() if value is not None} == {"width": 0.25}
        assert multigrid["options"]["group_size"] == 2


def test_the_csv_is_the_records(compared: Comparison) -> None:
    with (compared.folder / "tradeoff.csv").open() as file:
        rows = {row["model"]: row for row in csv.DictReader(file)}
    assert list(rows) == list(DEFAULT)
    for model, row in rows.items():
        runs = records(compared.folder, model)
        for split in ("train", "test"):
            values = [run[f"{split}_accuracy"] for run in runs]
            assert float(row[f"{split}_mean"]) == mean(values)
            assert float(row[f"{split}_std"]) == stdev(values)
        assert int(row["parameters"]) == runs[0]["parameters"]
        assert int(row["macs"]) == runs[0]["macs"]
        assert (row["seeds"], row["family"]) == (
            "2",
            {"mgic_resnet20": "mgic", "mgiad20": "mgiad"}.get(model, "resnet"),
        )
        assert [float(row[f"ms_{name}"]) for name in ("median", "low", "high")] == list(TIMES[model])
    assert float(rows["resnet20"]["ms_over_dense"]) == 1.0
    assert float(rows["mgic_resnet20"]["ms_over_dense"]) == 1.5
    assert float(rows["mgiad20"]["ms_over_dense"]) == 2.0


def test_the_table_for_people(compared: Comparison) -> None:
    text = str(compared.table())
    lines = {line.split()[0]: line for line in text.splitlines() if line.startswith(DEFAULT)}
    for model in DEFAULT:
        runs = records(compared.folder, model)
        for split in ("train", "test"):
            values = [run[f"{split}_accuracy"] for run in runs]
            assert f"{mean(values):.2f} ± {stdev(values):.2f}" in lines[model]
        assert f"{runs[0]['parameters']:,}" in lines[model]
        assert f"{runs[0]['macs']:,}" in lines[model]
    assert lines["mgic_resnet20"].split()[-2:] == ["0.75", "1.5"]
    assert text.startswith("digits, 1 epochs, 2 seeds")
    assert "Same recipe and seeds" in text
    assert "1 threads" in text


def test_again_in_the_same_folder_trains_nothing(compared: Comparison, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchmg.train.model.load", lambda *_, **__: pytest.fail("it trains"))
    again = compare(recipe=TINY, seeds=2, out=compared.folder, quiet=True)
    assert again.rows == compared.rows
    with pytest.raises(ResumeError, match=r"lr 0\.1 \(you asked for 0\.2\)"):
        compare(recipe=replace(TINY, lr=0.2), out=compared.folder, quiet=True)


def test_one_seed_has_no_spread(compared: Comparison) -> None:
    one = compare(["mgic_resnet20"], recipe=TINY, out=compared.folder, quiet=True)
    (row,) = one.rows
    assert row.against is None  # there is no dense model to compare with
    assert "±" not in str(one.table())
    assert one.title == "digits, 1 epochs, 1 seed"
    (line,) = csv.DictReader(one.data().csv().splitlines())
    assert (line["test_std"], line["train_std"], line["ms_over_dense"]) == ("", "", "")


def test_seeds_are_consecutive_from_the_recipes(tmp_path: Path) -> None:
    compare(["mgic_resnet20", "mgic_resnet20"], recipe=replace(TINY, seed=7), seeds=1, out=tmp_path, quiet=True)
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {"mgic_resnet20_s7"}


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"models": ["resnt20"]}, UnknownNameError, ["Unknown model 'resnt20'", "resnet20"]),
        ({"models": ["resnet20", ""]}, UnknownNameError, ["Unknown model ''"]),
        ({"seeds": 0}, UsageError, ["seeds", "got 0"]),
        (
            {"models": ["resnet20", "resnet32"], "recipe": Recipe(options=ModelOptions(group_size=2))},
            UnknownNameError,
            ["None of resnet20, resnet32 has an option 'group_size'"],
        ),
        ({"device": "gpu"}, UsageError, ["no device 'gpu'"]),
    ],
)
def test_what_is_wrong_is_named(arguments: dict, error: type[Exception], words: list[str], tmp_path: Path) -> None:
    with pytest.raises(error) as caught:
        compare(**{"recipe": TINY, "out": tmp_path / "out", "quiet": True, **arguments})
    for word in words:
        assert word in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_without_matplotlib_it_says_so_before_it_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"torchmg\[plot\]"):
        compare(recipe=TINY, out=tmp_path / "out", quiet=True)
    assert not (tmp_path / "out").exists()


def test_models_of_another_task_than_the_data_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="dgcnn is made to classify point clouds, digits asks to classify images"):
        compare(["dgcnn"], BASES["digits"], out=tmp_path)


def test_every_task_has_models_of_its_own_for_when_none_are_named() -> None:
    assert set(COMPARISONS) == {entry.task for entry in MODELS.values()}
    for task, models in COMPARISONS.items():
        assert {MODELS[name].task for name in models} == {task}
        assert any(MODELS[name].dense in models for name in models)
