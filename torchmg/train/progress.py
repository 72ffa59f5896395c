"""What a person sees of a run: a live line on a terminal, plain lines elsewhere. Nothing is computed here."""

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn

from torchmg.train.scores import SCORES, Score
from torchmg.train.tasks import Metrics

PLAIN_SECONDS = 30.0
"""Away from a terminal, the silence after which a line of progress is due."""


class Line:
    """A bar on standard error where that is a terminal, which `_live` draws; elsewhere plain lines now and then.

    Args:
        quiet: nothing at all.
        columns: what the bar shows besides a description, how much is done, and the time that is left.
    """

    def __init__(self, quiet: bool, *columns: ProgressColumn) -> None:
        self.console = Console(file=sys.stderr, quiet=quiet, highlight=False, soft_wrap=True)
        self._live = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            *columns,
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=quiet or not self.console.is_terminal,
        )
        self._spoken = time.monotonic()

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self._live.stop()

    def say(self, text: str) -> None:
        """Print one permanent line."""
        self._spoken = time.monotonic()
        self._live.console.print(text, markup=False)

    def due(self) -> bool:
        """Whether somebody should see progress now: always on a terminal, else every 30 seconds."""
        return not self._live.disable or time.monotonic() - self._spoken >= PLAIN_SECONDS


class ProgressLine(Line):
    """Reports one run on standard error; `quiet` reports nothing."""

    def __init__(self, epochs: int, quiet: bool = False, score: Score = SCORES["classify"]) -> None:
        super().__init__(quiet, TextColumn("{task.fields[numbers]}"))
        self.epochs, self.score = epochs, score
        self._task = self._live.add_task("", numbers="")

    def step(self, epoch: int, batch: int, batches: int, train: Metrics, rate: float) -> None:
        """Show where the epoch is."""
        numbers = f"loss {train.loss:.4f}  train {train.score:.2f} %  lr {rate:.4f}"
        head = f"epoch {epoch + 1:>3}/{self.epochs}"
        if self._live.disable:
            self.say(f"{head}  step {batch}/{batches}  {numbers}")
        else:
            self._live.update(self._task, description=head, completed=batch, total=batches, numbers=numbers)

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Print a finished epoch."""
        held = "holdout" if "holdout_loss" in row else "test"
        self.say(
            f"epoch {row['epoch']:>3}/{self.epochs}  lr {row['lr']:.4f}  "
            f"train {row['train_loss']:.4f} {self.score.of(row, 'train'):6.2f} %  "
            f"{held} {row[f'{held}_loss']:.4f} {self.score.of(row, held):6.2f} %  {row['seconds']:.1f} s"
        )
