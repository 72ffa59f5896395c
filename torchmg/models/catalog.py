"""Every model by name. No torch."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from types import MappingProxyType

from torchmg.errors import UnknownNameError, did_you_mean
from torchmg.models.entries import ENTRIES
from torchmg.models.entry import Entry, Task

__all__ = ["COMPARISONS", "MODELS", "Entry", "Task", "find", "select"]

MODELS: Mapping[str, Entry] = MappingProxyType({entry.name: entry for entry in ENTRIES})
"""Name -> entry, dense before multigrid, small before large."""

COMPARISONS: Mapping[Task, tuple[str, ...]] = MappingProxyType(
    {
        "classify": ("resnet20", "mgic_resnet20", "mgiad20"),
        "segment": ("lraspp_mobilenetv3_small", "mgic_lraspp_mobilenetv3_small"),
        "points": ("dgcnn", "mgic_dgcnn"),
        "regress": ("function_mobilenetv3", "function_ghost", "function_mgic"),
    }
)
"""What `compare` trains when no models are named, by the task of the data."""


def find(name: str) -> Entry:
    """The entry called `name`; raises `UnknownNameError` with the nearest names."""
    if name in MODELS:
        return MODELS[name]
    raise UnknownNameError(
        f"Unknown model '{name}'.{did_you_mean(name, MODELS)} (torchmg list shows all {len(MODELS)})"
    )


def select(pattern: str = "*") -> list[Entry]:
    """Entries whose name matches a shell pattern such as `mgic_*`; raises when none does."""
    matching = [entry for name, entry in MODELS.items() if fnmatchcase(name, pattern)]
    if not matching:
        raise UnknownNameError(f"No model matches '{pattern}'.{did_you_mean(pattern.strip('*'), MODELS)}")
    return matching
