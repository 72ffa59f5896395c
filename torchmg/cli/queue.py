"""`torchmg queue`: many runs within an allowance of time."""

import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from torchmg.cli.output import Output
from torchmg.cli.place import Place
from torchmg.errors import UsageError
from torchmg.train.queue.jobs import Queue
from torchmg.train.queue.report import data, table
from torchmg.train.queue.run import Ending, Manager
from torchmg.train.queue.state import State, locked
from torchmg.train.recipe import Recipe, recipe


@dataclass(frozen=True)
class Arguments:
    """Train many recipes, time scripts, stop before an allowance of time is over, go on later or elsewhere.

    What is named is added to the queue in STATE unless it is there; with nothing named it goes on with what is there.
    Flags of recipes hold for all recipes named.
    """

    recipe: Annotated[Recipe, tyro.conf.OmitArgPrefixes]
    state: Annotated[Path, tyro.conf.Positional]
    """The state folder; copying its `parts` into an empty folder anywhere lets the queue go on there."""
    recipes: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Recipes to add, such as cifar10_mgic_resnet20."""
    seeds: tuple[int, ...] = ()
    """Seeds of every recipe; the first seed of all comes before the second of any."""
    scripts: tuple[Path, ...] = ()
    """Timing scripts to add; run as `python FILE --out FOLDER`, before the runs and with nothing beside them."""
    seconds: float | None = None
    """How long all of this may take, from the start of the command; default: until everything is done."""
    parallel: str = "1"
    """Runs at once, or auto: as many as are measured to be fastest here."""
    threads: int | None = None
    """Threads of each run that begins now (default: all, shared by the runs at once); a run keeps its number."""
    retry: bool = False
    """Try failed jobs again."""
    show: bool = False
    """Only print the table."""
    place: Annotated[Place, tyro.conf.OmitArgPrefixes] = field(default_factory=Place)
    quiet: bool = False
    """No progress."""
    output: Annotated[Output, tyro.conf.OmitArgPrefixes] = field(default_factory=Output)


def main(arguments: Sequence[str]) -> int:
    """Work through a queue."""
    started = time.monotonic()
    args = _parse(arguments, Recipe())
    runs = [_parse(arguments, recipe(name)).recipe for name in args.recipes]
    parallel = _parallel(args.parallel)
    for name in ("seconds", "threads"):
        if (value := getattr(args, name)) is not None and not value > 0:
            raise UsageError(f"{name} must be above 0; got {value}.")
    if not args.recipes and (args.seeds or args.recipe != Recipe()):
        raise UsageError("Seeds and settings are for recipes that are added: name them too.")
    _add(Queue(), runs, args)  # what cannot be added leaves no folder behind
    if not (runs or args.scripts or args.state.exists()):
        raise _no_queue(args.state)
    if args.show:
        _give(args, _existing(args.state))
        return 0

    def say(text: str) -> None:
        if not args.quiet:
            print(text, file=sys.stderr, flush=True)

    with locked(args.state):
        state = State(args.state, say=say)
        _add(state.queue, runs, args)
        if not state.queue.jobs:
            raise _no_queue(args.state)
        where = {"data_dir": args.place.data_dir, "device": args.place.device, "quiet": args.quiet, "say": say}
        manager = Manager(
            state, seconds=args.seconds, started=started, parallel=parallel, threads=args.threads, **where
        )
        ending = manager.run()
        _give(args, state, ending)
    if ending.interrupted:
        return 130
    return int(ending.idle or any(job.failure for job in state.queue.jobs))


def _parse(arguments: Sequence[str], base: Recipe) -> Arguments:
    """The arguments, with the values of `base` for flags that are not given."""
    return tyro.cli(Arguments, args=arguments, prog="torchmg queue", default=Arguments(base, tyro.MISSING))


def _parallel(text: str) -> int | Literal["auto"]:
    if text == "auto":
        return "auto"
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"parallel must be a whole number, at least 1, or auto; got {text}.")
    return int(text)


def _existing(folder: Path) -> State:
    state = State(folder)
    if not state.queue.jobs:
        raise _no_queue(folder)
    return state


def _no_queue(folder: Path) -> UsageError:
    return UsageError(f"There is no queue in {folder} yet. Name recipes, such as cifar10_mgic_resnet20.")


def _add(queue: Queue, runs: Sequence[Recipe], args: Arguments) -> None:
    for script in args.scripts:
        queue.add_script(script)
    for run in runs:
        for seed in args.seeds or (run.seed,):
            queue.add_recipe(replace(run, seed=seed))
    if args.retry:
        for job in queue.jobs:
            job.failure, job.crashes = None, 0


def _give(args: Arguments, state: State, ending: Ending | None = None) -> None:
    """Print the table, and how to go on."""
    jobs, left = state.queue.jobs, len(state.open_jobs())
    finished = sum(state.finished(job) for job in jobs)
    args.output.give(table(state), data(state), finished=finished, left=left, jobs=len(jobs))
    if args.output.json:
        return
    if ending is not None and ending.idle:
        print(f"\nThe allowance of {args.seconds:g} s was over before a job could begin. Allow more seconds.")
    print(f"\n{finished} of {len(jobs)} finished" + (f"; continue: {_continuing(args)}" if left else ""))


def _continuing(args: Arguments) -> str:
    words = ["torchmg", "queue", str(args.state)]
    default = Arguments(args.recipe, args.state)
    for flag, value, usual in (
        ("--seconds", args.seconds, None),
        ("--parallel", args.parallel, default.parallel),
        ("--data-dir", args.place.data_dir, None),
        ("--device", args.place.device, default.place.device),
    ):
        if value != usual:
            words += [flag, f"{value:g}" if isinstance(value, float) else str(value)]
    return shlex.join(words)
