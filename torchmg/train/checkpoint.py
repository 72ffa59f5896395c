"""Checkpoints: everything that a run needs to go on as if it had never stopped.

A checkpoint is staged beside the last one and takes its place only when the step after it has had a finite loss, so
the file in place is always from before a divergence. The one whose place it takes is kept as `previous.ckpt`, in case
the disk damages the last. Writes are atomic, and a digest shows whether a file is as it was written. Files are read
with `weights_only=True`: nothing in them is ever executed.
"""

import io
import os
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple, Protocol

import torch
from torch import nn
from torch.optim import Optimizer

from torchmg.errors import CheckpointError
from torchmg.train.average import Average
from torchmg.train.files import write_atomic, writing
from torchmg.train.seal import read_sealed, write_sealed
from torchmg.train.tasks import Metrics

FORMAT = 3
PREVIOUS = "previous.ckpt"
"""The name of the checkpoint before the last."""


class Stateful(Protocol):
    """Anything whose state can be taken and put back."""

    def state_dict(self) -> dict[str, Any]:
        """The state as plain values and tensors."""
        ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Put a state back."""
        ...


@dataclass
class Progress:
    """Where a run is: `batch` batches of `epoch` are done, `step` in all; sums are over the running epoch."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    sums: list[float] = field(default_factory=list)
    """The task's, of the running epoch."""
    seconds: float = 0.0
    order: str = ""
    """Chained hash of all sample ids consumed so far."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """A row for every finished epoch, as in `log.csv`."""
    start: str = ""
    """Digest of the weights that the run started from, if its recipe names some; they are not read again."""

    def add(self, seconds: float) -> None:
        """Count one step."""
        self.batch += 1
        self.step += 1
        self.seconds += seconds

    def collect(self, sums: list[float]) -> None:
        """Take in what steps measured."""
        self.sums = [old + new for old, new in zip(self.sums or [0.0] * len(sums), sums, strict=True)]

    def close_epoch(self, rate: float, train: Metrics, test: Metrics, scored_on: str = "test") -> dict[str, Any]:
        """Append the finished epoch to the history and start the next; returns its row.

        Losses are means (the training loss with label smoothing and distillation, if any), scores percent. Training
        numbers are running means over augmented samples while the weights change. `scored_on` names the others.
        """
        row = {
            "epoch": self.epoch + 1,
            "step": self.step,
            "lr": rate,
            **train.values("train"),
            **test.values(scored_on),
            "seconds": round(self.seconds, 3),
        }
        self.history.append(row)
        self.epoch, self.batch, self.sums = self.epoch + 1, 0, []
        return row


@dataclass
class Checkpoint:
    """The contents of `last.ckpt`."""

    progress: Progress
    model: dict[str, Any]
    optimizer: dict[str, Any]
    average: dict[str, Any] | None
    """The moving average of the weights, if there is one."""
    scaler: dict[str, Any]
    """The loss scale of fp16; empty in other precisions."""
    recipe: dict[str, Any]
    environment: dict[str, Any]
    data: dict[str, str]
    """Hashes of the pixels and labels that the run is trained on."""
    rng: dict[str, torch.Tensor]
    """States of torch's generators, for models that draw numbers: `cpu` and `cuda`, of later processes `cpu.1` ..."""
    teacher: str = ""
    """Digest of the weights of the network that is imitated, if there is one."""


class Trained(NamedTuple):
    """The objects that training changes: what a checkpoint is made of and restored into."""

    model: nn.Module
    optimizer: Optimizer
    average: Average | None
    scaler: Stateful
    """Fabric's precision, which holds the loss scale."""

    def states(self) -> dict[str, Any]:
        """Those fields of a `Checkpoint`."""
        average = None if self.average is None else self.average.state_dict()
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": average,
            "scaler": self.scaler.state_dict(),
        }


class Checkpointer:
    """Stages and commits checkpoints of one run at `path`, and keeps the one before.

    Raises:
        CheckpointError: from every method, when the disk is full or does not allow it; those in place are intact.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._staged = path.with_name(f".{path.name}.staged")
        self.discard()

    def stage(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint beside the last one; `commit` makes it the last one."""
        packed = io.BytesIO()
        content = {f.name: getattr(checkpoint, f.name) for f in fields(checkpoint)}
        content["progress"] = asdict(checkpoint.progress)
        torch.save({"format": FORMAT, **content}, packed)
        write_atomic(self._staged, lambda new: write_sealed(new, packed.getbuffer()))

    def commit(self) -> None:
        """Put the staged checkpoint, if any, in place, and the one that was there in the place of the one before."""
        if self._staged.exists():
            if self.path.exists():
                before = self.path.with_name(PREVIOUS)
                with writing(before):
                    self.path.replace(before)
            # A kill here leaves the one before to continue from.
            with writing(self.path):
                self._staged.replace(self.path)

    def discard(self) -> None:
        """Drop the staged checkpoint: what follows from it is not finite."""
        with writing(self._staged):
            self._staged.unlink(missing_ok=True)


def read_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint at `path`, tensors on the CPU.

    Raises:
        CheckpointError: missing, damaged (to the last bit), of another format, or holding anything but tensors and
            plain values.
    """
    if not os.path.lexists(path):
        raise CheckpointError(f"There is no checkpoint {path}.")
    try:
        content = torch.load(io.BytesIO(read_sealed(path)), map_location="cpu", weights_only=True)
        if content.pop("format") != FORMAT:
            raise CheckpointError(f"{path} has another checkpoint format than this torchmg reads ({FORMAT}).")
        return Checkpoint(**{**content, "progress": Progress(**content["progress"])})
    except CheckpointError:
        raise
    except Exception as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        if isinstance(error, UnpicklingError):  # torch's own text recommends to read it unsafely
            reason = "it holds something else than tensors and plain values; nothing in it was executed"
        raise CheckpointError(f"{path} is damaged or is not a torchmg checkpoint ({reason}).") from error


def restore(checkpoint: Checkpoint, trained: Trained, where: Path, rank: int = 0) -> Progress:
    """Load weights, optimiser state, average and random state in place; returns where the run was.

    Raises:
        CheckpointError: the tensors do not fit this model.
    """
    try:
        trained.model.load_state_dict(checkpoint.model)
        trained.optimizer.load_state_dict(checkpoint.optimizer)
        trained.scaler.load_state_dict(checkpoint.scaler)
        if trained.average is not None:
            trained.average.load_state_dict(checkpoint.average or {})
        torch.set_rng_state(checkpoint.rng.get(_generator("cpu", rank), checkpoint.rng["cpu"]))
        if torch.cuda.is_available() and (state := checkpoint.rng.get(_generator("cuda", rank))) is not None:
            torch.cuda.set_rng_state(state)
    except (RuntimeError, ValueError, KeyError) as error:
        raise CheckpointError(f"{where} does not fit the model that its recipe names: {error}") from error
    return checkpoint.progress


def finite(model: nn.Module) -> bool:
    """Whether parameters and running statistics are finite; other buffers need not be (a mask may hold -inf)."""
    statistics = [value for name, value in model.named_buffers() if name.endswith(("running_mean", "running_var"))]
    return all(bool(value.isfinite().all()) for value in (*model.parameters(), *statistics))


def rng_states(rank: int = 0) -> dict[str, torch.Tensor]:
    """The generators' states of one process as `restore` puts them back."""
    states = {_generator("cpu", rank): torch.get_rng_state()}
    if torch.cuda.is_available():
        states[_generator("cuda", rank)] = torch.cuda.get_rng_state()
    return states


def _generator(kind: str, rank: int) -> str:
    return f"{kind}.{rank}" if rank else kind
