"""Timing on a CUDA device, in the words of `torchmg.bench.timing`: turns, rounds, medians, milliseconds.

The clock is the device's own, by events. Kernels of microseconds are timed from CUDA graphs, for Python cannot launch
them as fast as they run; and where what they touch would stay in the second-level cache, copies of the inputs take
turns, so that each is fetched from memory as in a network. On a CPU, where only the plumbing is tried, all of it works
by the CPU's clock.
"""

from collections.abc import Callable, Mapping, Sequence
from statistics import median

import torch

from torchmg.bench.timing import ROUNDS, Call, Timing, interleaved

WARM_UP = 3
"""Calls before one is recorded, so that libraries and kernels have chosen and allocated what they need."""
CACHES = 3
"""How many times the second-level cache the rotated inputs fill."""
SMALL_TURN = 0.02
"""Seconds of a turn on a device, which drifts less than a busy host; GPU time is scarce."""


def interleaved_on(
    device: torch.device, calls: Mapping[str, Call], *, rounds: int = ROUNDS, turn: float = SMALL_TURN
) -> dict[str, Timing]:
    """Time calls in turns on a device: in every round each of them runs for `turn` seconds.

    Args:
        device: where they compute.
        calls: by name; each has its memory and weights ready.
        rounds: turns of each that count.
        turn: seconds; a call that takes longer runs once a turn.

    Returns:
        Milliseconds of a call, by name.
    """
    if device.type != "cuda":
        return interleaved(calls, rounds=rounds, turn=turn)
    repeats = {}
    for name, call in calls.items():
        call()
        repeats[name] = max(1, round(1000 * turn / max(_ms(call, 2), 1e-4)))
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            call()  # the clock of an idle device falls, and others have used the cache
            times[name].append(_ms(call, repeats[name]))
    return {name: Timing(median(ms), min(ms), max(ms)) for name, ms in times.items()}


def _ms(call: Call, repeats: int) -> float:
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    for _ in range(repeats):
        call()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / repeats


def graphed(call: Call, device: torch.device) -> Call:
    """The call as a CUDA graph, launched at once; on a CPU the call itself.

    Args:
        call: reads and writes tensors that stay where they are, and looks at no value on the host.
        device: where it computes.
    """
    if device.type != "cuda":
        return call
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP):
            call()
    torch.cuda.current_stream(device).wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        kept = call()

    def replay() -> object:
        graph.replay()
        return kept

    return replay


def rotated(calls: Sequence[Call]) -> Call:
    """One call that makes them all, each on inputs of its own; what each returned is kept until it is made again.

    So neither inputs nor outputs are in a cache that is smaller than all of them.
    """
    kept: list[object] = [None] * len(calls)

    def run() -> object:
        for index, call in enumerate(calls):
            kept[index] = call()
        return kept[0]

    return run


def sets_beyond_cache(device: torch.device, touched: int) -> int:
    """How many copies of inputs must take turns so that none is left in the second-level cache; 1 on a CPU.

    Args:
        device: where they lie.
        touched: bytes that one call reads and writes.
    """
    if device.type != "cuda":
        return 1
    cache = torch.cuda.get_device_properties(device).L2_cache_size
    return max(1, -(-CACHES * cache // max(touched, 1)))


def layer_ms(
    device: torch.device,
    makes: Mapping[str, Callable[[int], Call]],
    touched: int,
    *,
    rounds: int = ROUNDS,
    turn: float = SMALL_TURN,
) -> tuple[dict[str, float], list[str]]:
    """Milliseconds of calls from rotated inputs in CUDA graphs, and sentences about those that cannot be.

    Args:
        device: where they compute.
        makes: name -> the call on the inputs with an index.
        touched: bytes that one call reads and writes.
        rounds: turns of each that count.
        turn: seconds of each turn.
    """
    sets = sets_beyond_cache(device, touched)
    calls: dict[str, Call] = {}
    refused = []
    for name, make in makes.items():
        try:
            calls[name] = graphed(rotated([make(index) for index in range(sets)]), device)
        except Exception as failure:  # libraries and compilers may raise whatever they like
            refused.append(refusal(name, failure))
    times = interleaved_on(device, calls, rounds=rounds, turn=turn)
    return {name: time.median / sets for name, time in times.items()}, refused


def refusal(name: str, failure: Exception) -> str:
    """A sentence about what could not be timed."""
    first = (str(failure).strip().splitlines() or [""])[0][:200]
    return f"{name}: {type(failure).__name__}: {first}"
