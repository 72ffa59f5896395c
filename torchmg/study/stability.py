"""Stability of trained networks: do disturbances grow from step to step, and do features survive few bits?

The experiment of lowcost spec 3.6 item 4 [P]. The theory (spec 2.2): a symmetric step y - h K^T act(K y) never takes
two inputs further apart where h ||K||^2 <= 2, an ordinary one may. Its published counterpart are the errors of
quantised features in arXiv:2109.00095 (spec 3.3), of whose set-up only the figures are known here. Ours measures
finished networks as they are and rounds activations only, so that at most the courses over depth compare.
"""

import hashlib
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from math import isfinite
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from torchmg.data.names import SETS
from torchmg.data.order import epoch_order
from torchmg.data.samples import DataSet
from torchmg.data.sets import loaded_once
from torchmg.errors import UsageError
from torchmg.hierarchy import check_choice
from torchmg.plot.picture import Picture, check_drawing, check_stem
from torchmg.plot.runs import distinct_names, run_folders
from torchmg.plot.stability import COLUMNS, draw_stability
from torchmg.study.disturbed import disturb, ranges, sites
from torchmg.study.measured import Stability, depth_table, summary_table
from torchmg.study.rounding import Grid, check_bits
from torchmg.study.runs import RunsLine
from torchmg.tables import Table
from torchmg.train.engine import pick_device
from torchmg.train.environment import environment
from torchmg.train.files import write_text
from torchmg.train.model import data_for, model_for
from torchmg.train.recipe import Recipe

PERTURBATIONS = (1e-3, 0.05)
"""Relative sizes: one at which networks are all but linear, and one that can be seen."""
BITS = (8, 4)
"""Of rounded activations."""
SAMPLES = 500
"""Test images."""
CALIBRATION = 256
"""Training images whose activations say which range is held."""
BATCH = 100
"""Images at a time."""


@dataclass(frozen=True)
class StabilityStudy:
    """What `study_stability` found, and where."""

    rows: tuple[Stability, ...]
    title: str
    folder: Path
    picture: Picture

    def table(self) -> Table:
        """A row a run, with the ends of its courses."""
        return summary_table(self.rows, self.title)

    def data(self) -> Table:
        """Every number at every depth, in the columns of `torchmg.plot.stability.COLUMNS`."""
        return depth_table(self.rows, self.title)


def study_stability(
    runs: Sequence[str | Path],
    *,
    samples: int = SAMPLES,
    calibration: int = CALIBRATION,
    batch_size: int = BATCH,
    perturbations: Sequence[float] = PERTURBATIONS,
    bits: Sequence[int] = BITS,
    grid: Grid = "affine",
    seed: int = 0,
    out: str | Path | None = None,
    record: str | Path | None = None,
    data_dir: str | Path | None = None,
    device: str = "auto",
    quiet: bool = False,
) -> StabilityStudy:
    """Perturb the test images of trained image classifiers, and round their activations; set the runs side by side.

    Networks are in evaluation mode and float32 (no TF32), and are looked at behind every time step, or where there
    are none behind every block of the stages, and at the logits. All runs see the same images and perturbations.

    * Perturbations: normal random numbers, scaled for each prepared (normalised) image x to |e| = size |x|. At every
      depth j the growth is |F_j(x + e) - F_j(x)| / |F_j(x)| over |e| / |x|.
    * Rounding: uniform, one range for each site, the smallest to the largest value on the calibration images, which
      are training images without augmentation; what lies outside is set to the nearest end. Only what leaves the
      sites is rounded, not weights, stem, what happens inside of a step, or logits. Errors travel on from site to site.

    Args:
        runs: run folders, or folders that contain them, of image classifiers on one data set.
        samples: test images, at most all.
        calibration: training images for the ranges, at most all.
        batch_size: images at a time; the result does not depend on it but for rounding.
        perturbations: relative sizes above 0.
        bits: 2 to 16.
        grid: see `Grid`.
        seed: of the images that are taken, and of the perturbations.
        out: folder of the picture `stability` (.png, .svg, .csv) and the record `stability.json`; default
            `runs/<date>_<time>_study_stability`.
        record: another file that gets the record too.
        data_dir: where the images lie.
        device: as in `torchmg.fit`.
        quiet: no progress on standard error.

    Raises:
        UsageError: no runs, runs on several data sets or of no image classifiers, a network without time steps and
            `feature_info`, values that are not finite, other numbers than above, or files that cannot be written.
        UnknownNameError: an unknown grid.
        CheckpointError: a path that is no run folder, a run without weights, or a record that cannot be written.
        DataError: the images cannot be read.
        MissingExtraError: matplotlib is not installed.
    """
    perturbations, bits = sorted(set(perturbations)), sorted(set(bits), reverse=True)
    _check(perturbations, bits, grid, samples=samples, calibration=calibration, batch_size=batch_size)
    if not runs:
        raise UsageError("Name at least one run folder, or a folder of them such as runs.")
    folders = run_folders(runs)
    recipes = [run.recipe() for run in folders]
    _check_data(recipes)
    where = pick_device(device)
    check_drawing()
    folder = Path(out or f"runs/{datetime.now():%Y-%m-%d_%H%M%S}_study_stability")
    check_stem(folder / "stability", COLUMNS)
    if record is not None and not Path(record).absolute().parent.is_dir():
        raise UsageError(f"The record cannot be written: there is no folder {Path(record).parent}.")
    rows, names, hashes = [], _names(recipes), {}
    with RunsLine(len(folders), quiet) as line, loaded_once():
        for run, recipe, name in zip(folders, recipes, names, strict=True):
            line.begin(name)
            data = data_for(recipe, data_dir)
            hashes = hashes or data.hashes()
            model = model_for(recipe, data)
            run.read_weights(model)
            model.eval().to(where)
            how: dict[str, Any] = {"perturbations": perturbations, "bits": bits, "grid": grid}
            try:
                paths = sites(model)
                if bits:
                    how["limits"] = ranges(model, paths, _calibration(data, calibration, batch_size, seed, where))
                found = disturb(model, paths, _batches(data, samples, batch_size, seed, where), **how)
            except UsageError as error:
                raise UsageError(f"{run.path}: {error}") from error
            weights = hashlib.sha256(run.weights.read_bytes()).hexdigest()
            rows.append(Stability(run.path.name, name, recipe, weights, run.record() is not None, found))
            line.finished()
    title = f"{recipes[0].data}, {rows[0].found.images} test images, {len(rows)} run{'s' if len(rows) > 1 else ''}"
    picture = draw_stability(
        [curve for row in rows for curve in row.curves()], folder / "stability", depth_table(rows, title), title=title
    )
    study = StabilityStudy(tuple(rows), title, folder, picture)
    settings = {
        "samples": rows[0].found.images,
        "calibration": calibration,
        "batch_size": batch_size,
        "perturbations": perturbations,
        "bits": bits,
        "grid": grid,
        "seed": seed,
    }
    text = study.table().json(
        command=_command(runs, settings),
        **settings,
        environment=environment(where),
        data=hashes,
        runs=[row.record() for row in rows],
    )
    for file in (folder / "stability.json", *([] if record is None else [Path(record)])):
        write_text(file, text + "\n")
    return study


