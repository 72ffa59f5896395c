"""What the catalogue says of a model. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

Task = Literal["classify", "segment", "points", "regress"]
"""What a model computes and a data set asks for: the class of an image, of every pixel, of a cloud; or numbers."""


@dataclass(frozen=True)
class Entry:
    """One named model."""

    name: str
    family: str
    """Models of one family share a colour in plots: `resnet`, `mgic`, `mgnet`, `mgiad`, `vit`, `mobilenet`, `ghost`,
    `shufflenet`, `efficientnet`, `dgcnn`, or `lean`, `union`, `circulant`, `pde`, `drnet` and `imexnet`."""
    builder: str
    """`module:function` that builds it."""
    parameters: int
    """Unique trainable parameters with default options."""
    macs: int
    """Multiply-accumulates of one forward pass for one sample of `input`."""
    paper: str
    """Short name of the paper that defines it."""
    citation: str
    fixed: Mapping[str, int | float | str] = field(default_factory=lambda: MappingProxyType({}))
    """Arguments of the builder that the name stands for."""
    input: tuple[int, ...] = (3, 32, 32)
    """(channels, height, width) or (channels, points) that the counts are for; any other size works too."""
    dense: str | None = None
    """The dense model of the same depth, which comparisons are made against."""
    task: Task = "classify"
