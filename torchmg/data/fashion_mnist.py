"""FashionMNIST (Xiao, Rasul and Vollgraf 2017) from its four IDX files, packed or unpacked."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from torchmg.data.files import Source, damaged, find, md5, read_bytes, warn_if_not_published
from torchmg.data.holdout import hold_out
from torchmg.data.idx import gunzip, idx_size, parse_idx
from torchmg.data.images import ImageSet, ImageSplit


@dataclass(frozen=True)
class IdxFile:
    """One array of a data set."""

    name: str
    """Its name when unpacked; packed it ends in .gz."""
    shape: tuple[int, ...]
    """(N, H, W) of images, (N,) of labels."""
    packed_md5: str
    """The published md5 of the .gz file."""
    md5: str
    """The md5 of what the published .gz file contains."""


@dataclass(frozen=True)
class IdxLayout:
    """A data set of grey images in IDX files."""

    name: str
    classes: tuple[str, ...]
    source: Source
    train: tuple[IdxFile, IdxFile]
    """Images and labels for training."""
    test: tuple[IdxFile, IdxFile]
    """Images and labels for testing."""


FASHION_MNIST = IdxLayout(
    name="fashion_mnist",
    classes=tuple("T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot".split(",")),
    source=Source(
        title="FashionMNIST",
        folder="FashionMNIST/raw",
        files="train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and "
        "t10k-labels-idx1-ubyte, each with or without .gz",
        origin="the fashion-mnist repository of Zalando Research (data/fashion)",
        torchvision_name="FashionMNIST",
    ),
    train=(
        IdxFile(
            "train-images-idx3-ubyte",
            (60_000, 28, 28),
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        ),
        IdxFile(
            "train-labels-idx1-ubyte",
            (60_000,),
            "25c81989df183df01b3e8a0aad5dffbe",
            "9018921c3c673c538a1fc5bad174d6f9",
        ),
    ),
    test=(
        IdxFile(
            "t10k-images-idx3-ubyte",
            (10_000, 28, 28),
            "bef4ecab320f06d8554ea6380940ec79",
            "8181f5470baa50b63fa0f6fddb340f0a",
        ),
        IdxFile(
            "t10k-labels-idx1-ubyte",
            (10_000,),
            "bb300cfdad3c16e7a12a480ee83cd310",
            "15d484375f8d13e6eb1aabb0c3f46965",
        ),
    ),
)


def load_idx(
    data_dir: str | Path | None = None, *, download: bool = True, layout: IdxLayout = FASHION_MNIST, holdout: int = 0
) -> ImageSet:
    """Read a data set of IDX files from `data_dir` (`./data` when None); images are (N, 1, H, W).

    A packed file is preferred to an unpacked one, because its md5 is published. With `holdout` the files for testing
    are not opened, and so many training samples stand in for them (`hold_out`).

    Raises:
        DataError: A file is absent and cannot be downloaded, or is damaged.

    Warns:
        DataWarning: Sound files that are not the published ones, byte for byte.
    """
    files = layout.train if holdout else (*layout.train, *layout.test)
    paths = find(layout.source, data_dir, [(f"{file.name}.gz", file.name) for file in files], download)
    arrays: list[NDArray[np.uint8]] = []
    others: list[str] = []
    for file, path in zip(files, paths, strict=True):
        array, genuine = _read(file, path, layout)
        arrays.append(array)
        others += [] if genuine else [path.name]
    warn_if_not_published(layout.source, paths[0].parent, others)
    train = _split(*arrays[:2])
    if holdout:
        return hold_out(layout.name, layout.classes, train, holdout)
    return ImageSet(layout.name, layout.classes, train, _split(*arrays[2:]))


def _read(file: IdxFile, path: Path, layout: IdxLayout) -> tuple[NDArray[np.uint8], bool]:
    """The array in a file, and whether the file is the published one."""
    packed, size = path.suffix == ".gz", idx_size(file.shape)
    # Data that does not shrink grows a little when packed.
    data = read_bytes(path, size + size // 100 + 4096, layout.source)
    genuine = md5(data) == (file.packed_md5 if packed else file.md5)
    try:
        array = parse_idx(gunzip(data, size) if packed else data, file.shape)
    except ValueError as error:
        raise damaged(path, str(error), layout.source) from None
    if array.ndim == 1 and array.max() >= len(layout.classes):
        raise damaged(path, f"has a label {array.max()}, outside 0..{len(layout.classes) - 1}", layout.source)
    return array, genuine


def _split(images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> ImageSplit:
    return ImageSplit(torch.from_numpy(images)[:, None], torch.from_numpy(labels).long())
