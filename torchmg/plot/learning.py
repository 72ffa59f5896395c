"""Learning curves of runs: score, loss and learning rate over epochs, the gap between train and test visible."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torchmg.errors import CheckpointError, UsageError
from torchmg.plot.labels import apart
from torchmg.plot.picture import INK, Picture, appearance, check_stem, clipped, drawing, save, tidy
from torchmg.plot.runs import distinct_names, logged, read_log, run_folders
from torchmg.tables import Table
from torchmg.train.recipe import Recipe
from torchmg.train.records import read_record
from torchmg.train.scores import Score, score_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINE = 23.0
"""Points from one line-end label to the next, of two lines each."""
COLUMNS = ("run", "model", "seed", "epoch", "epochs")
"""What the table says of every row, before the columns of the log."""


@dataclass(frozen=True)
class Course:
    """How one run went, as far as it got."""

    path: Path
    recipe: Recipe
    rows: list[dict[str, float]]
    gap: float | None
    """Train minus test score after the last epoch, both in evaluation mode; None while the run is unfinished."""

    @property
    def score(self) -> Score:
        """What the run is scored by."""
        return score_of(self.recipe.data)

    def column(self, name: str) -> list[float]:
        """One number an epoch."""
        return [row[name] for row in self.rows]

    def end(self, name: str) -> str:
        """What stands at the end of its line: the last test score, and the gap or how far it got."""
        epochs, wanted = len(self.rows), self.recipe.epochs
        more = f"{epochs} of {wanted} epochs" if epochs < wanted else "" if self.gap is None else f"gap {self.gap:.2f}"
        reached = f"{self.score.of(self.rows[-1], 'test'):.2f} %"
        return f"{clipped(name, 42)}\n{reached}{', ' if more else ''}{more}"


def curves(runs: Sequence[str | Path], stem: str | Path = "curves") -> Picture:
    """Draw score, loss and learning rate of runs over their epochs; unfinished runs as far as they got.

    Solid lines are test, dashed ones train. The numbers are those of `log.csv`: the train ones are running means
    within the epoch, with augmentation and smoothed labels where the recipe has them. The gap at a line's end is from
    the record, where both splits are measured alike.

    Args:
        runs: run folders, or folders that contain run folders; runs without a finished epoch are left out, and the
            note of the table names them.
        stem: file name without ending; `.png`, `.svg` and `.csv` are written, those of an earlier picture replaced.

    Raises:
        CheckpointError: not a run folder, no run with a finished epoch, or a damaged log or record.
        MissingExtraError: matplotlib is not installed.
        UsageError: no runs were named, or runs that are scored differently or on held-out samples; the files cannot be
            written, or would replace another table.
    """
    courses, early = _courses(runs)
    score = courses[0].score
    if others := {course.score.label for course in courses} - {score.label}:
        raise UsageError(f"Runs scored by {score.label} and by {', '.join(others)} do not share a picture.")
    stem = check_stem(stem, (*COLUMNS, *logged(score)[1:]))
    names = distinct_names([course.recipe for course in courses])
    shared = {name for name in names if names.count(name) > 1}
    names = [f"{name} {c.path.name}" if name in shared else name for name, c in zip(names, courses, strict=True)]
    with drawing(9, max(5.2, 1.4 + 0.62 * len(courses))) as figure:
        scores, losses, rate = figure.subplots(3, 1, sharex=True, height_ratios=(3, 2, 0.6))
        for index, course in enumerate(courses):
            _draw(scores, course, score.key, index)
            _draw(losses, course, "loss", index)
            rate.plot(course.column("epoch"), course.column("lr"), color=appearance(index)["color"], linewidth=1.2)
        _axes(scores, losses, rate, score)
        scores.set_title(_title(courses), parse_math=False, fontsize=11)
        _label_ends(figure, scores, courses, names)
        return save(figure, stem, _table(courses, early))


def _courses(paths: Sequence[str | Path]) -> tuple[list[Course], list[str]]:
    """The runs with a finished epoch, and the names of the folders of the others."""
    courses, early = [], []
    if not paths:
        raise UsageError("Name at least one run folder, or a folder of them such as runs.")
    for run in run_folders(paths):
        recipe = run.recipe()
        if recipe.holdout:
            raise UsageError(f"{run.path} was scored on held-out training samples, not on test samples. Leave it out.")
        score = score_of(recipe.data)
        rows = read_log(run, score)
        if not rows:
            early.append(run.path.name)
            continue
        record = read_record(run.record_file)[1] if run.record_file.exists() else None
        gap = score.of(record, "train") - score.of(record, "test") if record else None
        courses.append(Course(run.path, recipe, rows, gap))
    if not courses:
        raise CheckpointError(f"No run has finished an epoch yet: {', '.join(early)}. Curves start with the first one.")
    return courses, early


def _draw(axes: "Axes", course: Course, what: str, index: int) -> None:
    look = appearance(index)
    epochs, train, test = (course.column(name) for name in ("epoch", f"train_{what}", f"test_{what}"))
    axes.plot(epochs, test, **look, linewidth=1.5, markersize=5, markevery=[len(epochs) - 1])
    axes.plot(epochs, train, color=look["color"], linewidth=1.0, linestyle=(0, (4, 2)))
    axes.fill_between(epochs, train, test, color=look["color"], alpha=0.07, linewidth=0)


def _axes(scores: "Axes", losses: "Axes", rate: "Axes", score: Score) -> None:
    from matplotlib.ticker import MaxNLocator

    for axes, name in ((scores, f"{score.label} (%)"), (losses, score.loss), (rate, "rate")):
        axes.set_ylabel(name)
        tidy(axes)
    rate.set_ylim(bottom=0)
    rate.yaxis.set_major_locator(MaxNLocator(2))
    rate.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    rate.set_xlabel("epoch\nsolid: test; dashed: train, running mean while training")


def _label_ends(figure: "Figure", axes: "Axes", courses: Sequence[Course], names: Sequence[str]) -> None:
    figure.draw_without_rendering()  # only then is the height of the axes known
    look = {"arrowstyle": "-", "linewidth": 0.8, "relpos": (0, 0.5), "shrinkA": 1, "shrinkB": 4}
    low, high = axes.get_ylim()
    gap = LINE * figure.dpi / 72 / axes.get_window_extent().height
    ends = [course.score.of(course.rows[-1], "test") for course in courses]
    heights = apart([(end - low) / (high - low) for end in ends], gap, 0.02, 0.98)
    for index, (course, name, end, height) in enumerate(zip(courses, names, ends, heights, strict=True)):
        axes.annotate(
            course.end(name),
            (course.rows[-1]["epoch"], end),
            xytext=(1.03, height),
            textcoords="axes fraction",
            va="center",
            fontsize=8.5,
            linespacing=1.05,
            color=INK,
            parse_math=False,
            arrowprops={**look, "color": appearance(index)["color"]},
        )


def _title(courses: Sequence[Course]) -> str:
    data = ", ".join(dict.fromkeys(course.recipe.data for course in courses))
    gap = "; gap: train minus test, evaluated alike" if any(course.gap is not None for course in courses) else ""
    return f"{data}, {len(courses)} run{'s' if len(courses) > 1 else ''}{gap}"


def _table(courses: Sequence[Course], early: Sequence[str]) -> Table:
    columns = (*COLUMNS, *logged(courses[0].score)[1:])
    rows = [
        (
            *(str(course.path), course.recipe.model, course.recipe.seed, int(row["epoch"]), course.recipe.epochs),
            *(row[name] for name in columns[5:]),
        )
        for course in courses
        for row in course.rows
    ]
    note = f"Left out, no finished epoch yet: {', '.join(early)}." if early else ""
    return Table(columns, rows, _title(courses), note)