def _check(perturbations: Sequence[float], bits: Sequence[int], grid: Grid, **counts: int) -> None:
    for name, count in counts.items():
        if not isinstance(count, int) or count < 1:
            raise UsageError(f"{name} must be a whole number, at least 1; got {count!r}.")
    for size in perturbations:
        if not isfinite(size) or size <= 0:
            raise UsageError(f"Perturbations are relative sizes above 0, such as 0.001; got {size!r}.")
    for number in bits:
        check_bits(number)
    if not perturbations and not bits:
        raise UsageError("Name at least one perturbation or number of bits, such as --bits 8.")
    check_choice("grid", grid, get_args(Grid))


def _check_data(recipes: Sequence[Recipe]) -> None:
    data = list(dict.fromkeys(recipe.data for recipe in recipes))
    for name in data:
        if SETS[name].task != "classify":
            raise UsageError(f"The study of stability is for image classifiers; {name} is none of their data sets.")
    if len(data) > 1:
        raise UsageError(f"Runs on {', '.join(data)} do not see the same images. Name runs on one data set.")


def _names(recipes: Sequence[Recipe]) -> list[str]:
    return distinct_names([replace(recipe, seed=0) for recipe in recipes])


def _calibration(data: DataSet, count: int, batch_size: int, seed: int, device: torch.device) -> Iterator[Tensor]:
    return (x for x, _, _ in _taken(data, data.train, count, batch_size, seed, device))


def _batches(
    data: DataSet, count: int, batch_size: int, seed: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    for x, labels, chosen in _taken(data, data.test, count, batch_size, seed, device):
        # of each image by itself, so that the size of a batch changes nothing
        normal = [np.random.default_rng([seed, int(i)]).standard_normal(x.shape[1:], np.float32) for i in chosen]
        yield x, labels, torch.from_numpy(np.stack(normal)).to(device)


def _taken(
    data: DataSet, split: Any, count: int, batch_size: int, seed: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    preparation = data.preparation().to(device)
    for chosen in epoch_order(seed, 0, len(split))[:count].sort().values.split(batch_size):
        inputs, targets = split.take(chosen, None)
        yield *preparation(inputs.to(device), targets.to(device), None), chosen


def _command(runs: Sequence[str | Path], settings: Mapping[str, Any]) -> str:
    # folders of one machine say nothing elsewhere
    words = [path.name if path.is_absolute() else str(path) for path in map(Path, runs)]
    for name, value in settings.items():
        words += [f"--{name.replace('_', '-')}", *map(str, value if isinstance(value, list) else [value])]
    return f"torchmg study stability {shlex.join(words)}"
