"""STL-10 (Coates, Lee and Ng 2011), its labelled pictures, from the four binary files that hold them."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from torchmg.data.files import Source, damaged, find, md5, read_bytes, warn_if_not_published
from torchmg.data.holdout import hold_out
from torchmg.data.images import ImageSet, ImageSplit


@dataclass(frozen=True)
class StlFile:
    """One array of a data set: uint8 values without a header."""

    name: str
    shape: tuple[int, ...]
    """(N, C, W, H) of pictures, which lie column by column; (N,) of labels."""
    md5: str
    """The published md5; another one is a warning, not an error."""

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class StlLayout:
    """A data set in the files of STL-10."""

    name: str
    classes: tuple[str, ...]
    """Class names in the order of the labels 1, 2, ...: known here, so class_names.txt is never read."""
    source: Source
    train: tuple[StlFile, StlFile]
    """Pictures and labels for training."""
    test: tuple[StlFile, StlFile]
    """Pictures and labels for testing."""


STL10 = StlLayout(
    name="stl10",
    classes=tuple("airplane bird car cat deer dog horse monkey ship truck".split()),
    source=Source(
        title="STL-10",
        folder="stl10_binary",
        files="train_X.bin, train_y.bin, test_X.bin and test_y.bin",
        origin="the STL-10 page of Adam Coates, Stanford University (stl10_binary.tar.gz)",
        torchvision_name="STL10",
    ),
    train=(
        StlFile("train_X.bin", (5_000, 3, 96, 96), "918c2871b30a85fa023e0c44e0bee87f"),
        StlFile("train_y.bin", (5_000,), "5a34089d4802c674881badbb80307741"),
    ),
    test=(
        StlFile("test_X.bin", (8_000, 3, 96, 96), "7f263ba9f9e0b06b93213547f721ac82"),
        StlFile("test_y.bin", (8_000,), "36f9794fa4beb8a2c72628de14fa638e"),
    ),
)
"""The 5,000 pictures to train on and the 8,000 to test on; neither the 100,000 unlabelled ones nor the ten folds."""


def load_stl10(
    data_dir: str | Path | None = None, *, download: bool = True, layout: StlLayout = STL10, holdout: int = 0
) -> ImageSet:
    """Read STL-10 from `data_dir` (`./data` when None); images are (N, 3, 96, 96), labels 0..9.

    The files count classes from 1 and hold pictures column by column, as MATLAB does: both are undone here. The public
    has them in one archive together with the unlabelled pictures, so a download takes 2.6 GB, needs 6 GB of disk while
    it is unpacked and leaves 360 MB. With `holdout` the files for testing are not opened, and so many training samples
    stand in for them (`hold_out`).

    Raises:
        DataError: A file is absent and cannot be downloaded, or is damaged.

    Warns:
        DataWarning: Sound files that are not the published ones, byte for byte.
    """
    files = layout.train if holdout else (*layout.train, *layout.test)
    paths = find(layout.source, data_dir, [(file.name,) for file in files], download)
    arrays: list[Tensor] = []
    others: list[str] = []
    for file, path in zip(files, paths, strict=True):
        data = read_bytes(path, file.size, layout.source)
        try:
            arrays.append(torch.from_numpy(parse_array(data, file, len(layout.classes))))
        except ValueError as error:
            raise damaged(path, str(error), layout.source) from None
        others += [] if md5(data) == file.md5 else [path.name]
    warn_if_not_published(layout.source, paths[0].parent, others)
    train = ImageSplit(*arrays[:2])
    if holdout:
        return hold_out(layout.name, layout.classes, train, holdout)
    return ImageSet(layout.name, layout.classes, train, ImageSplit(*arrays[2:]))


def parse_array(data: bytes, file: StlFile, classes: int) -> NDArray[np.uint8] | NDArray[np.int64]:
    """Pictures uint8 (N, C, H, W), or labels int64 (N,) counted from 0, in the bytes of a file.

    Args:
        data: all bytes of the file.
        file: what it should hold.
        classes: labels in the file are 1..classes.

    Raises:
        ValueError: Too few or too many bytes, or a label that is none; the text continues "file ...".
    """
    if len(data) < file.size:
        raise ValueError(f"is cut off: {len(data):,} of {file.size:,} bytes")
    if len(data) > file.size:
        raise ValueError(f"goes on behind its {file.size:,} bytes")
    values = np.frombuffer(data, np.uint8).reshape(file.shape)
    if values.ndim > 1:
        return np.ascontiguousarray(values.swapaxes(-1, -2))
    if (wrong := values[(values < 1) | (values > classes)]).size:
        raise ValueError(f"has a label {wrong[0]}, outside 1..{classes}")
    return values.astype(np.int64) - 1
