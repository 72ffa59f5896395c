"""Settings that make a sound installation slow, each with the line that mends it."""

import os
from collections.abc import Iterator
from pathlib import Path

import torch

from torchmg.doctor.devices import DRIVER, usable_cores
from torchmg.doctor.finding import Finding

CGROUP = Path("/sys/fs/cgroup")
"""Where Linux tells of the limits of a container."""


def traps() -> Iterator[Finding]:
    """Only what applies here."""
    cores, asked = usable_cores(), os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdecimal() and int(asked) > cores:
        advice = f"More threads than cores wait for each other: OMP_NUM_THREADS={cores}"
        yield Finding("trap", "OMP_NUM_THREADS", "warning", f"{asked}, with {cores} cores", advice)
    limit = cpu_limit()
    if limit is not None and limit < torch.get_num_threads():
        advice = f"The group's limit throttles the threads beyond it: OMP_NUM_THREADS={max(1, int(limit))}"
        found = f"{limit:g} processors, torch uses {torch.get_num_threads()} threads"
        yield Finding("trap", "limit of the container", "warning", found, advice)
    there, seen = driver_devices(), torch.cuda.device_count()
    if there > 1 and seen == 1:
        advice = "The others are hidden from torch; CUDA_VISIBLE_DEVICES decides which are not."
        yield Finding("trap", "visible devices", "warning", f"1 of {there}", advice)


def cpu_limit() -> float | None:
    """Processors' worth of time that the control group grants, None where nothing says so (both versions of cgroup)."""
    try:
        if (unified := CGROUP / "cpu.max").is_file():
            quota, period = unified.read_text().split()
        else:
            quota, period = ((CGROUP / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        granted = float(quota) / float(period)  # "max" is no number, -1 no limit
    except (OSError, ValueError, ZeroDivisionError):
        return None
    return granted if granted > 0 else None


def driver_devices() -> int:
    """NVIDIA devices that the driver lists."""
    gpus = DRIVER / "gpus"
    return len(list(gpus.iterdir())) if gpus.is_dir() else 0
