"""How many runs at once are fastest here: measured, not guessed. No torch."""

import math
from datetime import UTC, datetime
from typing import Any

from torchmg.train.queue.crew import Crew
from torchmg.train.queue.jobs import Job
from torchmg.train.queue.messages import Done, Measure

SECONDS = 4.0
"""How long each number of runs at once is measured."""
GAIN = 1.05
"""A number of runs counts as faster only above this factor; below it, fewer runs are the simpler choice."""


def device_of(environment: dict[str, Any]) -> str:
    """The kind of device that a measurement holds for."""
    device, processor = environment["device"], environment["processor"]
    return f"{processor}, {environment['threads']} threads" if device == "cpu" else device


def threads_for(environment: dict[str, Any], parallel: int) -> int:
    """An equal share of the threads for each of `parallel` runs."""
    return max(environment["threads"] // parallel, 1)


def measure(crew: Crew[Job], job: Job, environment: dict[str, Any], most: int, limit: float) -> dict[str, Any]:
    """Steps in a second of 1, 2, 4, ... at-once copies of a run; doubling ends when it stops being faster.

    Args:
        crew: gets as many workers as are measured.
        job: the run to copy.
        environment: where.
        most: copies at the most.
        limit: reading of `time.monotonic()` after which nothing more is measured.

    Returns:
        The sums by number (`steps_per_second`), the number that is fastest (`chosen`), recipe and date.
    """
    assert job.recipe is not None
    rates: dict[int, float] = {}
    number = chosen = 1
    while number <= most:
        threads = threads_for(environment, number)
        crew.grow(number, prefixed=True, limit=limit)
        steps_per_second(crew, job, number, threads, 0.0, limit)  # data, kernels and memory: once, not measured
        rates[number] = steps_per_second(crew, job, number, threads, SECONDS, limit)
        if number > 1 and rates[number] < GAIN * rates[chosen]:
            break
        chosen, number = number, 2 * number
    return {
        "chosen": chosen,
        "steps_per_second": {str(number): round(rate, 2) for number, rate in rates.items()},
        "recipe": job.recipe.name,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }


def steps_per_second(
    crew: Crew[Job], job: Job, number: int, threads: int, seconds: float, limit: float = math.inf
) -> float:
    """The sum over `number` at-once copies of a run, each with so many threads, trained for `seconds`.

    0 when a copy fails or dies, or when `limit`, a reading of `time.monotonic()`, comes before the end.
    """
    assert job.recipe is not None
    for worker in crew.idle()[:number]:
        crew.give(worker, Measure(job.recipe, threads, seconds), job)
    total, failed = 0.0, False
    while crew.busy():
        heard = list(crew.messages(limit))
        if not heard:
            for worker in crew.busy():
                crew.dismiss(worker)
            return 0.0
        for worker, message in heard:
            if message is None:
                crew.dismiss(worker)
                failed = True
            elif isinstance(message, Done):
                worker.busy = None
                failed = failed or message.how != "finished"
                total += message.steps_per_second
    return 0.0 if failed else total
