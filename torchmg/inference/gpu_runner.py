"""What a plan for a GPU is made of."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Values = dict[int, Any]
"""What is known while a network runs, by the numbers of its values."""


@dataclass(frozen=True)
class Runner:
    """What makes some values of others.

    Attributes:
        run: puts them among the values.
        reads, writes: their numbers.
        kind: `level`, `relaxation`, `restriction`, `block`, `conv` (our kernels) or `torch`.
        steps: how many steps of the network it stands for.
    """

    run: Callable[[Values], None]
    reads: list[int]
    writes: list[int]
    kind: str
    steps: int
