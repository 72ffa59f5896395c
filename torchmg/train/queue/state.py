"""The state folder of a queue, and how it moves. No torch.

`work/` is everything: `queue.json` and a folder for each job. `records/` holds copies of the finished jobs' records,
`parts/` the same as `work/` for travelling, less what nobody needs to go on. Copy `parts/` into an empty folder
anywhere and the queue goes on there; copy them back and it goes on here.
"""

import csv
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import Any

from torchmg.errors import CheckpointError, TorchmgError, UsageError
from torchmg.train.files import read_text, write_json
from torchmg.train.queue.jobs import Job, Queue
from torchmg.train.queue.parts import LIMIT, pack, read_index, unpack


class State:
    """A queue and its folder.

    Args:
        root: the state folder; made by the first `save`.
        limit: bytes of a part at most.
        say: told in a line when the parts are ahead and take the place of `work/`.

    Raises:
        CheckpointError: the state is damaged, or `parts/` and `work/` went on separately from the same point.
        UsageError: `root` holds something else.
    """

    def __init__(self, root: Path, limit: int = LIMIT, say: Callable[[str], object] = lambda _: None) -> None:
        self.root, self.limit = root, limit
        self.work, self.records, self.parts = root / "work", root / "records", root / "parts"
        self._check_root()
        self._restore(say)
        self.queue = self._read() or Queue()

    # ---- jobs

    def folder(self, job: Job) -> Path:
        """Where a job runs."""
        return self.work / job.name

    def finished(self, job: Job) -> bool:
        """Whether it has left its record."""
        return (self.folder(job) / "record.json").exists()

    def begun(self, job: Job) -> bool:
        """Whether there is a run to continue."""
        return (self.folder(job) / "config.json").exists()

    def record(self, job: Job) -> dict[str, Any]:
        """A finished job's record."""
        return _read_json(self.folder(job) / "record.json")

    def log(self, job: Job) -> list[dict[str, str]]:
        """A row for each finished epoch of a run."""
        path = self.folder(job) / "log.csv"
        if not path.exists():
            return []
        with path.open(newline="") as file:
            return list(csv.DictReader(file))

    def open_jobs(self) -> list[Job]:
        """Jobs that are neither finished nor failed."""
        return [job for job in self.queue.jobs if job.failure is None and not self.finished(job)]

    # ---- writing

    def save(self) -> None:
        """Write `queue.json`."""
        self.work.mkdir(parents=True, exist_ok=True)
        write_json(self.work / "queue.json", {"format": 1, **self.queue.to_json()})

    def publish(self) -> None:
        """Copy the records of finished jobs into `records/`."""
        self.records.mkdir(parents=True, exist_ok=True)
        for job in self.queue.jobs:
            source, copy = self.folder(job) / "record.json", self.records / f"{job.name}.json"
            if source.exists() and not (copy.exists() and copy.read_bytes() == source.read_bytes()):
                write_json(copy, self.record(job))

    def pack(self) -> None:
        """Write `parts/`: everything but half-written files and the checkpoints of finished runs."""
        started = time.monotonic()
        finished = {job.name for job in self.queue.jobs if self.finished(job)}

        def keep(name: str) -> bool:
            path = Path(name)
            return not path.name.startswith(".") and not (path.suffix == ".ckpt" and path.parts[0] in finished)

        self.queue.history.append(token_hex(4))
        self.save()
        pack(self.work, self.parts, self.queue.history, keep, self.limit)
        self.queue.packing = time.monotonic() - started
        self.save()

    def size(self) -> int:
        """Bytes in `work/`."""
        return sum(path.stat().st_size for path in self.work.rglob("*") if path.is_file())

    # ---- reading

    def _check_root(self) -> None:
        if not self.root.exists():
            return
        if not self.root.is_dir():
            raise UsageError(f"{self.root} is a file. Name a folder for the queue's state.")
        known = {"work", "records", "parts", "replaced"}
        if foreign := sorted(p.name for p in self.root.iterdir() if p.name not in known and p.name[0] != "."):
            raise UsageError(f"{self.root} is no queue's state folder: it holds {foreign[0]}. Name another one.")

    def _read(self) -> Queue | None:
        path = self.work / "queue.json"
        if not path.exists():
            return None
        try:
            return Queue.from_json(_read_json(path))
        except (KeyError, TypeError, TorchmgError) as error:
            raise CheckpointError(
                f"{path} is damaged ({error}). Move {self.work} away to go on from {self.parts}."
            ) from error

    def _restore(self, say: Callable[[str], object]) -> None:
        """Let the parts take the place of `work/` if they are ahead of it; what was there moves to `replaced/`."""
        index, here = read_index(self.parts), self._read()
        if index is None or (here and _continues(here.history, index["history"])):
            return
        if here and not _continues(index["history"], here.history):
            raise CheckpointError(
                f"{self.parts} and {self.work} went on separately from the same point. "
                f"Move {self.parts} away to go on with the work here, or {self.work} to go on with the parts."
            )
        if self.work.exists() and not here and any(self.work.iterdir()):
            raise CheckpointError(f"{self.work} has no queue.json. Move it away to go on from {self.parts}.")
        new, replaced = self.root / ".restoring", self.root / "replaced"
        shutil.rmtree(new, ignore_errors=True)
        try:
            unpack(self.parts, new)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise
        if self.work.exists():
            shutil.rmtree(replaced, ignore_errors=True)
            self.work.rename(replaced)
        new.rename(self.work)
        moved = f"; what was in {self.work} is in {replaced} now" if here else ""
        say(f"restored from {self.parts}{moved}")


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """While active, no other process can do the same for the same state folder, which is made if it is missing.

    Raises:
        CheckpointError: another process is at work on it, or the folder cannot be made.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = (root / ".lock").open("w")
    except OSError as error:
        raise CheckpointError(f"The state folder {root} cannot be used: {error.strerror}.") from error
    with lock:
        if sys.platform != "win32":
            import fcntl

            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise CheckpointError(
                    f"Another torchmg queue is at work on {root}. Look: torchmg queue {root} --show"
                ) from None
        yield


def _continues(history: Sequence[str], earlier: Sequence[str]) -> bool:
    """Whether `history` is `earlier`, or goes on from it."""
    return list(history[: len(earlier)]) == list(earlier)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(read_text(path))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: {error}.") from error
