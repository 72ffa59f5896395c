"""Is it the hierarchy? MGIC against its rivals and against itself with one thing changed, at equal cost.

The ablation that the papers on multigrid in channels leave out: what of MGIC's accuracy is owed to levels, to full
coupling at the coarsest, to learned transfers, and what any cheap network of the same parameters, or of the same
time of training, would have had.

Where a network can be made as large as one likes, its width is chosen so that parameters, or the time of a training
step, are the reference's. Time is matched by width at equal epochs and not by epochs at equal width: so all networks
see the same samples under the same schedule, and what longer training does is a question of its own.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from torchmg.data.sets import load
from torchmg.errors import UnknownNameError, UsageError, did_you_mean
from torchmg.plot.picture import Picture, check_drawing
from torchmg.study.ablated import Ablation, read_ablation
from torchmg.study.members import MEMBERS, QUESTIONS, REFERENCE
from torchmg.study.plan import make_plan, read_plan
from torchmg.study.runs import origin, train_queued
from torchmg.train.files import write_text
from torchmg.train.progress import Line
from torchmg.train.recipe import BASES, Recipe
from torchmg.train.records import read_record

DATA = ("fashion_mnist", "cifar10", "digits")
"""Images that the study can be on, all of ten classes."""
EPOCHS, SUBSET = 4, 15_000
"""So that a run of the reference takes some minutes on one core with pictures of FashionMNIST's size."""
TRAINING: dict[str, Any] = {
    "batch_size": 64,
    "lr": 0.05,
    "nesterov": True,
    "weight_decay": 5e-4,
    "decay": "weights",
    "schedule": "cosine",
    "warmup_epochs": 0.5,
    "label_smoothing": 0.1,
    "augment": "none",
    "layout": "channels_first",
}
"""One recipe for all, of a kind that comes far in few epochs: small batches, Nesterov's momentum, a short warm-up, a
cosine, smoothed labels, decay of weights alone. No augmentation, which pays in longer trainings only. Planes one after
the other, because grouped convolutions have native kernels for training there, and dense ones are as fast."""


@dataclass(frozen=True)
class HierarchyStudy:
    """What `study_hierarchy` found, and where."""

    found: Ablation
    recipe: Recipe
    folder: Path
    picture: Picture


def study_hierarchy(
    data: str = "fashion_mnist",
    members: Sequence[str] = (),
    *,
    seeds: int = 1,
    epochs: int = EPOCHS,
    subset: int = SUBSET,
    parallel: int = 1,
    seconds: float | None = None,
    out: str | Path | None = None,
    data_dir: str | Path | None = None,
    quiet: bool = False,
) -> HierarchyStudy:
    """Train the networks of the study on the CPU, one thread each, and draw their accuracies beside each other.

    Args:
        data: a name in `DATA`.
        members: names in `torchmg.study.members.MEMBERS`, or of their questions in `QUESTIONS`; all by default. The
            reference is always among them.
        seeds: runs of each network, with seeds from 0.
        epochs: of every run; the pair that trains longer has 1, 2 and 4 times as many.
        subset: training samples, the same for all; 0 for all that there are.
        parallel: runs at once.
        seconds: an allowance of time for the training; what is begun then is saved.
        out: folder of `plan.json` (widths and the times they were chosen by), `queue`, `records`, `hierarchy.png`,
            `.svg`, `.csv` and `.json`; default `runs/<date>_<time>_study_hierarchy`. Naming the folder of an
            interrupted study continues it, with more members or seeds too; table and picture show all its runs.
        data_dir: as in `torchmg.fit`.
        quiet: no progress on standard error.

    Raises:
        UnknownNameError: data or a member that there is not; the message names the nearest.
        UsageError: no seeds, epochs or runs at once.
        InterruptedRunError: Ctrl-C, or the allowance is over; the message names the folder to continue in.
        ResumeError: `out` holds a study with other settings.
        MissingExtraError: matplotlib is not installed.
    """
    names = _checked(data, members, seeds, parallel)
    recipe = replace(BASES[data], epochs=epochs, subset=subset, model=REFERENCE.model, **TRAINING)
    check_drawing()
    shape = load(data, data_dir).shape
    folder = Path(out or f"runs/{datetime.now():%Y-%m-%d_%H%M%S}_study_hierarchy")
    folder.mkdir(parents=True, exist_ok=True)
    with Line(quiet) as line:
        plan = make_plan(names, recipe, shape, folder / "plan.json", line.say)
        wanted = {f"{name}_s{seed}": run.recipe(recipe, seed) for seed in range(seeds) for name, run in plan.items()}
        how: dict[str, Any] = {"data_dir": data_dir, "parallel": parallel, "seconds": seconds}
        files = train_queued(wanted, folder, say=line.say, **how)
    records = folder / "records"
    records.mkdir(exist_ok=True)
    for name, file in files.items():
        shutil.copyfile(file, records / f"{name}.json")
    return _drawn(recipe, folder)


def _drawn(recipe: Recipe, folder: Path) -> HierarchyStudy:
    """Table and picture of all runs of the folder, those of earlier calls included."""
    found = read_ablation(folder / "records", read_plan(folder / "plan.json"))
    assert found is not None  # the reference has just been trained
    picture = found.draw(folder / "hierarchy")
    reference = read_record(folder / "records" / f"{REFERENCE.name}_s0.json")[1]
    write_text(folder / "hierarchy.json", found.data().json(**origin({REFERENCE.name: reference})) + "\n")
    return HierarchyStudy(found, recipe, folder, picture)


def _checked(data: str, members: Sequence[str], seeds: int, parallel: int) -> list[str]:
    """The members that are asked for, the reference first."""
    if data not in DATA:
        raise UnknownNameError(f"The study of the hierarchy has no data '{data}'.{did_you_mean(data, DATA)}")
    known = (*MEMBERS, *QUESTIONS)
    for name in members:
        if name not in known:
            raise UnknownNameError(f"The study of the hierarchy has no member '{name}'.{did_you_mean(name, known)}")
    for what, value in (("seeds", seeds), ("parallel", parallel)):
        if not isinstance(value, int) or value < 1:
            raise UsageError(f"{what} must be a whole number, at least 1; got {value!r}.")
    asked = {REFERENCE.name, *(members or QUESTIONS)}
    return [name for name, member in MEMBERS.items() if name in asked or member.question in asked]
