"""STL-10 in small files of the true format, against pictures that are known pixel by pixel."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from torchmg.data import AUGMENTATIONS, Batches
from torchmg.data.files import md5
from torchmg.data.images import ImageSet
from torchmg.data.sets import load
from torchmg.data.stl10 import STL10, StlLayout, load_stl10
from torchmg.doctor.datasets import data_sets
from torchmg.errors import DataError, DataWarning

COUNTS = {"train": 5, "test": 3}
Tiny = tuple[Path, StlLayout]


def pictures(which: str) -> np.ndarray:
    """(N, 96, 96, 3): rows, columns, channels."""
    return np.random.default_rng(len(which)).integers(0, 256, (COUNTS[which], 96, 96, 3), dtype=np.uint8)


def labels(which: str) -> list[int]:
    return [1, 10, 3, 4, 7][: COUNTS[which]]


def column_by_column(which: str) -> bytes:
    """The bytes of the pictures, written one by one as the data set's page says: red, green, blue; down, then right."""
    out = bytearray()
    for picture in pictures(which):
        for channel in range(3):
            for column in range(96):
                out += bytes(picture[row, column, channel] for row in range(96))
    return bytes(out)


@pytest.fixture
def tiny(tmp_path: Path) -> Tiny:
    """An STL-10 of eight pictures, and the description for which it is the published one."""
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    files = []
    for file in (*STL10.train, *STL10.test):
        which = file.name.partition("_")[0]
        data = column_by_column(which) if "_X" in file.name else bytes(labels(which))
        (folder / file.name).write_bytes(data)
        files.append(replace(file, shape=(COUNTS[which], *file.shape[1:]), md5=md5(data)))
    return folder, replace(STL10, train=tuple(files[:2]), test=tuple(files[2:]))


def read(tiny: Tiny) -> ImageSet:
    return load_stl10(tiny[0].parent, download=False, layout=tiny[1])


def test_pictures_stand_upright_and_labels_count_from_0(tiny: Tiny) -> None:
    data = read(tiny)
    assert (data.name, data.task, data.shape, data.num_classes) == ("stl10", "classify", (3, 96, 96), 10)
    for which, split in (("train", data.train), ("test", data.test)):
        assert torch.equal(split.images, torch.from_numpy(pictures(which)).permute(0, 3, 1, 2))
        assert split.images.is_contiguous()
        assert split.labels.tolist() == [label - 1 for label in labels(which)]
    assert [data.classes[label] for label in data.train.labels[:2]] == ["airplane", "truck"]
    assert list(data.classes) == sorted(data.classes)


@pytest.mark.parametrize("augment", AUGMENTATIONS)
def test_every_augmentation_takes_pictures_of_this_size(tiny: Tiny, augment: str) -> None:
    data = read(tiny)
    batches = Batches(data.train, data.preparation(augment), batch_size=5)
    images, targets, indices = next(batches.epoch(0))
    assert images.shape == (5, 3, 96, 96)
    assert images.isfinite().all()
    assert torch.equal(targets, data.train.labels[indices])
    if augment == "crop":  # by up to an eighth of the side
        table = data.preparation(augment).table(0, 0, 1000)
        assert table is not None
        assert table[:, :2].max() == 2 * 12


def test_torchvision_reads_the_same(tiny: Tiny) -> None:
    datasets = pytest.importorskip("torchvision.datasets")
    data, folder = read(tiny), tiny[0]

    class Unchecked(datasets.STL10):
        def _check_integrity(self) -> bool:
            return True

    (folder / "class_names.txt").write_text("".join(f"{name}\n" for name in data.classes))
    for split, ours in (("train", data.train), ("test", data.test)):
        theirs = Unchecked(folder.parent, split=split)
        assert torch.equal(torch.from_numpy(np.ascontiguousarray(theirs.data)), ours.images)
        assert theirs.labels.tolist() == ours.labels.tolist()
        assert tuple(theirs.classes) == data.classes
    published = dict([*datasets.STL10.train_list, *datasets.STL10.test_list])
    for file in (*STL10.train, *STL10.test):
        assert file.md5 == published[file.name]
    assert STL10.source.folder == datasets.STL10.base_folder


DAMAGE: dict[str, tuple[str, Callable[[bytes], bytes], str]] = {
    "empty": ("train_X.bin", lambda data: b"", r"train_X.bin is cut off: 0 of 138,240 bytes"),
    "cut": ("test_X.bin", lambda data: data[:-1], r"test_X.bin is cut off: 82,943 of 82,944 bytes"),
    "long": ("train_X.bin", lambda data: data + b"x", r"has 138,241 bytes, more than the 138,240 it can have"),
    "fewer labels": ("train_y.bin", lambda data: data[:4], r"train_y.bin is cut off: 4 of 5 bytes"),
    "label 0": ("test_y.bin", lambda data: b"\1\0\1", r"test_y.bin has a label 0, outside 1\.\.10"),
    "label 11": ("train_y.bin", lambda data: b"\1\2\3\4\13", r"train_y.bin has a label 11, outside 1\.\.10"),
    "a picture as labels": ("train_y.bin", lambda data: bytes([255] * 5), r"has a label 255"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage(tiny: Tiny, damage: str) -> None:
    name, change, words = DAMAGE[damage]
    path = tiny[0] / name
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DataError, match=words) as caught:
        read(tiny)
    assert str(path) in str(caught.value)
    assert "the STL-10 page of Adam Coates" in str(caught.value)


def test_other_bytes_are_a_single_warning(tiny: Tiny) -> None:
    for name in ("train_X.bin", "test_X.bin"):
        path = tiny[0] / name
        path.write_bytes(path.read_bytes()[::-1])
    with pytest.warns(DataWarning, match=r"STL-10 in .* as published \(md5\): train_X.bin, test_X.bin\.$") as record:
        read(tiny)
    assert len(record) == 1


def test_what_is_missing_is_named_and_nothing_is_written(tiny: Tiny) -> None:
    folder = tiny[0]
    before = sorted((path.name, path.stat().st_mtime_ns) for path in folder.iterdir())
    with warnings.catch_warnings(action="error"):
        read(tiny)
    assert sorted((path.name, path.stat().st_mtime_ns) for path in folder.iterdir()) == before
    (folder / "test_y.bin").unlink()
    with pytest.raises(DataError, match=r"lacks test_y.bin \(3 of 4 files are there\).*--data-dir"):
        read(tiny)
    with pytest.raises(DataError, match=r"lacks train_X.bin, train_y.bin, test_X.bin, test_y.bin, and downloading was"):
        load("stl10", folder, download=False)
    (folder / "test_y.bin").mkdir()
    with pytest.raises(DataError, match=r"test_y.bin is a folder"):
        read(tiny)


def test_the_doctor_knows_the_files_by_their_sizes(tmp_path: Path) -> None:
    def found() -> tuple[str, str]:
        return next((each.status, each.found) for each in data_sets(tmp_path) if each.what == "stl10")

    folder = tmp_path / "stl10_binary"
    assert found() == ("absent", f"no files in {folder}")
    folder.mkdir()
    sizes = {"train_X.bin": 138_240_000, "train_y.bin": 5_000, "test_X.bin": 221_184_000, "test_y.bin": 8_000}
    for name, size in sizes.items():
        with (folder / name).open("wb") as file:
            file.truncate(size)
    assert found() == ("ok", f"4 files in {folder}")
    (folder / "test_X.bin").write_bytes(b"short")
    (folder / "train_y.bin").unlink()
    assert found() == ("warning", f"{folder} lacks train_y.bin; cut short: test_X.bin")
