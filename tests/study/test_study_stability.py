"""The study of stability, on saved runs with random weights: what it writes is what the networks do."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from torchmg.data.images import ImageSet, ImageSplit
from torchmg.errors import CheckpointError, UnknownNameError, UsageError
from torchmg.models.options import ModelOptions
from torchmg.plot.picture import Picture
from torchmg.study import StabilityStudy, study_stability
from torchmg.tables import Table
from torchmg.train.evaluate import evaluate
from torchmg.train.folder import RunFolder
from torchmg.train.model import model_for
from torchmg.train.recipe import Recipe, recipe

TINY: dict[str, Any] = {"calibration": 20, "batch_size": 16, "device": "cpu", "quiet": True}
KINDS = {
    "symmetric": ModelOptions(width=0.25),
    "double": ModelOptions(width=0.25, layer="double"),
    "certified": ModelOptions(width=0.25, certified=True),
}


def images() -> ImageSet:
    """Smooth pictures of 8 x 8."""
    generator = torch.Generator().manual_seed(2)

    def split(size: int) -> ImageSplit:
        noise = torch.rand(size, 1, 4, 4, generator=generator)
        smooth = torch.nn.functional.interpolate(noise, size=8, mode="bilinear")
        return ImageSplit((255 * smooth).to(torch.uint8), torch.arange(size) % 10)

    return ImageSet("digits", tuple("0123456789"), split(40), split(50))


@pytest.fixture(scope="module", autouse=True)
def _small():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torchmg.train.model.load", lambda *_, **__: images())
        yield


@pytest.fixture
def _undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures take longer than all the rest."""

    def draw(_: object, stem: Path, rows: Table, **__: object) -> Picture:
        stem.parent.mkdir(exist_ok=True)
        return Picture((), rows)

    monkeypatch.setattr("torchmg.study.stability.draw_stability", draw)


def save(folder: Path, what: Recipe, *, finished: bool = False) -> RunFolder:
    """A run with random weights."""
    run = RunFolder.open(what, folder)
    torch.manual_seed(what.seed)
    run.write_weights(model_for(what, images()))
    if finished:
        run.write_record({"recipe": what.to_json()})
    return run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, _small: None) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for name, options in KINDS.items():
        for seed in (0, 1):
            save(folder / f"{name}{seed}", recipe("digits_parabolic", options=options, seed=seed), finished=seed == 0)
    return folder


@pytest.fixture(scope="module")
def study(runs: Path) -> StabilityStudy:
    return study_stability([runs], samples=30, out=runs / "out", record=runs / "record.json", **TINY)


