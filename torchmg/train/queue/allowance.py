"""An allowance of time, and what of it must be kept for stopping and saving. No torch."""

import math
from dataclasses import dataclass

FLOOR = 2.0
"""Seconds kept for saving, at least: the interpreter's own start and end are in it."""
BYTES_PER_SECOND = 50e6
"""A slow disk, to guess what packing takes before any was measured."""


@dataclass(frozen=True)
class Allowance:
    """Moments are readings of `time.monotonic()`; without an allowance they are infinite."""

    end: float = math.inf
    """Nothing may run after this."""
    saving: float = 0.0
    """Seconds kept for packing the state."""
    stopping: float = 0.0
    """Seconds kept for runs to finish a step or an evaluation and write their checkpoints."""

    @property
    def deadline(self) -> float:
        """When runs are asked to stop."""
        return self.end - self.saving - self.stopping

    @property
    def limit(self) -> float:
        """When those that have not stopped are killed; they continue from their last checkpoint."""
        return self.end - self.saving


def allowance(
    seconds: float | None, started: float, size: int, packing: float = 0.0, overrun: float | None = None
) -> Allowance:
    """What `seconds` from `started` leave for work.

    Args:
        seconds: how long the whole may take; None for as long as it needs.
        started: reading of `time.monotonic()` at the start.
        size: bytes of the state now.
        packing: seconds that packing took the last time; the larger of this and a guess from `size` counts, twice.
        overrun: the longest that a run was seen to take to stop; half as much again is kept, but at most a fifth of
            the allowance. Before any was seen, a thirtieth of it, between 1 and 20 seconds.
    """
    if seconds is None:
        return Allowance()
    first = min(max(seconds / 30, 1.0), 20.0)
    stopping = first if overrun is None else min(max(1.5 * overrun, 0.5), seconds / 5)
    return Allowance(started + seconds, FLOOR + 2 * max(packing, size / BYTES_PER_SECOND), stopping)
