"""Several processes of one run on this machine, and what to say when one of them is lost."""

import logging
import os
import signal
import socket
import sys
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from multiprocessing.process import BaseProcess
from multiprocessing.queues import SimpleQueue
from typing import Any

import torch
from torch import multiprocessing as mp
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException, start_processes

from torchmg.errors import LostProcessError, TorchmgError
from torchmg.train.interrupt import InterruptRequest

LOOK_EVERY = 0.2
"""Seconds between two looks at whether somebody wants the processes to stop."""

GRACE = 20.0
"""Seconds that processes get to end by themselves once another one is lost."""


def launched() -> bool:
    """Whether this process is one of several that were started together, by `launch` or by torchrun."""
    return "LOCAL_RANK" in os.environ


def launch(function: Callable[..., Any], processes: int, *arguments: Any) -> Any:
    """Run `function(*arguments)` in that many processes at once; returns what the first one returns.

    Fabric finds its place among them in the environment, as under torchrun. Ctrl-C and termination are passed on and
    waited for. On a CPU the processes share the cores.

    Raises:
        TorchmgError: what the function raised, the first one's where several did.
        LostProcessError: a process was killed, or ended with another error.
    """
    results = mp.get_context("spawn").SimpleQueue()
    threads = max(1, torch.get_num_threads() // processes)
    given = (function, arguments, processes, _free_port(), threads, results)
    logging.getLogger(start_processes.__module__).setLevel(logging.ERROR)  # it reports what `failure` says better
    context = start_processes(_work, given, processes, join=False, start_method="spawn")
    assert context is not None
    workers: list[BaseProcess] = [process for process in context.processes if process is not None]
    failure, killed = "", False
    with InterruptRequest() as interrupt:
        asked = False
        try:
            while not context.join(LOOK_EVERY, GRACE):
                if interrupt.requested and not asked:
                    asked = True
                    _signal(context.pids(), signal.SIGTERM)
        except ProcessExitedException as error:
            killed = error.signal_name is not None
            how = f"was ended by {error.signal_name}" if killed else f"ended with code {error.exit_code}"
            failure = f"Process {error.error_index + 1} of {processes} {how}."
        except ProcessRaisedException as error:
            reason = str(error).strip().splitlines()[-1]
            failure = f"Process {error.error_index + 1} of {processes} failed: {reason}."
        finally:
            _signal([worker.pid for worker in workers if worker.is_alive()], signal.SIGKILL)
    if killed:
        raise LostProcessError(failure)
    answers: dict[int, Any] = {}
    while not results.empty():
        rank, kind, content = results.get()
        if kind is not None:
            raise kind.__new__(kind, content)  # not its constructor, which may want other arguments
        answers[rank] = content
    for index, worker in enumerate(workers):
        # who loses a partner fails too, and may have been noticed first; SIGTERM is what is sent to those left over
        if worker.exitcode is not None and worker.exitcode < 0 and worker.exitcode != -signal.SIGTERM:
            name = signal.Signals(-worker.exitcode).name
            raise LostProcessError(f"Process {index + 1} of {processes} was ended by {name}.")
    if failure:
        raise LostProcessError(failure)
    return answers[0]


def _work(
    rank: int,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    processes: int,
    port: int,
    threads: int,
    results: "SimpleQueue[tuple[int, type[TorchmgError] | None, Any]]",
) -> None:
    """What one of the processes does."""
    os.environ.update(
        LOCAL_RANK=str(rank), NODE_RANK="0", WORLD_SIZE=str(processes), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    torch.set_num_threads(threads)
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    if rank:
        warnings.simplefilter("ignore")  # the first process says it for all
    try:
        answer = function(*arguments)
    except TorchmgError as error:
        results.put((rank, type(error), str(error)))
        sys.exit(error.exit_code)
    results.put((rank, None, answer if rank == 0 else None))


def _signal(pids: Iterable[int | None], number: int) -> None:
    for pid in pids:
        assert pid is not None
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
