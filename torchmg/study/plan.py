"""What the study of the hierarchy trains: which member at which width for how long, decided once and kept in a file."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from torchmg.errors import CheckpointError, ResumeError
from torchmg.study.members import BASE, LENGTHS, MEMBERS, REFERENCE, Member
from torchmg.study.widths import Steps, base_of_equal_cost, parameters
from torchmg.train.environment import environment
from torchmg.train.files import read_text, write_json
from torchmg.train.recipe import Recipe

Budget = Literal["width", "parameters", "time"]
"""What a network has in common with the reference: its base width, its parameters, or the time of its training steps
(and with them of the whole training, as all take as many)."""
SEEDED = re.compile(r"(?P<run>.+)_s(?P<seed>\d+)")
"""Name of a record: the run's, and its seed."""


@dataclass(frozen=True)
class Planned:
    """One network of the study, to be trained with one or several seeds."""

    member: str
    budget: Budget = "width"
    length: int = 1
    """Times the epochs of the study."""
    base: float = BASE
    """Base width."""
    parameters: int = 0
    step: float | None = None
    """Time of a training step over the reference's."""

    @property
    def name(self) -> str:
        """Member and budget, or member and length, such as `grouped_time`, `plain` and `mgic_twin_x4`."""
        if MEMBERS[self.member].question == "training":
            return f"{self.member}_x{self.length}"
        return self.member if self.budget == "width" else f"{self.member}_{self.budget}"

    def recipe(self, base: Recipe, seed: int) -> Recipe:
        """The run with this seed, of the study's recipe."""
        member = MEMBERS[self.member]
        return replace(
            base,
            model=member.model,
            options=member.built_at(self.base),
            epochs=self.length * base.epochs,
            seed=seed,
        )


def runs_of(member: Member) -> list[Planned]:
    """The runs of a member before their widths are chosen: two where it has a choice of widths, one for each budget."""
    if member.question == "training":
        return [Planned(member.name, length=length) for length in LENGTHS]
    if member.step == 0:
        return [Planned(member.name)]
    return [Planned(member.name, "parameters"), Planned(member.name, "time")]


def planned_as(name: str) -> Planned | None:
    """What the run of that name is, before its width is chosen; None if there is no such run."""
    return {run.name: run for member in MEMBERS.values() for run in runs_of(member)}.get(name)


def make_plan(
    members: Sequence[str],
    recipe: Recipe,
    shape: tuple[int, ...],
    file: Path,
    say: Callable[[str], object] = lambda _: None,
) -> dict[str, Planned]:
    """The runs of these members by name. What the file knows is taken from it, and the file gets what is new.

    Widths of equal time are found on this machine, by measuring: so they are chosen once, lest a study that continues
    elsewhere, or at a busier time, became another one.

    Args:
        members: names in `MEMBERS`.
        recipe: of all runs, whatever model and seed it has.
        shape: of one image.
        file: `plan.json` of the study.
        say: told in a line what was chosen.

    Raises:
        ResumeError: the file is of a study with another recipe.
        CheckpointError: it is damaged.
    """
    shared = {key: value for key, value in recipe.to_json().items() if key not in ("model", "options", "seed")}
    known = read_plan(file, shared) if file.exists() else {}
    wanted = [run for name in members for run in runs_of(MEMBERS[name])]
    missing = [run for run in wanted if run.name not in known]
    if missing:
        steps = Steps(REFERENCE, BASE, recipe, shape)
        aim = parameters(REFERENCE, BASE, shape)
        for run in missing:
            known[run.name] = chosen = _chosen(run, aim, steps, shape)
            say(
                f"{run.name}: base width {chosen.base:g}, {chosen.parameters:,} parameters "
                f"({chosen.parameters / aim:.3f} of the reference's), {chosen.step:.2f} of its time"
            )
            runs = {name: asdict(planned) for name, planned in known.items()}
            here = {**environment(torch.device("cpu")), "threads": 1}
            write_json(file, {"recipe": shared, "environment": here, "runs": runs})
    return {run.name: known[run.name] for run in wanted}


def _chosen(run: Planned, aim: int, steps: Steps, shape: tuple[int, ...]) -> Planned:
    """The same with its width, parameters and time."""
    member, base = MEMBERS[run.member], run.base
    if run.budget == "parameters":
        base = base_of_equal_cost(member, lambda base: parameters(member, base, shape), aim)
    elif run.budget == "time":
        base = base_of_equal_cost(member, lambda base: steps.ratio(member, base), 1.0)
    return replace(run, base=base, parameters=parameters(member, base, shape), step=round(steps.ratio(member, base), 3))


def read_plan(file: Path, shared: Mapping[str, Any] | None = None) -> dict[str, Planned]:
    """The runs in a `plan.json`, by name.

    Raises:
        ResumeError: `shared`, the settings of all runs, are others than the file's.
        CheckpointError: it is no plan, or damaged.
    """
    try:
        content = json.loads(read_text(file))
        runs = {name: Planned(**values) for name, values in content["runs"].items()}
        theirs = content["recipe"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{file} is not the plan of a study, or damaged: {error!r}.") from error
    if shared is not None and (other := [key for key in shared if shared[key] != theirs.get(key)]):
        what = ", ".join(f"{key} {theirs.get(key)} (you asked for {shared[key]})" for key in other)
        raise ResumeError(f"{file.parent} holds a study with other settings: {what}. Name another folder.")
    return runs
