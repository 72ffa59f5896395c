"""The runs of a study: each in its own folder, finished ones not again, one line of progress for all."""

import math
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torchmg.data.sets import loaded_once
from torchmg.errors import InterruptedRunError, TorchmgError
from torchmg.train.loop import fit
from torchmg.train.progress import Line
from torchmg.train.queue.run import Manager
from torchmg.train.queue.state import State, locked
from torchmg.train.recipe import Recipe

CHECKPOINT_SECONDS = 600.0
"""Runs of minutes are saved at the end of every epoch anyway, and when they are interrupted."""


def origin(records: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Where a study's numbers come from: settings, data and environment of its first run, which the others share."""
    first = next(iter(records.values()))
    shared = {key: value for key, value in first["recipe"].items() if key not in ("model", "options", "fold")}
    return {"recipe": shared, "environment": first["environment"], "data": first["data"]}


def train_all(
    recipes: Mapping[str, Recipe],
    out: Path,
    *,
    data_dir: str | Path | None = None,
    device: str = "auto",
    quiet: bool = False,
) -> dict[str, dict[str, Any]]:
    """Train recipes one after the other, each in `out / name`; the records by name.

    Data are read once for all. What is finished is not trained again.

    Args:
        recipes: name of the folder -> what to train in it.
        out: where the folders are made.
        data_dir: as in `torchmg.fit`.
        device: as in `torchmg.fit`.
        quiet: no progress on standard error.

    Raises:
        InterruptedRunError: Ctrl-C; the message names the folder to continue in.
        ResumeError: a folder holds a run of another recipe.
    """
    records = {}
    with RunsLine(len(recipes), quiet) as line, loaded_once():
        for name, recipe in recipes.items():
            records[name] = train_one(name, recipe, out, line, data_dir=data_dir, device=device)
    return records


def train_one(
    name: str,
    recipe: Recipe,
    out: Path,
    line: "RunsLine",
    *,
    data_dir: str | Path | None,
    device: str,
    deadline: float = math.inf,
) -> dict[str, Any]:
    """One run of a study, in `out / name`; its record.

    Args:
        name: of the folder.
        recipe: what to train in it.
        out: the study's folder.
        line: counts the runs.
        data_dir: as in `torchmg.fit`.
        device: as in `torchmg.fit`.
        deadline: as in `torchmg.fit`.

    Raises:
        InterruptedRunError: Ctrl-C or the deadline; the message names the folder to continue in.
        ResumeError: the folder holds a run of another recipe.
        DivergedError: the loss stopped being finite.
    """
    line.begin(name)
    how: dict[str, Any] = {"data_dir": data_dir, "device": device, "deadline": deadline}
    try:
        run = fit(recipe, folder=out / name, checkpoint_seconds=CHECKPOINT_SECONDS, quiet=True, **how)
    except (InterruptedRunError, KeyboardInterrupt) as error:
        raise InterruptedRunError(
            f"Stopped in {name}, {line.done} of {line.total} runs are finished, all saved in {out}. "
            f"Continue: the same command with --out {shlex.quote(str(out))}"
        ) from error
    line.finished()
    return run.record


def train_queued(
    recipes: Mapping[str, Recipe],
    out: Path,
    *,
    data_dir: str | Path | None = None,
    parallel: int = 1,
    seconds: float | None = None,
    say: Callable[[str], object] = lambda _: None,
) -> dict[str, Path]:
    """Train recipes on the CPU, several at once on one thread each, by the queue in `out / "queue"`.

    What is finished is not trained again, what failed before is tried again, and jobs of an earlier call that are not
    asked for now wait in their folders.

    Args:
        recipes: what to train, by a name of the study's own.
        out: the study's folder.
        data_dir: as in `torchmg.fit`.
        parallel: runs at once.
        seconds: how long this may take; None: until all are trained.
        say: told in a line what happens.

    Returns:
        The records' files, by name.

    Raises:
        InterruptedRunError: Ctrl-C, or time was over; the message says how to continue.
        TorchmgError: runs that failed, and why.
        CheckpointError: another process is at work in the folder.
    """
    with locked(out / "queue"):
        state = State(out / "queue", say=say)
        for recipe in recipes.values():
            state.queue.add_recipe(recipe)
        asked = set(recipes.values())
        state.queue.jobs = [job for job in state.queue.jobs if job.recipe in asked]
        for job in state.queue.jobs:
            job.failure, job.crashes = None, 0
        where = None if data_dir is None else Path(data_dir)
        manager = Manager(
            state, seconds=seconds, parallel=parallel, threads=1, data_dir=where, device="cpu", quiet=True, say=say
        )
        manager.run()
    jobs = {job.recipe: job for job in state.queue.jobs}
    failed = [f"{name}: {failure}" for name, recipe in recipes.items() if (failure := jobs[recipe].failure)]
    if failed:
        raise TorchmgError(f"{len(failed)} of {len(recipes)} runs failed. {' '.join(failed)}")
    done = [job for job in state.queue.jobs if state.finished(job)]
    if len(done) < len(jobs):
        raise InterruptedRunError(
            f"Stopped with {len(done)} of {len(jobs)} runs finished, all saved in {out}. "
            f"Continue: the same command with --out {shlex.quote(str(out))}"
        )
    return {name: state.folder(jobs[recipe]) / "record.json" for name, recipe in recipes.items()}


class RunsLine(Line):
    """How many runs are finished: a bar on a terminal, elsewhere a line now and then."""

    def __init__(self, total: int, quiet: bool) -> None:
        super().__init__(quiet)
        self._task = self._live.add_task("", total=total)
        self.total, self.done, self._name = total, 0, ""

    def begin(self, name: str) -> None:
        """Show which run is being trained."""
        self._name = name
        self._live.update(self._task, description=name)

    def finished(self) -> None:
        """Count one more."""
        self.done += 1
        self._live.advance(self._task)
        if self._live.disable and (self.due() or self.done == self.total):
            self.say(f"{self.done} of {self.total} runs, last {self._name}")
