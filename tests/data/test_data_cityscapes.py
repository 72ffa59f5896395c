"""Cityscapes in its official layout, small."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from torchmg.data.cityscapes import TRAIN_IDS, load_cityscapes
from torchmg.data.segmentation import LazyPairSplit, SegmentationSet
from torchmg.errors import DataError, DataWarning

CITIES = {"train": {"aachen": 3, "zurich": 2}, "val": {"munster": 2}}
NAMES = "road sidewalk building wall fence pole light sign vegetation terrain sky person rider car truck bus train"


def pixels(i: int) -> np.ndarray:
    return np.random.default_rng(i).integers(0, 256, (8, 16, 3), dtype=np.uint8)


def labels(i: int) -> np.ndarray:
    ids = np.random.default_rng(i).permutation(128).astype(np.uint8).reshape(8, 16)
    return ids % 34


@pytest.fixture
def root(tmp_path: Path) -> Path:
    number = 0
    for split, cities in CITIES.items():
        for city, count in cities.items():
            here, there = (tmp_path / "cityscapes" / part / split / city for part in ("leftImg8bit", "gtFine"))
            here.mkdir(parents=True)
            there.mkdir(parents=True)
            for _ in range(count):
                stem = f"{city}_{number:06}_000019"
                Image.fromarray(pixels(number)).save(here / f"{stem}_leftImg8bit.png")
                Image.fromarray(labels(number)).save(there / f"{stem}_gtFine_labelIds.png")
                # The archive has these as well.
                Image.new("RGBA", (16, 8)).save(there / f"{stem}_gtFine_color.png")
                (there / f"{stem}_gtFine_polygons.json").write_text("{}")
                number += 1
    return tmp_path


def load(root: Path) -> SegmentationSet:
    with pytest.warns(DataWarning, match="of 2975 in train and 2 of 500 in val"):
        return load_cityscapes(root)


def test_the_labels_of_the_benchmark() -> None:
    assert len(TRAIN_IDS) == 19
    assert list(TRAIN_IDS) == sorted(TRAIN_IDS)
    # Those that the benchmark ignores: 0..6 and ground, parking, rail track, guard rail, bridge, ... by number.
    assert set(range(34)) - set(TRAIN_IDS) == {*range(7), 9, 10, 14, 15, 16, 18, 29, 30}
    for word, name in zip(NAMES.split(), TRAIN_IDS.values(), strict=False):
        assert name.endswith(word)


def test_reads_what_was_written(root: Path) -> None:
    data = load(root)
    assert (data.name, data.num_classes, data.shape) == ("cityscapes", 19, (3, 8, 16))
    assert (len(data.train), len(data.test)) == (5, 2)
    for split, chosen, first in ((data.train, [4, 0, 3], 0), (data.test, [1], 5)):
        inputs, targets = split.take(torch.tensor(chosen), None)
        assert (inputs.dtype, targets.dtype) == (torch.uint8, torch.uint8)
        order = list(TRAIN_IDS)
        for i, sample in enumerate(chosen):
            assert np.array_equal(inputs[i].permute(1, 2, 0).numpy(), pixels(first + sample))
            wanted = [order.index(label) if label in order else 255 for label in labels(first + sample).flatten()]
            assert targets[i].flatten().tolist() == wanted
    everything = np.stack([pixels(i) for i in range(5)]) / 255
    np.testing.assert_allclose(data.mean, everything.mean((0, 1, 2)))
    np.testing.assert_allclose(data.std, everything.std((0, 1, 2)))


def test_the_hash_is_of_names_and_sizes(root: Path) -> None:
    before = load(root).hashes()
    assert list(before) == ["train_files", "test_files"]
    assert load(root).hashes() == before
    moved = root / "elsewhere"
    moved.mkdir()
    (root / "cityscapes").rename(moved / "cityscapes")
    assert load(moved).hashes() == before
    path = next((moved / "cityscapes" / "gtFine" / "val" / "munster").glob("*labelIds.png"))
    path.write_bytes(path.read_bytes() + b" ")
    after = load(moved).hashes()
    assert after["train_files"] == before["train_files"]
    assert after["test_files"] != before["test_files"]


def test_another_process_can_have_the_splits(root: Path) -> None:
    split = load(root).train
    copy = pickle.loads(pickle.dumps(split))
    assert isinstance(copy, LazyPairSplit)
    assert torch.equal(copy.take(torch.tensor([1]))[1], split.take(torch.tensor([1]))[1])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: (c / "gtFine/train/aachen/aachen_000001_000019_gtFine_labelIds.png").unlink(), "aachen_000001"),
        (lambda c: (c / "leftImg8bit/val/munster/munster_000006_000019_leftImg8bit.png").unlink(), "munster_000006"),
        (lambda c: shutil.rmtree(c / "gtFine/train/zurich"), "gtFine/train/zurich. Unpack"),
        (lambda c: shutil.rmtree(c / "leftImg8bit/train/zurich"), "leftImg8bit/train/zurich. Unpack"),
        (lambda c: shutil.rmtree(c / "gtFine/val"), "gtFine/val cannot be read"),
        (
            lambda c: shutil.rmtree(c / "gtFine/val/munster") or shutil.rmtree(c / "leftImg8bit/val/munster"),
            "no folder",
        ),
        (lambda c: shutil.rmtree(c), "leftImg8bit_trainvaltest.zip.*--data-dir"),
    ],
)
def test_missing_parts_are_named(root: Path, change, words: str) -> None:
    change(root / "cityscapes")
    with pytest.raises(DataError, match=words):
        load_cityscapes(root)


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK"])
def test_pictures_of_any_colour_mode(root: Path, mode: str) -> None:
    path = root / "cityscapes/leftImg8bit/train/aachen/aachen_000001_000019_leftImg8bit.png"
    Image.fromarray(pixels(1)).convert(mode).save(path.with_suffix(".tif" if mode == "CMYK" else ".png"))
    if mode == "CMYK":
        path.unlink()
    got = load(root).train.take(torch.tensor([1]))[0][0].permute(1, 2, 0).numpy()
    plain = np.array(Image.fromarray(pixels(1)).convert(mode).convert("RGB"))
    assert np.array_equal(got, plain)


def test_damaged_files_are_named_when_they_are_asked_for(root: Path) -> None:
    city = root / "cityscapes" / "{}" / "train" / "aachen"
    picture = Path(str(city).format("leftImg8bit")) / "aachen_000001_000019_leftImg8bit.png"
    mask = Path(str(city).format("gtFine")) / "aachen_000001_000019_gtFine_labelIds.png"
    whole = picture.read_bytes(), mask.read_bytes()

    def refusal(chosen: int = 1) -> str:
        split = load(root).train
        split.take(torch.tensor([0, 2]))
        with pytest.raises(DataError) as raised:
            split.take(torch.tensor([chosen]))
        return str(raised.value)

    picture.write_bytes(whole[0][: len(whole[0]) // 2])
    assert f"{picture} cannot be decoded" in refusal()
    # A JPEG by the name of a PNG, as some copies have it, is read by what it holds.
    Image.fromarray(pixels(9).repeat(20, 0).repeat(20, 1)).save(picture, format="jpeg")
    jpeg = picture.read_bytes()
    picture.write_bytes(jpeg[: len(jpeg) // 2])
    assert f"{picture} cannot be decoded" in refusal()
    Image.fromarray(pixels(1)[:, :8]).save(picture)
    assert f"{picture} is 8 x 8 (height x width), its mask {mask} is 8 x 16" in refusal()
    Image.fromarray(labels(1)[:, :8]).save(mask)
    assert f"{picture} is 8 x 8" in refusal()
    picture.write_bytes(whole[0])
    wrong = labels(1)
    wrong[0, :3], wrong[1, 0] = 40, 200
    Image.fromarray(wrong).save(mask)
    assert f"{mask} has the unknown labels 40 (3 pixels), 200 (1 pixels); known are 0..33, 255." in refusal()
    mask.write_bytes(whole[1][:40])
    assert str(mask) in refusal()


def test_one_size_for_both_splits(root: Path) -> None:
    for path in (root / "cityscapes").glob("*/val/*/*.png"):
        Image.open(path).crop((0, 0, 8, 8)).save(path)
    with pytest.raises(DataError, match=r"000000.* is 8 x 16 .*, .*000005.* is 8 x 8; training and test"):
        load_cityscapes(root)
