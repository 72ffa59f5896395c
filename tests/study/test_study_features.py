"""The study of features: a network with a random first layer, errors against principal components, continued runs."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from torchmg.data.images import ImageSet, ImageSplit
from torchmg.errors import CheckpointError, InterruptedRunError, ResumeError, UnknownNameError, UsageError
from torchmg.study import FeatureStudy, study_features
from torchmg.train import loop
from torchmg.train.folder import RunFolder
from torchmg.train.recipe import recipe

TINY: dict[str, Any] = {"model": "resnet18_cifar", "group_sizes": (4, 16), "images": 240, "epochs": 6, "device": "cpu"}


def images(classes: int = 10) -> ImageSet:
    """Smooth pictures of 8 x 8."""
    generator = torch.Generator().manual_seed(2)

    def split(size: int) -> ImageSplit:
        noise = torch.rand(size, 1, 4, 4, generator=generator)
        smooth = torch.nn.functional.interpolate(noise, size=8, mode="bilinear")
        return ImageSplit((255 * smooth).to(torch.uint8), torch.arange(size) % classes)

    return ImageSet("digits", tuple("0123456789"), split(240), split(60))


@pytest.fixture(scope="module", autouse=True)
def _small():
    real = loop.data_for.__globals__["load"]
    small = images()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "torchmg.train.model.load", lambda name, *rest, **more: small if name == "digits" else real(name, *rest)
        )
        yield


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, _small: None) -> FeatureStudy:
    return study_features(**TINY, out=tmp_path_factory.mktemp("study") / "out", quiet=True)


def test_errors_fall_with_the_group_size_and_stay_above_principal_components(study: FeatureStudy) -> None:
    features = load_file(study.folder / "features" / "features.safetensors")
    train = features["train"].float()
    assert train.shape == (240, 64, 8, 8)
    assert features["test"].shape == (60, 64, 8, 8)
    assert train.std().item() == pytest.approx(1, abs=1e-3)
    pixels = train.double().movedim(1, 0).flatten(1)
    spectrum = torch.linalg.eigvalsh(pixels @ pixels.T / pixels.shape[1])
    best = spectrum[:-8].sum().item() / 64  # no linear code in 8 channels does better
    scale = json.loads((study.folder / "study.json").read_text())["scale"]
    large, small = study.rows
    assert (large.group_size, small.group_size) == (16, 4)
    assert best < large.train / scale**2 < small.train / scale**2 < 1
    assert small.relative == pytest.approx(small.test / scale**2)


def test_the_table_is_what_the_records_say(study: FeatureStudy) -> None:
    with (study.folder / "features.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["published_parameters"] for row in rows] == ["1,800", "450"]
    assert [row["published_mse"] for row in rows] == ["0.013", "0.024"]
    assert [row["parameters"] for row in rows] == ["1792", "448"]
    for row in rows:
        record = json.loads((study.folder / f"transfers_g{row['group_size']}" / "record.json").read_text())
        assert float(row["relative_mse"]) == record["test_loss"]
    names = {path.name for path in study.folder.iterdir()}
    pictures = {f"{stem}.{ending}" for stem in ("mse", "reconstructions") for ending in ("png", "svg", "csv")}
    runs = {"transfers_g4", "transfers_g16"}
    assert names == {*pictures, *runs, "features", "features.csv", "features.json", "study.json"}
    assert "random weights, 240 images, 6 epochs" in str(study.table())
    # the picture decodes the first test images only
    with (study.folder / "reconstructions.csv").open() as file:
        drawn = {row["reconstruction"]: float(row["mse"]) for row in csv.DictReader(file) if row["channel"] == "all"}
    for row in study.rows:
        assert drawn[f"group size {row.group_size}"] == pytest.approx(row.test, rel=0.2)


def test_an_interrupted_study_continues_to_the_same_table(study: FeatureStudy, tmp_path: Path) -> None:
    rate, calls = loop.learning_rate, 0

    def stopping(*args: Any) -> float:
        nonlocal calls
        calls += 1
        if calls == 250:
            raise KeyboardInterrupt
        return rate(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "learning_rate", stopping)
        with pytest.raises(InterruptedRunError, match="1 of 2 runs"):
            study_features(**TINY, out=tmp_path, quiet=True)
        # what was taken is not taken again
        patch.setattr("torchmg.study.source.extract_features", lambda *_: pytest.fail("it takes features"))
        patch.setattr(loop, "learning_rate", rate)
        again = study_features(**TINY, out=tmp_path, quiet=True)
    assert again.rows == study.rows
    assert (tmp_path / "features.csv").read_bytes() == (study.folder / "features.csv").read_bytes()


def test_another_study_does_not_take_the_folder(study: FeatureStudy, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"images 240 \(you asked for 50\)"):
        study_features(**{**TINY, "images": 50}, out=study.folder, quiet=True)
    with pytest.raises(ResumeError, match=r"lr 1\.0 \(you asked for 2\.0\)"):
        study_features(**TINY, lr=2.0, out=study.folder, quiet=True)
    (tmp_path / "features").mkdir()
    save_file({"train": torch.ones(1)}, tmp_path / "features" / "features.safetensors")
    with pytest.raises(UsageError, match="not written by a study"):
        study_features(**TINY, out=tmp_path, quiet=True)


def test_a_run_gives_the_weights(tmp_path: Path) -> None:
    folder = RunFolder.open(recipe("digits_resnet18_cifar"), tmp_path / "run")
    tiny = {**TINY, "model": None, "epochs": 1, "group_sizes": (4,), "images": 8, "quiet": True}
    with pytest.raises(CheckpointError, match="no weights yet"):
        study_features(folder.path, **tiny, out=tmp_path / "out")
    from torchmg.models.registry import create

    torch.manual_seed(5)
    model = create("resnet18_cifar", num_classes=10, in_channels=1)
    folder.write_weights(model)
    found = study_features(folder.path, **tiny, out=tmp_path / "out")
    made = json.loads((found.folder / "features.json").read_text())
    assert (made["network"], made["train"], made["test"]) == ("digits_resnet18_cifar", 8, 2)
    assert "random" not in found.title
    kept = load_file(found.folder / "features" / "features.safetensors")["test"].float() * made["scale"]
    data = images()
    chosen = [sum(data.test.inputs[i].flatten().tolist()) for i in range(60)]
    assert len(set(chosen)) == 60  # pictures differ, so that their features tell them apart
    prepared, _ = data.preparation()(*data.test.take(torch.arange(60), None), None)
    with torch.no_grad():
        every = model.eval().get_submodule("stem")(prepared)
    near = (every[None] - kept[:, None]).abs().amax((2, 3, 4)).amin(1)
    assert near.max() < 0.01 * every.abs().max()


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"model": None}, UsageError, ["--run", "--model"]),
        ({"run": "here"}, UsageError, ["--run", "--model"]),
        ({"model": None, "run": "nowhere"}, CheckpointError, ["not a run folder"]),
        ({"model": "resnet18_cifr"}, UnknownNameError, ["resnet18_cifar"]),
        ({"data": "digts"}, UnknownNameError, ["Did you mean digits"]),
        ({"model": "function_mgic", "data": "functions"}, UsageError, ["functions has no images"]),
        ({"layer": "stm"}, UnknownNameError, ["no layer 'stm'", "stem"]),
        ({"model": "resnet20"}, UsageError, ["'stem' has 16 channels", "resnet18_cifar"]),
        ({"layer": "head"}, UsageError, ["head"]),
        ({"group_sizes": (8, 6)}, UsageError, ["got 6", "Nearest: 4"]),
        ({"group_sizes": ()}, UsageError, ["at least one group size"]),
        ({"images": 3}, UsageError, ["at least 4", "got 3"]),
        ({"epochs": 0}, UsageError, ["epochs must be"]),
        ({"device": "gpu"}, UsageError, ["no device 'gpu'"]),
    ],
)
def test_what_is_wrong_is_named(change: dict, error: type[Exception], words: list[str], tmp_path: Path) -> None:
    with pytest.raises(error) as caught:
        study_features(**{**TINY, "out": tmp_path / "out", "quiet": True, **change})
    for word in words:
        assert word in str(caught.value)
    assert not (tmp_path / "out").exists()
