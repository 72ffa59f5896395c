"""The queue as a table. No torch."""

from typing import NamedTuple

from torchmg.tables import Cell, Table
from torchmg.train.queue.jobs import Job, wanted
from torchmg.train.queue.state import State
from torchmg.train.scores import score_of


class Row(NamedTuple):
    """What is known of a job."""

    job: str
    options: str
    """Of the model, such as `group_size 4, coarsest 16`: what tells runs apart whose names differ in a hash alone."""
    state: str
    """finished, failed, running (begun, to be continued) or waiting."""
    epoch: int | None
    epochs: int | None
    score: float | None
    """Test score in percent after the last finished epoch, or that of held-out samples where the recipe has some."""
    seconds: float
    """Spent so far."""
    left: float | None
    """Seconds to the end, from its own epochs or those of other seeds; None while nothing is known."""
    note: str

    def words(self) -> tuple[Cell, ...]:
        """For people."""
        where = f"epoch {self.epoch} of {self.epochs}" if self.state == "running" else ""
        state = " at ".join(filter(None, (self.state, where)))
        left = None if self.left is None else round(self.left)
        score = None if self.score is None else f"{self.score:.2f}"
        return self.job, self.options, state, score, round(self.seconds), left, self.note


def rows(state: State) -> list[Row]:
    """Jobs that are done in the order in which they were added, then the others, the most wanted first."""
    jobs = state.open_jobs()
    order = wanted(jobs, {job.name for job in jobs if state.begun(job)})
    return [_row(state, job) for job in (*(job for job in state.queue.jobs if job not in jobs), *order)]


def table(state: State) -> Table:
    """For people."""
    note = "left: seconds to go, estimated from the epochs of this run or of other seeds."
    columns = ["job", "options", "state", "test %", "seconds", "left", "note"]
    return Table(columns, [row.words() for row in rows(state)], note=note)


def data(state: State) -> Table:
    """For machines."""
    return Table(Row._fields, rows(state))


def _row(state: State, job: Job) -> Row:
    log, finished = state.log(job), state.finished(job)
    epochs = job.recipe.epochs if job.recipe else None
    rated = score_of(job.recipe.data) if job.recipe else None
    last = state.record(job) if finished else log[-1] if log else None
    score = rated.of(last, job.recipe.scored_on) if rated and job.recipe and last else None
    if job.failure is not None or finished:
        word, left = "failed" if job.failure else "finished", None
    else:
        word = "running" if state.begun(job) else "waiting"
        each = _epoch_seconds(state, job)
        left = each and epochs and each * (epochs - len(log))
    note = "; ".join(filter(None, (job.failure, *job.notes)))
    given = job.recipe.options.given() if job.recipe else {}
    options = ", ".join(f"{name} {value}" for name, value in given.items())
    return Row(job.name, options, word, len(log) if epochs else None, epochs, score, job.seconds, left, note)


def _epoch_seconds(state: State, job: Job) -> float | None:
    """Seconds of an epoch, everything included: its own, else the mean over runs that differ in seed alone."""
    siblings = [other for other in state.queue.jobs if job.recipe and other.kind == job.kind]
    for some in ([job], siblings):
        logs = [(other, state.log(other)) for other in some]
        done = sum(len(log) for _, log in logs)
        if done:
            return sum(max(other.seconds, float(log[-1]["seconds"])) for other, log in logs if log) / done
    return None
