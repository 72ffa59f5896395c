"""Data sets by name."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from torchmg.data.names import DATASETS, check_pictures
from torchmg.errors import UnknownNameError, did_you_mean

if TYPE_CHECKING:
    from torchmg.data.samples import DataSet

__all__ = ["DATASETS", "load", "loaded_once"]

_kept: "dict[tuple[object, ...], DataSet] | None" = None


def load(
    name: str,
    data_dir: str | Path | None = None,
    *,
    download: bool = True,
    side: int = 224,
    damaged: Literal["raise", "skip"] = "raise",
    holdout: int = 0,
) -> "DataSet":
    """A data set, whole in memory.

    Args:
        name: One of `DATASETS`.
        data_dir: The folder that holds the files in torchvision's layout, `./data` when None; digits need none.
        download: Whether files that are absent may be downloaded into `data_dir`. Files are never overwritten.
        side: Of picture folders, the side of the squares that pictures are brought to.
        damaged: Of picture folders, what becomes of a picture that cannot be decoded: an error that names it, or a
            warning, and the next one in its place.
        holdout: Of labelled pictures in memory, how many training samples take the place of the test samples
            (`torchmg.data.holdout`); files with test samples are then not opened.

    Raises:
        UnknownNameError: No such data set.
        UsageError: Samples held out of a set that is not of labelled pictures in memory, or too many.
        DataError: A file is absent and cannot be downloaded, or is damaged.
        MissingExtraError: The digits without scikit-learn.

    Warns:
        DataWarning: Sound files that are not the published ones, byte for byte.
    """
    if name not in DATASETS:
        raise UnknownNameError(f"Unknown data set '{name}'.{did_you_mean(name, DATASETS)}")
    if holdout:
        check_pictures("holdout", name)
    key = (name, data_dir, side, damaged, holdout)
    if _kept is None:
        return _read(*key, download)
    if key not in _kept:
        _kept[key] = _read(*key, download)
    return _kept[key]


@contextmanager
def loaded_once() -> Iterator[None]:
    """While active, `load` gives a set that it has read before again, the same object; for many runs in one process."""
    global _kept
    before, _kept = _kept, {}
    try:
        yield
    finally:
        _kept = before


def _read(name: str, data_dir: str | Path | None, side: int, damaged: str, holdout: int, download: bool) -> "DataSet":
    module, function = _READERS[name]
    reader = getattr(import_module(f"torchmg.data.{module}"), function)
    if name in _PUBLISHED:
        return reader(data_dir, download=download, holdout=holdout)
    if name in _FOLDERS:
        return reader(data_dir, side=side, damaged=damaged)
    if name == "digits":
        return reader(holdout=holdout)
    return reader() if name in _MADE else reader(data_dir)


_READERS = {
    "digits": ("digits", "load_digits"),
    "fashion_mnist": ("fashion_mnist", "load_idx"),
    "cifar10": ("cifar", "load_cifar10"),
    "cifar100": ("cifar", "load_cifar100"),
    "stl10": ("stl10", "load_stl10"),
    "imagenet": ("imagenet", "load_imagenet"),
    "image_folder": ("imagenet", "load_imagefolder"),
    "camvid": ("camvid", "load_camvid"),
    "cityscapes": ("cityscapes", "load_cityscapes"),
    "mask_folder": ("mask_folder", "load_mask_folder"),
    "qtips": ("qtips", "load_qtips"),
    "modelnet10": ("modelnet", "load_modelnet10"),
    "modelnet40": ("modelnet", "load_modelnet40"),
    "functions": ("functions", "load_functions"),
    "signed_distance": ("functions", "load_signed_distance"),
    "features": ("features", "load_features"),
}
"""Name -> module and function that reads it."""
_PUBLISHED = {"fashion_mnist", "cifar10", "cifar100", "stl10"}
"""What can be downloaded."""
_FOLDERS = {"imagenet", "image_folder"}
"""Pictures of any size, decoded when they are needed."""
_MADE = {"digits", "qtips", "functions", "signed_distance"}
"""What needs no files."""
