"""Image sets and their batches, as pure functions of (seed, epoch).

The names below load on first use: `import torchmg.data.names` must not import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from torchmg.data.names import AUGMENTATIONS, DATASETS

if TYPE_CHECKING:
    from torchmg.data.batches import Batch, Batches, Plan
    from torchmg.data.images import ImageSet, ImageSplit
    from torchmg.data.sets import load

__all__ = ["AUGMENTATIONS", "DATASETS", "Batch", "Batches", "ImageSet", "ImageSplit", "Plan", "load"]

_HOMES = {
    "Batch": "batches",
    "Batches": "batches",
    "ImageSet": "images",
    "ImageSplit": "images",
    "Plan": "batches",
    "load": "sets",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
