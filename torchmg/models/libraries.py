"""Names of models that are in no catalogue: `timm:resnet50`, `torchvision:resnet18`, `archive:FOLDER`. No torch."""

from typing import Literal, cast, get_args

Library = Literal["timm", "torchvision"]

INPUT = (3, 224, 224)
"""One sample of a model that does not say what it takes: ImageNet's usual crop."""

ARCHIVE = "archive:"
"""Before the folder of a network that was saved with how to build it."""


def is_outside(spec: str) -> bool:
    """Whether a model is named that no catalogue lists: a library's, a user's `file.py:factory`, an archive."""
    return ".py:" in spec or spec.startswith(ARCHIVE) or library_of(spec) is not None


def library_of(spec: str) -> tuple[Library, str] | None:
    """(library, name in it) of `timm:NAME` and `torchvision:NAME`; None for anything else."""
    library, colon, name = spec.partition(":")
    if not colon or library not in get_args(Library) or ".py:" in spec:
        return None
    return cast(Library, library), name
