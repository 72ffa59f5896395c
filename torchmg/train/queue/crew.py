"""The queue's side of its workers: start them, give them tasks, hear from them, stop them. No torch."""

import math
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Generic, TypeVar

from torchmg.errors import TorchmgError, UsageError
from torchmg.train.queue.messages import Done, Message, Ready, Task

# The server imports torch and lightning once for all workers.
CONTEXT = get_context("spawn" if sys.platform == "win32" else "forkserver")
if sys.platform != "win32":
    CONTEXT.set_forkserver_preload(["torchmg.train.queue.preload"])

GRACE = 60.0
"""Seconds that workers get to save after Ctrl-C, where no allowance sets an earlier end."""

T = TypeVar("T")


class Worker(Generic[T]):
    """A process that trains, and what it is doing: `busy` holds the caller's own word for it, or None."""

    def __init__(self, process: BaseProcess, calls: Connection) -> None:
        self.process, self.calls = process, calls
        self.ready: Ready | None = None
        self.busy: T | None = None
        self.since = 0.0

    def receive(self) -> Message | None:
        """The next message; None when the process has died."""
        try:
            return self.calls.recv()
        except (EOFError, ConnectionResetError):
            return None


class Crew(Generic[T]):
    """Workers on one device.

    Args:
        device: as in `fit`.
        data_dir: as in `fit`.
        quiet: no progress from the runs.
    """

    def __init__(self, device: str = "auto", data_dir: Path | None = None, quiet: bool = False) -> None:
        self.device, self.data_dir, self.quiet = device, data_dir, quiet
        self.workers: list[Worker[T]] = []

    def grow(self, number: int, prefixed: bool, limit: float = math.inf) -> None:
        """Start workers until there are `number`, and wait until all are ready, at the longest until `limit`.

        Raises:
            UsageError: the device does not exist.
            TorchmgError: a worker died before it was ready.
        """
        while len(self.workers) < number:
            ours, theirs = CONTEXT.Pipe()
            data_dir = None if self.data_dir is None else str(self.data_dir)
            # imported by name in the worker, so that this process need not load torch
            arguments = (theirs, self.device, data_dir, prefixed, self.quiet)
            process = CONTEXT.Process(target=_work, args=arguments, daemon=True)
            process.start()
            theirs.close()
            self.workers.append(Worker(process, ours))
        for worker in self.workers:
            if worker.ready is None and worker.calls.poll(_timeout(limit)):
                message = worker.receive()
                if isinstance(message, Done):
                    raise UsageError(message.text)
                if not isinstance(message, Ready):
                    raise TorchmgError(f"A worker process died while it started (exit code {_code(worker)}).")
                worker.ready = message

    def idle(self) -> list[Worker[T]]:
        """Workers with nothing to do."""
        return [worker for worker in self.workers if worker.busy is None and worker.ready is not None]

    def busy(self) -> list[Worker[T]]:
        """Workers at a task."""
        return [worker for worker in self.workers if worker.busy is not None]

    def give(self, worker: Worker[T], task: Task, busy: T) -> None:
        """Let a worker do `task`."""
        worker.busy, worker.since = busy, time.monotonic()
        with suppress(BrokenPipeError):  # it has died; `messages` says so
            worker.calls.send(task)

    def messages(self, limit: float = math.inf) -> Iterator[tuple[Worker[T], Message | None]]:
        """What busy workers say next, None from one that died; nothing when `limit` comes before."""
        workers = {worker.calls: worker for worker in self.busy()}
        for calls in wait(list(workers), _timeout(limit)):
            worker = workers[calls]  # pyright: ignore[reportArgumentType]
            yield worker, worker.receive()

    def interrupt(self) -> None:
        """Ask busy workers to save and stop."""
        for worker in self.busy():
            worker.process.terminate()

    def dismiss(self, worker: Worker[T]) -> None:
        """Remove a worker that has died, or kill it."""
        worker.process.kill()
        worker.process.join()
        worker.calls.close()
        self.workers.remove(worker)

    def close(self) -> None:
        """Remove all."""
        for worker in list(self.workers):
            self.dismiss(worker)


def _work(*arguments: object) -> None:
    from torchmg.train.queue.worker import work

    work(*arguments)  # pyright: ignore[reportArgumentType]


def _timeout(limit: float) -> float | None:
    return None if limit == math.inf else max(limit - time.monotonic(), 0.0)


def _code(worker: Worker[T]) -> int | None:
    worker.process.join(5)
    return worker.process.exitcode
