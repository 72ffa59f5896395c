"""Names of other libraries' models: `timm:resnet50`, `torchvision:resnet18`. No torch."""

from typing import Literal, cast, get_args

Library = Literal["timm", "torchvision"]

INPUT = (3, 224, 224)
"""One sample of a model that does not say what it takes: ImageNet's usual crop."""


def library_of(spec: str) -> tuple[Library, str] | None:
    """(library, name in it) of `timm:NAME` and `torchvision:NAME`; None for anything else."""
    library, colon, name = spec.partition(":")
    if not colon or library not in get_args(Library) or ".py:" in spec:
        return None
    return cast(Library, library), name
