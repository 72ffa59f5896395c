"""Timing several things side by side, so that a busy or drifting machine is fair to all of them."""

import ctypes
import sys
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import NamedTuple

Call = Callable[[], object]

TURN = 0.1
"""Seconds that one candidate runs before it is the next one's turn, unless one call takes longer."""
ROUNDS = 5
WARM = 0.05
"""Seconds below which a call is repeated once without counting at the start of a turn: others have used the caches,
and threads of other engines may still be spinning."""


class Timing(NamedTuple):
    """Milliseconds of one call: median of the rounds, and their extremes."""

    median: float
    low: float
    high: float


def clock_for(threads: int) -> Callable[[], float]:
    """The clock for code of so many threads, in seconds.

    With one thread it is the process's CPU time, which other programs of a busy machine do not lengthen; with more it
    is wall time, because CPU time adds up over threads.
    """
    return time.process_time if threads == 1 else time.perf_counter


def interleaved(
    calls: Mapping[str, Call], *, threads: int = 1, rounds: int = ROUNDS, turn: float = TURN
) -> dict[str, Timing]:
    """Time calls in turns: in every round each of them runs for `turn` seconds.

    Args:
        calls: by name; each has its memory and weights ready.
        threads: of the calls, which decides the clock, see `clock_for`.
        rounds: turns of each that count.
        turn: seconds; a call that takes longer runs once a turn.

    Returns:
        Milliseconds of a call, by name.
    """
    clock = clock_for(threads)
    repeats = {}
    for name, call in calls.items():
        call()  # the first call packs weights and fills caches
        seconds = _seconds(call, 1, clock)
        repeats[name] = max(1, round(turn / seconds)) if seconds > 0 else 1000
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            if repeats[name] * WARM > turn:
                call()
            times[name].append(1000 * _seconds(call, repeats[name], clock))
    return {name: Timing(median(ms), min(ms), max(ms)) for name, ms in times.items()}


def _seconds(call: Call, repeats: int, clock: Callable[[], float]) -> float:
    start = clock()
    for _ in range(repeats):
        call()
    return (clock() - start) / repeats


def keep_freed_memory() -> bool:
    """Tell glibc's malloc to keep freed memory up to 32 MiB a piece instead of giving it back; True if it took it.

    By default every large activation is fetched from the system anew, page by page: batches of 32 take up to twice as
    long. The same from outside: `MALLOC_MMAP_THRESHOLD_=33554432 MALLOC_TRIM_THRESHOLD_=4000000000`.
    """
    trim_threshold, mmap_threshold = -1, -3  # names of glibc's malloc.h
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return bool(mallopt(mmap_threshold, 32 << 20)) and bool(mallopt(trim_threshold, 2**31 - 1))
