"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009) from the pickles of their Python versions."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from torchmg.data.files import Source, damaged, find, md5, read_bytes, warn_if_not_published
from torchmg.data.holdout import hold_out
from torchmg.data.images import ImageSet, ImageSplit
from torchmg.data.pickles import read_pickle
from torchmg.data.rawarray import RawArray, RefusedError


@dataclass(frozen=True)
class CifarFile:
    """One pickle of a data set."""

    name: str
    count: int
    """How many images it holds."""
    md5: str
    """The published md5; another one is a warning, not an error."""


@dataclass(frozen=True)
class CifarLayout:
    """A data set in the pickles of the CIFAR family."""

    name: str
    classes: tuple[str, ...]
    """Class names by label: known here, so the file that repeats them (batches.meta, meta) is never read."""
    source: Source
    train: tuple[CifarFile, ...]
    """In the order in which the images are numbered."""
    test: tuple[CifarFile, ...]
    shape: tuple[int, int, int] = (3, 32, 32)
    """(C, H, W) of an image; a file holds rows of C * H * W bytes."""
    label_key: str = "labels"
    """The dictionary key of the labels."""


CIFAR10 = CifarLayout(
    name="cifar10",
    classes=tuple("airplane automobile bird cat deer dog frog horse ship truck".split()),
    source=Source(
        title="CIFAR-10",
        folder="cifar-10-batches-py",
        files="data_batch_1 to data_batch_5 and test_batch",
        origin="the CIFAR-10 page of Alex Krizhevsky, University of Toronto (the Python version)",
        torchvision_name="CIFAR10",
    ),
    train=(
        CifarFile("data_batch_1", 10_000, "c99cafc152244af753f735de768cd75f"),
        CifarFile("data_batch_2", 10_000, "d4bba439e000b95fd0a9bffe97cbabec"),
        CifarFile("data_batch_3", 10_000, "54ebc095f3ab1f0389bbae665268c751"),
        CifarFile("data_batch_4", 10_000, "634d18415352ddfa80567beed471001a"),
        CifarFile("data_batch_5", 10_000, "482c414d41f54cd18b22e5b47cb7c3cb"),
    ),
    test=(CifarFile("test_batch", 10_000, "40351d587109b95175f43aff81a1287e"),),
)

CIFAR100 = CifarLayout(
    name="cifar100",
    classes=tuple(
        "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can "
        "castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin "
        "elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster "
        "man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck "
        "pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk "
        "skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger "
        "tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm".split()
    ),
    source=Source(
        title="CIFAR-100",
        folder="cifar-100-python",
        files="train and test",
        origin="the CIFAR-100 page of Alex Krizhevsky, University of Toronto (the Python version)",
        torchvision_name="CIFAR100",
    ),
    train=(CifarFile("train", 50_000, "16019d7e3df5f24257cddd939b257f8d"),),
    test=(CifarFile("test", 10_000, "f0ef6b0ae62326f3e7ffdfab6717acfc"),),
    label_key="fine_labels",
)
"""The hundred classes; the twenty coarse ones that the files hold too are not read."""


def load_cifar10(data_dir: str | Path | None = None, *, download: bool = True, holdout: int = 0) -> ImageSet:
    """CIFAR-10; as `load_cifar`."""
    return load_cifar(data_dir, download=download, layout=CIFAR10, holdout=holdout)


def load_cifar100(data_dir: str | Path | None = None, *, download: bool = True, holdout: int = 0) -> ImageSet:
    """CIFAR-100; as `load_cifar`."""
    return load_cifar(data_dir, download=download, layout=CIFAR100, holdout=holdout)


