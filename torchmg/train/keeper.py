"""What is kept of a run while it trains: its position, its sums, and its checkpoints."""

import math
import time
from typing import Any

from torchmg.errors import DivergedError
from torchmg.train.checkpoint import Checkpoint, Checkpointer, Progress, Trained, finite, rng_states
from torchmg.train.folder import RunFolder
from torchmg.train.ranks import Ranks
from torchmg.train.step import Step


class Keeper:
    """Takes in what steps measured, and stages and commits checkpoints; several processes do so together.

    Args:
        run: the run folder, which the first process writes.
        ranks: the processes.
        at: where the run is; kept up to date here.
        trained: what a checkpoint is made of.
        step: what measures.
        identity: recipe, environment, data hashes and the teacher's, as a checkpoint names them.

    Raises:
        DivergedError: from `collect`, `stage` and `check`: something is no longer finite; what was staged is dropped.
    """

    def __init__(
        self, run: RunFolder, ranks: Ranks, at: Progress, trained: Trained, step: Step, identity: dict[str, Any]
    ) -> None:
        self._run, self._ranks, self._at, self._trained, self._step = run, ranks, at, trained, step
        self._identity = identity
        self._files = Checkpointer(run.checkpoint) if ranks.first else None

    def collect(self, rate: float) -> None:
        """Add what was measured since the last time to the running epoch; `rate` is for the error's message."""
        sums = self._step.read()
        self.check(f"The loss became {sums[0]}", math.isfinite(sums[0]), rate)
        self._at.collect(sums)

    def stage(self, rate: float) -> float:
        """Write a checkpoint that `commit` puts in place; returns when, as `time.monotonic()` reads."""
        self.collect(rate)
        broken = self._ranks.any(not finite(self._trained.model))
        self.check("The weights or running statistics stopped being finite", not any(broken), rate)
        rng = self._ranks.gather(rng_states(self._ranks.rank))
        if self._files:
            self._files.stage(Checkpoint(self._at, **self._trained.states(), **self._identity, rng=rng))
        return time.monotonic()

    def commit(self) -> None:
        """Put the staged checkpoint, if any, in place."""
        if self._files:
            self._files.commit()

    def check(self, what: str, good: bool, rate: float) -> None:
        """Raise `DivergedError` with `what` happened, and drop the staged checkpoint, unless all is good."""
        if good:
            return
        if self._files:
            self._files.discard()
        at = self._at
        raise DivergedError(
            f"{what} at step {at.step} (epoch {at.epoch + 1}, batch {at.batch}), learning rate {rate:.6g}. "
            f"{self._run.checkpoint} is from before it. Train again with a lower lr or a longer warmup_epochs."
        )
