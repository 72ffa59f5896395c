"""What a queue holds, and which of it is wanted next. No torch."""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from torchmg.errors import UsageError
from torchmg.models.libraries import ARCHIVE
from torchmg.train.recipe import BASES, Recipe


@dataclass
class Job:
    """A run to train (`recipe`) or a timing script to run (`script`), and what happened to it so far."""

    name: str
    """Also its folder's name."""
    recipe: Recipe | None = None
    script: str | None = None
    """Path of a Python file, relative to the folder where the command is run."""
    threads: int | None = None
    """The run's threads; decided when it first starts and kept, because they decide the last bits."""
    seconds: float = 0.0
    """Wall time spent on it, set-up and evaluation included."""
    crashes: int = 0
    """How often the process that trained it died."""
    failure: str | None = None
    """Why it will not be finished."""
    notes: list[str] = field(default_factory=list)
    """Warnings of its run, such as that it could not be continued exactly."""

    def __post_init__(self) -> None:
        if Path(self.name).name != self.name:
            raise UsageError(f"'{self.name}' cannot be the name of a folder.")

    def to_json(self) -> dict[str, Any]:
        """As plain values; `from_json` reads them back."""
        return json.loads(json.dumps(asdict(self)))

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> "Job":
        """The job that `to_json` wrote."""
        recipe = values["recipe"]
        return Job(**{**values, "recipe": recipe and Recipe.from_json(recipe, f"job {values['name']}")})

    @property
    def kind(self) -> Recipe | None:
        """What its siblings, runs with other seeds, have in common with it."""
        return self.recipe and replace(self.recipe, seed=0)


def wanted(jobs: Iterable[Job], begun: Collection[str]) -> list[Job]:
    """Unfinished jobs, the most wanted first; within one line below, in the order in which they were added.

    1. Scripts: they need the device to themselves, which the start of a call gives without anybody waiting.
    2. Runs that have begun (their names are in `begun`): finish before starting.
    3. The others by seed: the first seed of everything, then the second.
    """

    def rank(job: Job) -> tuple[int, int]:
        if job.recipe is None:
            return 0, 0
        return (1, 0) if job.name in begun else (2, job.recipe.seed)

    return sorted(jobs, key=rank)


@dataclass
class Queue:
    """The jobs in the order in which they were added, and what was learned while they ran: `queue.json`."""

    jobs: list[Job] = field(default_factory=list)
    history: list[str] = field(default_factory=list)
    """A random word for each time that the state was packed; tells which of two copies is ahead."""
    parallel: dict[str, dict[str, Any]] = field(default_factory=dict)
    """For each kind of device, the throughput measured for numbers of runs at once, and the number chosen."""
    packing: float = 0.0
    """Seconds that the last packing took."""
    overrun: float | None = None
    """The longest time in seconds that a run took to stop after it should have; None before any did."""

    def add_recipe(self, recipe: Recipe) -> None:
        """Add a run, unless the same recipe with the same seed is there.

        Raises:
            UsageError: the model's file has an absolute path, which exists on this machine only.
        """
        if any(job.recipe == recipe for job in self.jobs):
            return
        model = recipe.model.removeprefix(ARCHIVE) if ":" in recipe.model else ""
        for path in (model, recipe.distill_from.removeprefix(ARCHIVE), recipe.start_from):
            _check_relative(path)
        plain, standard = f"{recipe.name}_s{recipe.seed}", replace(BASES[recipe.data], seed=recipe.seed)
        if recipe == replace(standard, model=recipe.model) and ":" not in recipe.model:
            self._add(plain, recipe.to_json(), recipe=recipe)
        else:
            self._add(_marked(plain, recipe.to_json()), recipe.to_json(), recipe=recipe)

    def add_script(self, path: Path) -> None:
        """Add a timing script, unless it is there.

        Raises:
            UsageError: no Python file, or an absolute path.
        """
        script = path.as_posix()
        if any(job.script == script for job in self.jobs):
            return
        _check_relative(script)
        if path.suffix != ".py" or not path.is_file():
            raise UsageError(f"There is no Python file {script} to time. Give its path from the current folder.")
        self._add(path.stem, script, script=script)

    def _add(self, name: str, identity: Any, **what: Any) -> None:
        taken = any(job.name == name for job in self.jobs)  # by a job that is not the same one
        self.jobs.append(Job(_marked(name, identity) if taken else name, **what))

    def to_json(self) -> dict[str, Any]:
        """As plain values; `from_json` reads them back."""
        return {**asdict(self), "jobs": [job.to_json() for job in self.jobs]}

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> "Queue":
        """The queue that `to_json` wrote; raises KeyError, TypeError or `UsageError` when it is none."""
        known = {f.name: values[f.name] for f in fields(Queue)}
        return Queue(**{**known, "jobs": [Job.from_json(job) for job in values["jobs"]]})


def _marked(name: str, identity: Any) -> str:
    """`name` with a short mark of what exactly it is."""
    return f"{name}-{hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:6]}"


def _check_relative(path: str) -> None:
    if Path(path).is_absolute():
        raise UsageError(
            f"{path} exists on this machine only, and a queue travels. "
            "Run the command in the file's folder, or above it, and give the path from there."
        )
