"""Pictures of predictions, from the raw drawing of clouds to whole runs."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from torchmg import plot
from torchmg.data.clouds import CloudSet, CloudSplit
from torchmg.data.segmentation import PairSplit, SegmentationSet
from torchmg.errors import ShapeError, UsageError
from torchmg.models.options import ModelOptions
from torchmg.plot.clouds import draw_clouds
from torchmg.train.loop import fit
from torchmg.train.recipe import BASES


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_clouds_say_what_each_model_takes_them_for(tmp_path: Path) -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]])
    picture = draw_clouds(
        torch.rand(3, 20, 3), torch.tensor([0, 1, 1]), {"net": logits}, ["bed", "chair"], tmp_path / "c"
    )
    assert [file.suffix for file in picture.files] == [".png", ".svg", ".csv"]
    found = rows(tmp_path / "c.csv")
    assert [(r["label"], r["prediction"]) for r in found] == [("bed", "bed"), ("chair", "chair"), ("chair", "bed")]
    assert [float(r["share"]) for r in found] == pytest.approx(logits.softmax(1).amax(1).tolist())
    text = (tmp_path / "c.svg").read_text()
    assert text.count("(wrong)") == 1


@pytest.mark.parametrize(
    ("clouds", "labels", "logits"),
    [((3, 20), (3,), (3, 2)), ((3, 20, 3), (2,), (3, 2)), ((3, 20, 3), (3,), (3, 5)), ((0, 20, 3), (0,), (0, 2))],
)
def test_what_does_not_belong_together_is_refused(clouds, labels, logits, tmp_path: Path) -> None:
    drawn = torch.rand(clouds), torch.zeros(labels, dtype=torch.long), {"net": torch.rand(logits)}
    with pytest.raises(ShapeError, match="Expected"):
        draw_clouds(*drawn, ["bed", "chair"], tmp_path / "c")


@pytest.fixture
def cloud_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    splits = [CloudSplit(torch.rand(6, 24, 3), torch.arange(6) % 2) for _ in range(2)]
    data = CloudSet("modelnet10", ("bed", "chair"), *splits)
    monkeypatch.setattr("torchmg.train.model.load", lambda *_, **__: data)
    base = replace(BASES["modelnet10"], epochs=1, batch_size=3)
    options = {
        "dgcnn": ModelOptions(neighbours=4, width=0.25),
        "mgic_dgcnn": ModelOptions(neighbours=4, graph_of="positions"),
    }
    return [
        fit(replace(base, model=name, options=given), folder=tmp_path / name, device="cpu", quiet=True).folder
        for name, given in options.items()
    ]


def test_runs_on_clouds_share_a_picture(cloud_runs: list[Path], tmp_path: Path) -> None:
    plot.predictions(cloud_runs, tmp_path / "p", samples=3, device="cpu")
    assert [r["model"] for r in rows(tmp_path / "p.csv")] == ["dgcnn", "mgic_dgcnn"] * 3
    with pytest.raises(UsageError, match="samples must be at least 1"):
        plot.predictions(cloud_runs, tmp_path / "p", samples=0, device="cpu")


def test_a_segmentation_run_is_scored_logged_and_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (6, 3, 32, 48), dtype=torch.uint8, generator=generator)
    masks = (images[:, 0] > 127).to(torch.uint8)
    masks[:, :2] = 255
    data = SegmentationSet("camvid", ("dark", "light"), PairSplit(images, masks), PairSplit(images[:4], masks[:4]))
    monkeypatch.setattr("torchmg.train.model.load", lambda *_, **__: data)
    recipe = replace(BASES["camvid"], epochs=2, batch_size=3)
    run = fit(recipe, folder=tmp_path / "run", device="cpu", quiet=True)
    assert 0 <= run.record["test_miou"] <= 100
    assert set(run.record["test_classes"]) <= {"dark", "light"}
    assert {"train_miou", "test_miou", "test_accuracy"} <= rows(tmp_path / "run" / "log.csv")[0].keys()
    plot.curves([tmp_path / "run"], tmp_path / "curves")
    plot.tradeoff([tmp_path / "run"], tmp_path / "tradeoff")
    assert "mIoU" in (tmp_path / "curves.svg").read_text()
    assert "mIoU" in (tmp_path / "tradeoff.svg").read_text()
    plot.predictions([tmp_path / "run"], tmp_path / "p", samples=2, device="cpu")
    assert len(rows(tmp_path / "p.csv")) == 2


def test_other_data_has_no_such_picture(tmp_path: Path) -> None:
    recipe = replace(BASES["functions"], epochs=1, batch_size=500, options=ModelOptions(channels=16))
    run = fit(recipe, folder=tmp_path / "run", device="cpu", quiet=True)
    assert run.record["test_explained"] < 100
    with pytest.raises(UsageError, match="segmentation and point clouds have"):
        plot.predictions([tmp_path / "run"], tmp_path / "p", device="cpu")
    with pytest.raises(UsageError, match="at least one run"):
        plot.predictions([], tmp_path / "p")
