import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torchmg.data import ImageSet, ImageSplit
from torchmg.errors import ShapeError, UsageError


def split(n=4, shape=(3, 5, 6), classes=3, seed=0):
    rng = np.random.default_rng(seed)
    images = torch.from_numpy(rng.integers(0, 256, (n, *shape), dtype=np.uint8))
    return ImageSplit(images, torch.arange(n) % classes)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((8, 32, 32, 3), r"got \(8, 32, 32, 3\). This looks channels-last; permute to \(0, 3, 1, 2\)\."),
        ((8, 28, 28, 1), "channels-last"),
        ((8, 28, 28), "insert the channel axis"),
        ((8, 3072), r"Expected images \(batch, channels, H, W\); got \(8, 3072\)\."),
        ((0, 3, 32, 32), "at least one pixel"),
        ((8, 3, 0, 32), "at least one pixel"),
    ],
)
def test_wrong_image_shapes(shape, words):
    with pytest.raises(ShapeError, match=words):
        ImageSplit(torch.zeros(shape, dtype=torch.uint8), torch.zeros(shape[0], dtype=torch.int64))


@pytest.mark.parametrize("shape", [(2, 3, 8, 3), (2, 16, 4, 4), (2, 1, 1, 1)])
def test_odd_but_right_shapes(shape):
    assert len(ImageSplit(torch.zeros(shape, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64))) == 2


@pytest.mark.parametrize(
    ("images", "labels", "error", "words"),
    [
        (torch.zeros(2, 3, 8, 8), torch.zeros(2, dtype=torch.int64), UsageError, "uint8 images"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.zeros(2), UsageError, "int64 labels"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64), ShapeError, r"labels \(2,\)"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.tensor([0, -1]), UsageError, "-1"),
    ],
)
def test_wrong_splits(images, labels, error, words):
    with pytest.raises(error, match=words):
        ImageSplit(images, labels)


def test_wrong_sets():
    with pytest.raises(ShapeError, match="must agree"):
        ImageSet("mine", ("a", "b", "c"), split(), split(shape=(3, 6, 6)))
    with pytest.raises(UsageError, match="Label 2 has no name: there are 2 classes"):
        ImageSet("mine", ("a", "b"), split(), split())


def test_hashes_are_of_the_documented_bytes():
    data = ImageSet("mine", ("a", "b", "c"), split(), split(seed=1))
    pixels = hashlib.sha256(data.train.images.numpy().tobytes()).hexdigest()
    labels = hashlib.sha256(bytes([0] * 8 + [1] + [0] * 7 + [2] + [0] * 7 + [0] * 8)).hexdigest()
    assert data.hashes()["train_pixels"] == pixels
    assert data.hashes()["train_labels"] == data.hashes()["test_labels"] == labels
    assert data.hashes()["test_pixels"] != pixels


def test_hash_ignores_memory_format():
    one = split()
    two = ImageSplit(one.images.contiguous(memory_format=torch.channels_last), one.labels)
    assert one.pixel_hash() == two.pixel_hash()


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 9), st.integers(1, 4), st.integers(1, 7), st.integers(0, 99))
def test_mean_and_std_equal_numpy(n, channels, size, seed):
    one = split(n, (channels, size, size), seed=seed)
    data = ImageSet("mine", ("a", "b", "c"), one, one)
    values = one.images.numpy().astype(np.float64) / 255
    np.testing.assert_allclose(data.mean, values.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(data.std, values.std((0, 2, 3)), rtol=1e-9, atol=1e-12)
    assert data.shape == (channels, size, size)
    assert data.num_classes == 3
