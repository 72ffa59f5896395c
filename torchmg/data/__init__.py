"""Data sets and their batches, as pure functions of (seed, epoch).

The names below load on first use: `import torchmg.data.names` must not import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from torchmg.data.names import AUGMENTATIONS, DATASETS

if TYPE_CHECKING:
    from torchmg.data.arrays import ArraySet, ArraySplit
    from torchmg.data.batches import Batch, Batches, Plan
    from torchmg.data.clouds import CloudSet, CloudSplit
    from torchmg.data.folder_images import FolderImages, FolderSplit
    from torchmg.data.images import ImageSet, ImageSplit
    from torchmg.data.segmentation import LazyPairSplit, PairSplit, SegmentationSet
    from torchmg.data.sets import load

__all__ = [
    "AUGMENTATIONS",
    "DATASETS",
    "ArraySet",
    "ArraySplit",
    "Batch",
    "Batches",
    "CloudSet",
    "CloudSplit",
    "FolderImages",
    "FolderSplit",
    "ImageSet",
    "ImageSplit",
    "LazyPairSplit",
    "PairSplit",
    "Plan",
    "SegmentationSet",
    "load",
]

_HOMES = {
    "ArraySet": "arrays",
    "ArraySplit": "arrays",
    "Batch": "batches",
    "Batches": "batches",
    "CloudSet": "clouds",
    "CloudSplit": "clouds",
    "FolderImages": "folder_images",
    "FolderSplit": "folder_images",
    "ImageSet": "images",
    "ImageSplit": "images",
    "LazyPairSplit": "segmentation",
    "PairSplit": "segmentation",
    "Plan": "batches",
    "SegmentationSet": "segmentation",
    "load": "sets",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
