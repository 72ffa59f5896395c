"""What the queue and its workers say to each other. No torch."""

from typing import Any, Literal, NamedTuple

from torchmg.train.recipe import Recipe


class Train(NamedTuple):
    """Train a run until it is finished or `deadline`, a reading of `time.monotonic()`, which all processes share."""

    recipe: Recipe
    folder: str
    threads: int
    deadline: float


class Measure(NamedTuple):
    """Train a throw-away run for some seconds, to see how fast it goes."""

    recipe: Recipe
    threads: int
    seconds: float


class Ready(NamedTuple):
    """A worker is there."""

    environment: dict[str, Any]
    """As in records; its `threads` are all that a process gets by default."""


class Warned(NamedTuple):
    """A run warned."""

    text: str
    exactness: bool
    """Whether it says that the run is not continued exactly."""


class Done(NamedTuple):
    """A task has ended."""

    how: Literal["finished", "stopped", "failed"]
    text: str = ""
    """What failed."""
    steps_per_second: float = 0.0
    """Of a measurement."""


Task = Train | Measure
Message = Ready | Warned | Done
