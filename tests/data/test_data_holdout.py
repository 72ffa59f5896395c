"""Training samples that are held out: which, how many of each class, and that the test files stay closed."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torchmg.data import ImageSplit, load
from torchmg.data.cifar import CIFAR10, load_cifar
from torchmg.data.digits import load_digits
from torchmg.data.fashion_mnist import FASHION_MNIST, load_idx
from torchmg.data.fewer import FewerToTrain
from torchmg.data.holdout import HoldoutSet, held_out_places, hold_out
from torchmg.data.stl10 import STL10, load_stl10
from torchmg.errors import DataError, UsageError


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=3, max_size=80), st.data())
def test_classes_are_held_out_by_their_share_and_the_number_is_exact(labels: list[int], data: st.DataObject) -> None:
    count = data.draw(st.integers(1, len(labels) - 2))
    places = held_out_places(torch.tensor(labels), count).tolist()
    assert len(places) == count == len(set(places))
    assert places == sorted(places)
    found, whole = Counter(labels[place] for place in places), Counter(labels)
    for label, size in whole.items():
        assert abs(found[label] - count * size / len(labels)) < 1


def test_the_two_parts_are_disjoint_and_together_the_training_set() -> None:
    ids = torch.arange(200)
    images = torch.stack([ids // 256, ids % 256], 1)[:, :, None, None].expand(200, 2, 3, 3).to(torch.uint8)
    labels = ids % 10
    cut = hold_out("some", tuple("0123456789"), ImageSplit(images.contiguous(), labels), 50)
    names = [part.images[:, 1, 0, 0].tolist() for part in (cut.train, cut.test)]
    assert [len(part) for part in names] == [150, 50]
    assert sorted(names[0] + names[1]) == ids.tolist()
    assert all(torch.equal(part.labels, part.images[:, 1, 0, 0].long() % 10) for part in (cut.train, cut.test))
    assert cut.test.labels.bincount().tolist() == [5] * 10
    assert set(cut.hashes()) == {"train_pixels", "train_labels", "holdout_pixels", "holdout_labels"}
    kept = cut.train.images.double() / 255
    assert cut.mean == pytest.approx(kept.mean((0, 2, 3)).tolist()), "held-out samples do not normalise"
    assert FewerToTrain(cut, 20).hashes()["holdout_pixels"] == cut.hashes()["holdout_pixels"]


@pytest.mark.parametrize("count", [-1, 0, 9, 10])
def test_too_many_or_none(count: int) -> None:
    samples = ImageSplit(torch.zeros(10, 1, 2, 2, dtype=torch.uint8), torch.zeros(10, dtype=torch.int64))
    with pytest.raises(UsageError, match="has 10 training samples, of which 1 to 8"):
        hold_out("some", ("a",), samples, count)


def test_digits_are_held_out_of_the_training_digits() -> None:
    pytest.importorskip("sklearn")
    whole, cut = load_digits(), load("digits", holdout=100)
    assert isinstance(cut, HoldoutSet)
    assert (len(cut.train), len(cut.test)) == (len(whole.train) - 100, 100)
    known = Counter(image.numpy().tobytes() for image in whole.train.images)
    assert Counter(image.numpy().tobytes() for part in (cut.train, cut.test) for image in part.images) == known


def test_files_with_test_samples_are_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The readers are asked for files by name; only those for training are looked for."""
    asked: list[str] = []

    def find(source: object, data_dir: object, wanted: list[tuple[str, ...]], download: bool) -> list[Path]:
        asked.extend(name for names in wanted for name in names)
        raise DataError("far enough")

    readers = {"fashion_mnist": load_idx, "cifar": load_cifar, "stl10": load_stl10}
    for module, reader in readers.items():
        monkeypatch.setattr(f"torchmg.data.{module}.find", find)
        for holdout in (5, 0):
            asked.clear()
            with pytest.raises(DataError, match="far enough"):
                reader(tmp_path, download=False, holdout=holdout)
            tests = [name for name in asked if name.startswith(("t10k", "test"))]
            assert bool(tests) == (not holdout)
            assert any(name.startswith(("train", "data_batch")) for name in asked)


def test_fashion_mnist_can_be_held_out_where_the_test_files_are_missing(tmp_path: Path) -> None:
    folder = tmp_path / FASHION_MNIST.source.folder
    folder.mkdir(parents=True)
    images = np.random.default_rng(0).integers(0, 256, (60_000, 28, 28), np.uint8)
    labels = (np.arange(60_000) % 10).astype(np.uint8)
    for file, values in zip(FASHION_MNIST.train, (images, labels), strict=True):
        head = b"\0\0\x08" + bytes([values.ndim]) + b"".join(n.to_bytes(4, "big") for n in values.shape)
        (folder / file.name).write_bytes(head + values.tobytes())
    with pytest.warns(UserWarning, match="FashionMNIST"):
        cut = load("fashion_mnist", tmp_path, download=False, holdout=5000)
    assert (len(cut.train), len(cut.test)) == (55_000, 5000)
    assert isinstance(cut, HoldoutSet)
    assert cut.test.labels.bincount().tolist() == [500] * 10
    with pytest.raises(DataError, match="t10k"):
        load("fashion_mnist", tmp_path, download=False)


@pytest.mark.parametrize("name", ["imagenet", "modelnet10", "functions"])
def test_other_sets_cannot(name: str) -> None:
    with pytest.raises(UsageError, match=rf"labelled pictures in memory \(digits, .*stl10\), not for {name}"):
        load(name, holdout=5)


def test_layouts_are_those_of_the_readers() -> None:
    assert {layout.name for layout in (CIFAR10, STL10, FASHION_MNIST)} == {"cifar10", "stl10", "fashion_mnist"}
