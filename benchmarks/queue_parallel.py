"""Images in a second when several runs train at once, against one run with all threads.

    uv run python benchmarks/queue_parallel.py     rewrites queue_parallel.json beside this file, or in --out

Each number of runs at once (1, 2, 4, ... up to the threads; 8 on a CUDA device) shares the threads equally. They are
measured in turn, seven times each, after an unmeasured round; the sum over the runs counts, and its median. It is what
`torchmg queue --parallel auto` measures, once and shorter, to decide.
"""

import argparse
import json
from pathlib import Path
from statistics import median

from torchmg.train.queue.crew import Crew
from torchmg.train.queue.jobs import Job
from torchmg.train.queue.parallel import steps_per_second, threads_for
from torchmg.train.recipe import recipe

ROUNDS = 7
SECONDS = 5.0


def main() -> None:
    """Measure, print and record."""
    parser = argparse.ArgumentParser(description="Images in a second of several runs at once.")
    parser.add_argument("--recipe", default="digits_mgic_resnet20")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder of the record")
    args = parser.parse_args()
    crew: Crew[Job] = Crew(args.device, args.data_dir, quiet=True)
    crew.grow(1, prefixed=False)
    ready = crew.workers[0].ready
    assert ready is not None
    environment = ready.environment
    most = environment["threads"] if environment["device"] == "cpu" else 8
    numbers = [number for number in (1, 2, 4, 8, 16) if number <= most]
    crew.grow(numbers[-1], prefixed=False)
    run = recipe(args.recipe)
    rates: dict[str, list[float]] = {str(number): [] for number in numbers}
    for _ in range(ROUNDS + 1):
        for number in numbers:
            threads = threads_for(environment, number)
            rate = steps_per_second(crew, Job(run.name, run), number, threads, SECONDS)
            rates[str(number)].append(rate * run.batch_size)
    crew.close()
    measured = {number: [round(value) for value in values[1:]] for number, values in rates.items()}
    for number, values in measured.items():
        print(f"{number} at once, {threads_for(environment, int(number))} threads each: {median(values):,.0f} images/s")
    record = {
        "command": f"uv run python benchmarks/queue_parallel.py --recipe {args.recipe}",
        "recipe": args.recipe,
        "images_per_second": {number: median(values) for number, values in measured.items()},
        "all_rounds": measured,
        "seconds_per_round": SECONDS,
        "environment": environment,
    }
    (args.out / "queue_parallel.json").write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