def test_the_files_hold_every_number_at_every_depth(study: StabilityStudy, runs: Path) -> None:
    names = {path.name for path in study.folder.iterdir()}
    assert names == {"stability.png", "stability.svg", "stability.csv", "stability.json"}
    assert (runs / "record.json").read_bytes() == (study.folder / "stability.json").read_bytes()
    record = json.loads((runs / "record.json").read_text())
    assert record["command"].startswith("torchmg study stability ")
    assert str(runs) not in (runs / "record.json").read_text()
    assert {"torch", "device", "date"} <= set(record["environment"])
    assert set(record["data"]) == set(images().hashes())
    assert (record["seed"], record["samples"], record["bits"]) == (0, 30, [8, 4])
    with (study.folder / "stability.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6 * (2 * 10 + 2 * 9 + 2 * 10)  # runs, growth, expansion, error
    for one in record["runs"]:
        assert len(one["sites"]) == 9
        mine = [row for row in rows if row["run"] == one["run"]]
        for quantity, settings in (("growth", one["growth"]), ("expansion", one["expansion"])):
            for size, course in settings.items():
                chosen = [r for r in mine if (r["quantity"], float(r["setting"])) == (quantity, float(size))]
                assert [float(r["mean"]) for r in chosen] == course["mean"]
                assert [float(r["largest"]) for r in chosen] == course["largest"]
                assert [r["module"] for r in chosen] == [*one["sites"], "logits"][: len(chosen)]
        for bits, errors in one["error"].items():
            chosen = [r for r in mine if (r["quantity"], float(r["setting"])) == ("error", float(bits))]
            assert [float(r["mean"]) for r in chosen] == errors
        assert max(one["error"]["8"][:-1]) < min(one["error"]["4"][:-1])


def test_certified_steps_do_not_expand_and_seeds_share_a_name(study: StabilityStudy) -> None:
    for row in study.rows:
        assert row.finished == row.run.endswith("0")
        assert row.run.startswith({"double": "double", "True": "certified"}.get(row.network.rpartition("=")[2], "symm"))
        for course in row.found.expansion.values():
            assert row.run[:4] != "cert" or max(course.largest) <= 1 + 1e-4
    assert len({row.network for row in study.rows}) == 3
    text = str(study.table())
    assert "digits, 30 test images, 6 runs" in text
    assert text.count("(unfinished)") == 3


@pytest.mark.usefixtures("_undrawn")
def test_accuracy_is_that_of_evaluation_and_batches_change_nothing(study: StabilityStudy, runs: Path) -> None:
    run = RunFolder.existing(runs / "double1")
    model = model_for(run.recipe(), images())
    run.read_weights(model)
    how = {**TINY, "out": runs / "other"}
    every = study_stability([run.path], samples=1000, **how)
    assert every.rows[0].found.images == 50
    assert every.rows[0].found.accuracy == pytest.approx(evaluate(model, images()).accuracy)
    again = study_stability([run.path], samples=30, **{**how, "batch_size": 7}).rows[0].found
    before = next(row.found for row in study.rows if row.run == "double1")
    for size, course in before.growth.items():
        assert again.growth[size].mean == pytest.approx(course.mean, rel=2e-3)
    assert again.error[4] == pytest.approx(before.error[4], rel=2e-2)
    other = study_stability([run.path], samples=30, seed=1, **how).rows[0].found
    assert other.growth[1e-3].mean != pytest.approx(before.growth[1e-3].mean, rel=1e-3)


@pytest.mark.usefixtures("_undrawn")
def test_only_perturbations_or_only_bits(runs: Path) -> None:
    how = {**TINY, "samples": 4, "out": runs / "few"}
    (row,) = study_stability([runs / "double0"], perturbations=(), bits=(4,), grid="symmetric", **how).rows
    assert (row.found.growth, row.found.expansion, list(row.found.error)) == ({}, {}, [4])
    study = study_stability([runs / "double0"], bits=(), perturbations=(0.1, 0.1), **how)
    assert (list(study.rows[0].found.growth), study.rows[0].found.error) == ([0.1], {})
    assert {row[3] for row in study.data().rows} == {"growth", "expansion"}


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"runs": []}, UsageError, ["at least one run folder"]),
        ({"runs": ["nowhere"]}, CheckpointError, ["not a run folder"]),
        ({"samples": 0}, UsageError, ["samples", "at least 1", "got 0"]),
        ({"calibration": 0}, UsageError, ["calibration"]),
        ({"batch_size": -1}, UsageError, ["batch_size"]),
        ({"perturbations": (0.1, 0.0)}, UsageError, ["above 0", "got 0.0"]),
        ({"perturbations": (float("nan"),)}, UsageError, ["got nan"]),
        ({"bits": (8, 1)}, UsageError, ["2 to 16 bits", "got 1"]),
        ({"perturbations": (), "bits": ()}, UsageError, ["at least one perturbation"]),
        ({"grid": "symetric"}, UnknownNameError, ["symmetric"]),
        ({"device": "gpu"}, UsageError, ["no device 'gpu'"]),
        ({"record": "no/such/folder.json"}, UsageError, ["no folder"]),
    ],
)
def test_what_is_wrong_is_named(
    change: dict, error: type[Exception], words: list[str], runs: Path, tmp_path: Path
) -> None:
    with pytest.raises(error) as caught:
        study_stability(**{"runs": [runs / "double0"], **TINY, "out": tmp_path / "out", **change})
    for word in words:
        assert word in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_other_runs_and_other_tables_are_refused(runs: Path, tmp_path: Path) -> None:
    RunFolder.open(recipe("qtips_imexnet"), tmp_path / "masks")
    with pytest.raises(UsageError, match="qtips is none of their data sets"):
        study_stability([tmp_path / "masks"], out=tmp_path / "out", **TINY)
    RunFolder.open(recipe("fashion_mnist_resnet20"), tmp_path / "clothes")
    with pytest.raises(UsageError, match="digits, fashion_mnist do not see the same images"):
        study_stability([runs / "double0", tmp_path / "clothes"], out=tmp_path / "out", **TINY)
    RunFolder.open(recipe("digits_resnet20"), tmp_path / "young")
    with pytest.raises(CheckpointError, match="no weights yet"):
        study_stability([tmp_path / "young"], out=tmp_path / "out", **TINY)
    broken = save(tmp_path / "broken", replace(recipe("digits_resnet20"), options=ModelOptions(width=0.25)))
    model = model_for(broken.recipe(), images())
    model.get_parameter("head.bias").data.fill_(float("nan"))
    broken.write_weights(model)
    with pytest.raises(UsageError, match="broken: The network gives values that are not finite"):
        study_stability([tmp_path / "broken"], out=tmp_path / "out", **TINY)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "stability.csv").write_text("a,b\n")
    with pytest.raises(UsageError, match="Name another --out"):
        study_stability([runs / "double0"], out=tmp_path / "mine", **TINY)
