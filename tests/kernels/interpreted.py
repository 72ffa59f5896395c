"""Runs cases of Triton kernels: in the interpreter on the CPU, or on a GPU, each in a process of its own.

Triton reads `TRITON_INTERPRET` when kernels are first imported, so a process interprets all of them or none. Cases are
functions `case_*` in files `gpu_cases_*.py`, which pytest does not collect by itself: `run_cases` has it do so. Their
tensors come from `guarded` and results from `poisoned`, so that whatever is read or written beyond shows as NaN.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor

GUARD = 512
"""Numbers of NaN before and after each tensor."""


def run_cases(name: str, *, interpret: bool = True, slow: bool = False) -> None:
    """Run the cases of a file beside this one, those marked `slow` or the others; fails with what pytest printed.

    They are `interpret`ed, or else all run on the GPU.
    """
    pytest.importorskip("triton")
    here = Path(__file__).parent
    settings = ["python_files=gpu_cases_*.py", "python_functions=case_*", "addopts="]
    options = [part for setting in settings for part in ("-o", setting)]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-W", "ignore", "-p", "no:cacheprovider", "-p", "no:xdist"]
    options += ["-m", f"not gpu and {'' if slow else 'not '}slow"] if interpret else []
    env = {**os.environ, "TRITON_INTERPRET": str(int(interpret)), "TORCHMG_TUNE": "0", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, *options, str(here / f"{name}.py")], env=env, cwd=here.parents[1], capture_output=True, text=True
    )
    if done.returncode:
        pytest.fail(f"{done.stdout[-6000:]}\n{done.stderr[-2000:]}", pytrace=False)


def device() -> torch.device:
    """Where cases run: on the CPU when interpreted."""
    return torch.device("cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda")


def guarded(x: Tensor) -> Tensor:
    """A copy on `device`, channels-last where it has four axes, between NaN."""
    copy = _between(tuple(x.shape), x.dtype, device())
    return copy.copy_(x)


@contextmanager
def poisoned() -> Iterator[list[Tensor]]:
    """Results that kernels allocate are NaN at first, and nothing may be written before or after them."""
    made: list[Tensor] = []

    def empty(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
        found = _between(shape, dtype, device)
        made.append(found)
        return found

    with mock.patch("torchmg.kernels.gpu.tiles.empty", empty):
        yield made
    for result in made:
        whole = torch.as_strided(result, (result.numel() + 2 * GUARD,), (1,), 0)
        assert whole[:GUARD].isnan().all()
        assert whole[-GUARD:].isnan().all()


def _between(shape: tuple[int, ...], dtype: torch.dtype, where: torch.device) -> Tensor:
    flat = torch.full((prod(shape) + 2 * GUARD,), float("nan"), dtype=dtype, device=where)[GUARD:-GUARD]
    if len(shape) != 4:
        return flat.view(shape)
    images, channels, height, width = shape
    return flat.view(images, height, width, channels).permute(0, 3, 1, 2)


def spacing(dtype: torch.dtype) -> float:
    """The relative error of rounding to a type, at most."""
    return torch.finfo(dtype).eps


def choose(options: list[Any], number: int) -> Any:
    """One of them, all in turn."""
    return options[number % len(options)]