def load_cifar(
    data_dir: str | Path | None = None, *, download: bool = True, layout: CifarLayout = CIFAR10, holdout: int = 0
) -> ImageSet:
    """Read a data set of the CIFAR family from `data_dir` (`./data` when None); images are (N, 3, 32, 32).

    The pickles are read as data (see `torchmg.data.pickles`): a file made to run code is refused. With `holdout` the
    files for testing are not opened, and so many training samples stand in for them (`hold_out`).

    Raises:
        DataError: A file is absent and cannot be downloaded, is damaged, or asks for more than data.

    Warns:
        DataWarning: Sound files that are not the published ones, byte for byte.
    """
    files = layout.train if holdout else (*layout.train, *layout.test)
    paths = find(layout.source, data_dir, [(file.name,) for file in files], download)
    parts: list[tuple[NDArray[np.uint8], NDArray[np.int64]]] = []
    others: list[str] = []
    for file, path in zip(files, paths, strict=True):
        data = read_bytes(path, _largest(file, layout), layout.source)
        try:
            parts.append(parse_batch(data, file, layout))
        except RefusedError as error:
            raise damaged(path, str(error), layout.source) from None
        others += [] if md5(data) == file.md5 else [path.name]
    warn_if_not_published(layout.source, paths[0].parent, others)
    cut = len(layout.train)
    train = _join(parts[:cut], layout)
    if holdout:
        return hold_out(layout.name, layout.classes, train, holdout)
    return ImageSet(layout.name, layout.classes, train, _join(parts[cut:], layout))


def parse_batch(data: bytes, file: CifarFile, layout: CifarLayout) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Pixels (n, C * H * W) and labels (n,) of one file.

    Raises:
        RefusedError: Not a safe pickle, or not of the structure that `layout` describes.
    """
    # An image takes seven instructions at most (number, label, file name and their places in the memo).
    batch = read_pickle(data, limit=20 * file.count + 1000)
    if not isinstance(batch, dict):
        raise RefusedError(f"holds a {type(batch).__name__}, not a dictionary")
    batch = {key if isinstance(key, str) else key.decode("latin-1"): value for key, value in batch.items()}
    if absent := [key for key in ("data", layout.label_key) if key not in batch]:
        raise RefusedError(f"has no entry {' and no entry '.join(map(repr, absent))}")
    return _pixels(batch["data"], file, layout), _labels(batch[layout.label_key], file, layout)


def _pixels(value: Any, file: CifarFile, layout: CifarLayout) -> NDArray[np.uint8]:
    if not isinstance(value, RawArray):
        raise RefusedError(f"has a {type(value).__name__} as 'data', not an array")
    pixels, shape = value.numpy(), (file.count, int(np.prod(layout.shape)))
    if pixels.dtype != np.uint8 or pixels.shape != shape:
        raise RefusedError(f"has 'data' of type {pixels.dtype} and shape {pixels.shape}, not uint8 {shape}")
    return pixels


def _labels(value: Any, file: CifarFile, layout: CifarLayout) -> NDArray[np.int64]:
    labels = value.numpy().tolist() if isinstance(value, RawArray) else value
    if not isinstance(labels, list) or len(labels) != file.count:
        raise RefusedError(f"does not have {file.count:,} {layout.label_key}")
    for label in labels:
        if type(label) is not int or not 0 <= label < len(layout.classes):
            found = str(label)[:20] if type(label) is int else f"of type {type(label).__name__}"
            raise RefusedError(f"has a label {found}, outside 0..{len(layout.classes) - 1}")
    return np.array(labels, np.int64)


def _largest(file: CifarFile, layout: CifarLayout) -> int:
    # Python 3 writes old protocols with two bytes for a value above 127; names and labels take little.
    return file.count * (2 * int(np.prod(layout.shape)) + 1000) + 65_536


def _join(parts: list[tuple[NDArray[np.uint8], NDArray[np.int64]]], layout: CifarLayout) -> ImageSplit:
    pixels = np.concatenate([pixels for pixels, _ in parts]).reshape(-1, *layout.shape)
    labels = np.concatenate([labels for _, labels in parts])
    return ImageSplit(torch.from_numpy(pixels), torch.from_numpy(labels))
