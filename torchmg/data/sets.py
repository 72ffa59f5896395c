"""Data sets by name."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from torchmg.data.names import DATASETS
from torchmg.errors import UnknownNameError, did_you_mean

if TYPE_CHECKING:
    from torchmg.data.images import ImageSet

__all__ = ["DATASETS", "load", "loaded_once"]

_kept: "dict[tuple[str, str | Path | None], ImageSet] | None" = None


def load(name: str, data_dir: str | Path | None = None, *, download: bool = True) -> "ImageSet":
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


def _read(name: str, data_dir: str | Path | None, download: bool) -> "ImageSet":
    if name == "digits":
        from torchmg.data.digits import load_digits

        return load_digits()
    if name == "fashion_mnist":
        from torchmg.data.fashion_mnist import load_idx

        return load_idx(data_dir, download=download)
    from torchmg.data.cifar import CIFAR10, CIFAR100, load_cifar

    return load_cifar(data_dir, download=download, layout=CIFAR100 if name == "cifar100" else CIFAR10)
