"""The queue at work: scripts, then runs, one after the other or several at once, until all is done or time is up.

The process that does this needs no torch. Runs train in workers, so that one that hangs or dies costs only itself.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

from torchmg.train.interrupt import InterruptRequest
from torchmg.train.queue.allowance import Allowance, allowance
from torchmg.train.queue.crew import GRACE, Crew, Worker
from torchmg.train.queue.jobs import Job, wanted
from torchmg.train.queue.messages import Done, Message, Train, Warned
from torchmg.train.queue.parallel import device_of, measure, threads_for
from torchmg.train.queue.scripts import run_script
from torchmg.train.queue.state import State

CRASHES = 2
"""A run whose process died this often has failed."""
SHORTEST = 0.5
"""Seconds before the deadline within which no run is started any more."""


class Ending(NamedTuple):
    """How a call of the queue ended."""

    interrupted: bool
    """By Ctrl-C or SIGTERM; everything is saved."""
    idle: bool
    """There were jobs, but the allowance was over before any of them could begin."""


class Manager:
    """One call of the queue.

    Args:
        state: its jobs are what there is to do.
        seconds: how long this may take from `started` on; None: until all jobs are done.
        started: reading of `time.monotonic()`; default now.
        parallel: runs at once, or `auto`: what is measured to be fastest on this device, once.
        threads: of each run that begins now; default all, shared by the runs at once.
        data_dir: as in `fit`.
        device: as in `fit`.
        quiet: no progress from the runs.
        say: told in a line what happens.
    """

    def __init__(
        self,
        state: State,
        *,
        seconds: float | None = None,
        started: float | None = None,
        parallel: int | Literal["auto"] = 1,
        threads: int | None = None,
        data_dir: Path | None = None,
        device: str = "auto",
        quiet: bool = False,
        say: Callable[[str], object] = lambda _: None,
    ) -> None:
        self.state, self.queue = state, state.queue
        self.parallel, self.threads = parallel, threads
        began = time.monotonic() if started is None else started
        self.time: Allowance = allowance(seconds, began, state.size(), self.queue.packing, self.queue.overrun)
        self.crew: Crew[Job] = Crew(device, data_dir, quiet)
        self._say = say
        self._worked = False

    def run(self) -> Ending:
        """Work until all is done, the allowance is over, or Ctrl-C; then pack the state.

        Raises:
            UsageError: the device does not exist.
        """
        self.state.save()
        interrupted = False
        try:
            with _termination_interrupts():
                try:
                    self._work()
                except KeyboardInterrupt:
                    interrupted = True
                    self._say("stopping ...")
                    self._interrupt()
        finally:
            self.crew.close()
        with InterruptRequest():  # a second Ctrl-C skips the packing: the parts of before stay
            self.state.publish()
            self.state.pack()
        jobs = self.state.open_jobs()
        began = self._worked and any(
            job.failure or self.state.finished(job) or self.state.begun(job) for job in self.queue.jobs
        )
        return Ending(interrupted, idle=bool(jobs) and not (began or interrupted))

    # ---- the order of things

    def _work(self) -> None:
        if not self.state.open_jobs() or time.monotonic() > self.time.deadline:
            return
        self.crew.grow(1, prefixed=self.parallel != 1, limit=self.time.limit)
        if not self.crew.idle():
            return
        ready = self.crew.idle()[0].ready
        assert ready is not None
        self.environment = ready.environment
        for job in self._wanted():
            if job.script is not None and not self._script(job, job.script):
                return
        self._train(self._number())

    def _wanted(self) -> list[Job]:
        jobs = self.state.open_jobs()
        return wanted(jobs, {job.name for job in jobs if self.state.begun(job)})

    def _number(self) -> int:
        """How many runs at once."""
        if isinstance(self.parallel, int):
            return self.parallel
        known, kind = self.queue.parallel, device_of(self.environment)
        jobs = self._wanted()
        if kind not in known and len(jobs) > 1:
            most = min(len(jobs), self.environment["threads"] if self.environment["device"] == "cpu" else 8)
            self._say(f"measuring how many runs at once are fastest, with {jobs[0].name} ...")
            known[kind] = measure(self.crew, jobs[0], self.environment, most, self.time.deadline)
            self._say(f"runs at once: {known[kind]['chosen']}  steps in a second {known[kind]['steps_per_second']}")
            self.state.save()
        return known[kind]["chosen"] if kind in known else 1

    # ---- scripts

    def _script(self, job: Job, script: str) -> bool:
        """Run a timing script; whether there is time left for more."""
        started = time.monotonic()
        if started > self.time.deadline:
            return False
        whole, self._worked = not self._worked, True
        self._say(f"{job.name}  python {script}")
        try:
            job.failure = run_script(script, self.state.folder(job), self.environment, self.time.limit)
        except TimeoutError:
            if whole:
                job.failure = f"it had the whole allowance, {time.monotonic() - started:.0f} s, and did not end"
            self._ended(job, started, "stopped")
            return False
        self._ended(job, started, "failed" if job.failure else "finished")
        return True

    # ---- runs

    def _train(self, number: int) -> None:
        while True:
            self._hand_out(number)
            if not self.crew.busy():
                return
            heard = list(self.crew.messages(self.time.limit))
            for worker, message in heard:
                self._hear(worker, message)
            if not heard:  # the limit: whoever has not stopped until now is killed
                self.queue.overrun = 2 * self.time.stopping
                for worker in self.crew.busy():
                    self._stopped(worker)
                    self.crew.dismiss(worker)
                return

    def _hand_out(self, number: int) -> None:
        """Give the most wanted jobs to workers, as many as may train at once."""
        if time.monotonic() > self.time.deadline - SHORTEST:
            return
        taken = [worker.busy for worker in self.crew.busy()]
        now = [job for job in self._wanted() if job not in taken][: number - len(taken)]
        self.crew.grow(len(taken) + len(now), prefixed=number > 1, limit=self.time.limit)
        for job in now:
            assert job.recipe is not None
            job.threads = job.threads or self.threads or threads_for(self.environment, number)
            self.state.save()
            if not (idle := self.crew.idle()):
                return
            task = Train(job.recipe, str(self.state.folder(job)), job.threads, self.time.deadline)
            self.crew.give(idle[0], task, job)
            self._worked = True

    def _hear(self, worker: Worker[Job], message: Message | None) -> None:
        job = worker.busy
        assert job is not None
        if isinstance(message, Warned):
            text = self._portable(message.text)
            self._say(f"{job.name}  warning: {text}")
            if message.exactness:
                job.notes.append(text)
            return
        if message is None:
            self._died(worker, job)
        elif isinstance(message, Done):
            if message.how == "failed":
                job.failure = self._portable(message.text)
            elif message.how == "stopped":
                late = time.monotonic() - self.time.deadline
                if late > 0:
                    self.queue.overrun = max(late, 0.8 * (self.queue.overrun or 0.0))
            worker.busy = None
            self._ended(job, worker.since, message.how)

    def _died(self, worker: Worker[Job], job: Job) -> None:
        worker.process.join()
        self.crew.dismiss(worker)
        job.crashes += 1
        died = f"its process died {job.crashes} times (exit code {worker.process.exitcode})"
        job.failure = died if job.crashes >= CRASHES else None
        self._ended(job, worker.since, "failed" if job.failure else "its process died; trying again")

    def _interrupt(self) -> None:
        """Let busy workers save and stop; those that do not in time are killed."""
        self.crew.interrupt()
        limit = min(self.time.limit, time.monotonic() + GRACE)
        try:
            while self.crew.busy() and (heard := list(self.crew.messages(limit))):
                for worker, message in heard:
                    if message is None:
                        self._stopped(worker)
                        self.crew.dismiss(worker)
                    else:
                        self._hear(worker, message)
        except KeyboardInterrupt:
            return

    def _stopped(self, worker: Worker[Job]) -> None:
        job, worker.busy = worker.busy, None
        assert job is not None
        self._ended(job, worker.since, "stopped")

    def _ended(self, job: Job, since: float, how: str) -> None:
        job.seconds = round(job.seconds + time.monotonic() - since, 1)
        self.state.save()
        if self.state.finished(job):
            self.state.publish()
        self._say(f"{job.name}  {how}" + (f": {job.failure}" if job.failure else ""))

    def _portable(self, text: str) -> str:
        """Without the state's own path, which holds here only."""
        return text.replace(f"{self.state.root}/", "")


@contextmanager
def _termination_interrupts() -> Iterator[None]:
    """While active, SIGTERM raises KeyboardInterrupt as SIGINT does; nothing outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for number in before:
            signal.signal(number, signal.default_int_handler)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
