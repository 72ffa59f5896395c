"""The handwritten digits that scikit-learn carries: a real data set that needs no download."""

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray

from torchmg.data.holdout import hold_out
from torchmg.data.images import ImageSet, ImageSplit
from torchmg.errors import MissingExtraError

SPLIT_SEED = 0
TEST_SHARE = 0.2


def load_digits(*, holdout: int = 0) -> ImageSet:
    """1,797 digits (Alpaydin and Kaynak 1998), images (N, 1, 16, 16), four fifths for training.

    The originals are 8 x 8 in 17 grey levels; they are doubled so that three grids fit into a picture. The split
    is the same for everyone, always, and keeps the share of every class. The same people wrote the training and
    the test digits, which makes the test kinder than one on new handwriting. With `holdout` so many training digits
    stand in for the test digits (`hold_out`).

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        from sklearn import datasets
    except ImportError:
        raise MissingExtraError("The built-in digits", "train") from None
    pixels, labels = datasets.load_digits(return_X_y=True)
    images = torch.from_numpy(upsample(np.asarray(pixels).astype(np.int64).reshape(-1, 8, 8)))[:, None]
    targets = torch.from_numpy(np.asarray(labels).astype(np.int64))
    train, test = (torch.tensor(part) for part in stratify(targets.tolist(), SPLIT_SEED, TEST_SHARE))
    samples, names = ImageSplit(images[train], targets[train]), tuple("0123456789")
    if holdout:
        return hold_out("digits", names, samples, holdout)
    return ImageSet("digits", names, samples, ImageSplit(images[test], targets[test]))


def upsample(images: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Twice the size, bilinear, from levels 0..16 to 0..255: (N, H, W) to (N, 2H, 2W).

    A new pixel lies a quarter of the way between two old ones, so the weights are 3/4 and 1/4 on each axis and
    the arithmetic is exact in integers; beyond the border the border repeats.
    """
    sums = _double(_double(images, 1), 2)  # 16 times the level: 0..256
    return ((255 * sums + 128) // 256).astype(np.uint8)


def _double(images: NDArray[np.int64], axis: int) -> NDArray[np.int64]:
    """Four times the interpolated values, twice as many along `axis`."""
    size = images.shape[axis]
    before = images.take(np.maximum(np.arange(size) - 1, 0), axis)
    after = images.take(np.minimum(np.arange(size) + 1, size - 1), axis)
    pairs = np.stack([3 * images + before, 3 * images + after], axis + 1)
    return pairs.reshape(*images.shape[:axis], 2 * size, *images.shape[axis + 1 :])


def stratify(labels: list[int], seed: int, share: float) -> tuple[list[int], list[int]]:
    """Indices for training and for testing, ascending; of each class the rounded `share` is for testing.

    Which ones is decided by sha256 of (seed, index), so no release of a library can change the split.
    """
    test: list[int] = []
    for label in sorted(set(labels)):
        members = [index for index, other in enumerate(labels) if other == label]
        members.sort(key=lambda index: hashlib.sha256(f"{seed}:{index}".encode()).digest())
        test += members[: round(share * len(members))]
    chosen = set(test)
    return [index for index in range(len(labels)) if index not in chosen], sorted(test)
