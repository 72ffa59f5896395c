"""The process that trains: one task at a time, data sets loaded once. The only part of the queue that needs torch."""

import io
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from dataclasses import replace
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TextIO

import torch

from torchmg.data.sets import loaded_once
from torchmg.errors import ExactnessWarning, InterruptedRunError, TorchmgError
from torchmg.train.checkpoint import read_checkpoint
from torchmg.train.engine import pick_device
from torchmg.train.environment import environment
from torchmg.train.loop import fit
from torchmg.train.queue.messages import Done, Measure, Ready, Task, Train, Warned

ENDLESS = 10**6
"""Epochs of a run that is measured."""


def work(calls: Connection, device: str, data_dir: str | None, prefixed: bool, quiet: bool) -> None:
    """Do the tasks that come over `calls` until it is closed, or the process is told to stop.

    Args:
        calls: tasks come in, messages go out.
        device: as in `fit`.
        data_dir: as in `fit`.
        prefixed: whether lines on standard error begin with the run's name, as several workers share it.
        quiet: no progress.
    """
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    errors = sys.stderr
    try:
        calls.send(_ready(device))
        with loaded_once():
            while True:
                task: Task = calls.recv()
                name = Path(task.folder).name if isinstance(task, Train) else "measuring"
                sys.stderr = Prefixed(errors, name) if prefixed else errors
                calls.send(_perform(task, calls, device=device, data_dir=data_dir, quiet=quiet))
    except (EOFError, BrokenPipeError, ConnectionResetError, KeyboardInterrupt):
        return


def _ready(device: str) -> Ready | Done:
    try:
        return Ready(environment(pick_device(device)))
    except TorchmgError as error:
        return Done("failed", str(error))


def _perform(task: Task, calls: Connection, **where: Any) -> Done:
    """Do one task; whatever happens in it becomes a message."""

    def warned(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
        calls.send(Warned(str(message), issubclass(category, ExactnessWarning)))

    torch.set_num_threads(task.threads)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", ExactnessWarning)
            warnings.showwarning = warned
            if isinstance(task, Measure):
                return Done("finished", steps_per_second=_measure(task, **where))
            fit(task.recipe, folder=task.folder, deadline=task.deadline, **where)
            return Done("finished")
    except (InterruptedRunError, KeyboardInterrupt):
        return Done("stopped")
    except TorchmgError as error:
        return Done("failed", str(error))
    except Exception as error:
        traceback.print_exc()
        return Done("failed", f"{type(error).__name__}: {error}".partition("\n")[0])


def _measure(task: Measure, **where: Any) -> float:
    """Optimiser steps in a second, while nothing else of a run is done."""
    recipe = replace(task.recipe, epochs=ENDLESS)
    with TemporaryDirectory() as folder:
        try:
            fit(recipe, folder=folder, deadline=time.monotonic() + task.seconds, **{**where, "quiet": True})
        except InterruptedRunError:
            progress = read_checkpoint(Path(folder) / "last.ckpt").progress
            return progress.step / progress.seconds if progress.step else 0.0
    raise AssertionError("an endless run has ended")


def _leave_with_parent() -> None:
    """Die at once when the parent has: nobody may write where its successor does. Checkpoints stand a kill."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


class Prefixed(io.TextIOBase):
    """A stream whose every line begins with a name."""

    def __init__(self, stream: TextIO, name: str) -> None:
        self._stream, self._name, self._line = stream, name, ""

    def write(self, text: str) -> int:
        """Pass whole lines on, keep the rest of the last."""
        *lines, self._line = (self._line + text).split("\n")
        if lines:
            self._stream.write("".join(f"{self._name}  {line}\n" for line in lines))
            self._stream.flush()
        return len(text)
