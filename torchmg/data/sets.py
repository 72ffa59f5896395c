"""Data sets by name."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from torchmg.data.names import DATASETS
from torchmg.errors import UnknownNameError, did_you_mean

if TYPE_CHECKING:
    from torchmg.data.samples import DataSet

__all__ = ["DATASETS", "load", "loaded_once"]

_kept: "dict[tuple[str, str | Path | None], DataSet] | None" = None


def load(name: str, data_dir: str | Path | None = None, *, download: bool = True) -> "DataSet":
    """A data set, whole in memory.

    Args:
        name: One of `DATASETS`.
        data_dir: The folder that holds the files in torchvision's layout, `./data` when None; digits need none.
        download: Whether files that are absent may be downloaded into `data_dir`. Files are never overwritten.

    Raises:
        UnknownNameError: No such data set.
        DataError: A file is absent and cannot be downloaded, or is damaged.
        MissingExtraError: The digits without scikit-learn.

    Warns:
        DataWarning: Sound files that are not the published ones, byte for byte.
    """
    if name not in DATASETS:
        raise UnknownNameError(f"Unknown data set '{name}'.{did_you_mean(name, DATASETS)}")
    if _kept is None:
        return _read(name, data_dir, download)
    if (name, data_dir) not in _kept:
        _kept[name, data_dir] = _read(name, data_dir, download)
    return _kept[name, data_dir]


@contextmanager
def loaded_once() -> Iterator[None]:
    """While active, `load` gives a set that it has read before again, the same object; for many runs in one process."""
    global _kept
    before, _kept = _kept, {}
    try:
        yield
    finally:
        _kept = before


def _read(name: str, data_dir: str | Path | None, download: bool) -> "DataSet":
    module, function = _READERS[name]
    reader = getattr(import_module(f"torchmg.data.{module}"), function)
    if name in _PUBLISHED:
        return reader(data_dir, download=download)
    return reader() if name in _MADE else reader(data_dir)


_READERS = {
    "digits": ("digits", "load_digits"),
    "fashion_mnist": ("fashion_mnist", "load_idx"),
    "cifar10": ("cifar", "load_cifar10"),
    "cifar100": ("cifar", "load_cifar100"),
    "imagenet": ("imagenet", "load_imagenet"),
    "image_folder": ("imagenet", "load_imagefolder"),
    "camvid": ("camvid", "load_camvid"),
    "cityscapes": ("cityscapes", "load_cityscapes"),
    "mask_folder": ("mask_folder", "load_mask_folder"),
    "modelnet10": ("modelnet", "load_modelnet10"),
    "modelnet40": ("modelnet", "load_modelnet40"),
    "functions": ("functions", "load_functions"),
    "signed_distance": ("functions", "load_signed_distance"),
    "features": ("features", "load_features"),
}
"""Name -> module and function that reads it."""
_PUBLISHED = {"fashion_mnist", "cifar10", "cifar100"}
"""What can be downloaded."""
_MADE = {"digits", "functions", "signed_distance"}
"""What needs no files."""
