"""Which launch of a kernel is the fastest on this GPU: timed once, remembered in memory and on disk.

`TORCHMG_TUNE=0` switches timing off; with `TORCHMG_TUNE=compile` every candidate runs once and none is chosen, so that
several processes at once can fill Triton's own cache, which is what takes long. The choices lie in `gpu.json` in the
folder that `TORCHMG_CACHE` names, by GPU and versions of Triton and torch, so that a run repeats bit for bit where an
earlier one has chosen: another launch may add up in another order.
"""

import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch

from torchmg.errors import UsageError
from torchmg.kernels import choice

ROUNDS = 5
"""Turns of each candidate, whose median counts."""
REPEATS = 8
"""Launches of a turn; their mean is its time."""
HOPELESS = 1.5
"""Times the best of the first turn beyond which a candidate gets no other."""
MARGIN = 0.98
"""A candidate replaces the first, which is the default, only when it takes less than this part of its time."""
AHEAD = 2_000_000
"""Cycles that the GPU waits, about a millisecond, while the host enqueues a turn: else its launches would be timed."""

Key = tuple[int | str | bool, ...]


class Config(NamedTuple):
    """How a kernel is cut and launched. What a field means beyond this is the kernel's to say.

    Attributes:
        block_m: pixels of a tile.
        packs: packs of channels that one program does.
        warps: of a program.
        stages: of the software pipeline.
        splits: programs that share one sum, or images of one program.
    """

    block_m: int
    packs: int = 1
    warps: int = 4
    stages: int = 2
    splits: int = 1


def tuned(name: str, key: Key, configs: Sequence[Config], run: Callable[[Config], object]) -> Config:
    """The fastest of some launches on the current CUDA device; timed where nobody has done so yet.

    The first one is returned, and nothing is timed or remembered, where there is no GPU, in Triton's interpreter, with
    `TORCHMG_TUNE=0`, while a CUDA graph is captured, and with `torch.use_deterministic_algorithms`; the last two only
    where no choice is remembered.

    Args:
        name: of the kernel.
        key: what else decides: sizes, types, options; plain values.
        configs: candidates, the default first.
        run: launches the kernel with one of them, on tensors that are ready, as often as it is called with the same
            result. What raises is no candidate.

    Raises:
        UsageError: no candidate.
        Exception: what the first candidate raised, where all of them do.
    """
    if not configs:
        raise UsageError(f"{name} needs at least one launch to choose from.")
    if len(configs) == 1 or not timing():
        return configs[0]
    place = torch.cuda.current_device(), name, key
    if (known := _known.get(place)) is not None:
        return known
    if (kept := _remembered(machine(), name, key)) in configs:
        assert kept is not None
        _known[place] = kept
        return kept
    if torch.cuda.is_current_stream_capturing() or torch.are_deterministic_algorithms_enabled():
        return configs[0]
    if os.environ.get("TORCHMG_TUNE") == "compile":
        compile_all(configs, run)
        _known[place] = configs[0]
        return configs[0]
    best = fastest(configs, run, seconds)
    _known[place] = best
    remember(machine(), name, key, best)
    return best


_known: dict[tuple[int, str, Key], Config] = {}
"""What this process uses, by device; once used it stays, whatever others write."""


def compile_all(configs: Sequence[Config], run: Callable[[Config], object]) -> None:
    """Run each candidate once; what cannot be launched is passed over, as it is when they are timed."""
    for config in configs:
        with suppress(Exception):
            run(config)


def fastest(
    configs: Sequence[Config],
    run: Callable[[Config], object],
    clock: Callable[[Callable[[], object]], float],
) -> Config:
    """The candidate with the smallest median over interleaved turns, or the first where none beats it clearly.

    Args:
        configs: candidates, the default first.
        run: see `tuned`.
        clock: seconds that a call takes.
    """
    times: dict[Config, list[float]] = {}
    failures: list[Exception] = []
    for config in dict.fromkeys(configs):
        try:
            run(config)  # compiles
            times[config] = [clock(lambda config=config: run(config))]
        except Exception as failure:  # too much shared memory, or whatever else a compiler may say
            failures.append(failure)
    if not times:
        raise failures[0]
    limit = HOPELESS * min(turns[0] for turns in times.values())
    times = {config: turns for config, turns in times.items() if turns[0] <= limit}
    for _ in range(ROUNDS - 1 if len(times) > 1 else 0):
        for config, turns in times.items():
            turns.append(clock(lambda config=config: run(config)))
    best = min(times, key=lambda config: median(times[config]))
    default = configs[0]
    good = default in times and median(times[best]) >= MARGIN * median(times[default])
    return default if good else best


def seconds(call: Callable[[], object]) -> float:
    """Of one call on the current CUDA stream, by events, the mean of `REPEATS`; what the host takes is hidden."""
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda._sleep(AHEAD)
    start.record()
    for _ in range(REPEATS):
        call()
    end.record()
    end.synchronize()
    return 1e-3 * start.elapsed_time(end) / REPEATS


@cache
def timing() -> bool:
    """Whether candidates are timed at all in this process."""
    off = os.environ.get("TORCHMG_TUNE") == "0" or os.environ.get("TRITON_INTERPRET", "0") not in ("", "0")
    return not off and torch.cuda.is_available()


@cache
def machine() -> str:
    """What a choice holds for: the GPU and the versions of Triton and torch."""
    try:
        triton = version("triton")
    except PackageNotFoundError:
        triton = "absent"
    return f"{torch.cuda.get_device_name()}, triton {triton}, torch {torch.__version__}"


# On disk.


def tuned_file() -> Path:
    """The file of choices."""
    return choice.cache_folder() / "gpu.json"


def remember(of: str, name: str, key: Key, config: Config) -> None:
    """Write a choice beside what is there, also what others wrote in the meantime. A folder that takes no file is left.

    Args:
        of: `machine`.
        name: of the kernel.
        key: see `tuned`.
        config: the choice.
    """
    kept = _read()
    mine = kept.get(of)
    kept[of] = (mine if isinstance(mine, dict) else {}) | {_title(name, key): list(config)}
    file = tuned_file()
    beside = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        beside.replace(file)
    except OSError:
        return


def chosen() -> dict[str, Config]:
    """What this process has timed or remembered so far, by kernel and key; of several devices the last."""
    return {_title(name, key): config for (_, name, key), config in _known.items()}


def forget() -> None:
    """Look at environment and file anew; what was used is chosen again."""
    _known.clear()
    timing.cache_clear()
    machine.cache_clear()
    _choices.cache_clear()


def _remembered(of: str, name: str, key: Key) -> Config | None:
    found = _choices(of).get(_title(name, key))
    if isinstance(found, list) and len(found) == len(Config._fields) and all(isinstance(n, int) for n in found):
        return Config(*found)
    return None


@cache
def _choices(of: str) -> dict[str, Any]:
    """What the file says for a machine when this process first asks."""
    found = _read().get(of)
    return found if isinstance(found, dict) else {}


def _read() -> dict[str, Any]:
    try:
        found = json.loads(tuned_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _title(name: str, key: Key) -> str:
    return " ".join(map(str, (name, *key)))
