"""Processor and CUDA devices, as torch sees them."""

import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch

from torchmg.doctor.finding import Finding
from torchmg.train.environment import processor

DRIVER = Path("/proc/driver/nvidia")
"""Where Linux tells of NVIDIA's driver, whatever torch makes of it."""


def devices() -> Iterator[Finding]:
    """The processor, then every CUDA device or the reason why there is none."""
    units = torch.backends.cpu.get_cpu_capability()
    threads = f"{usable_cores()} of {os.cpu_count()} cores usable, torch threads: {torch.get_num_threads()}"
    yield Finding("device", "cpu", "ok", f"{processor()}, {threads}, {units}")
    with warnings.catch_warnings(record=True) as caught:  # torch warns when it cannot start CUDA: that is the reason
        warnings.simplefilter("always")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not count:
        yield _no_cuda(caught)
    for index in range(count):
        yield Finding("device", f"cuda:{index}", "ok", _describe(index))


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def driver_version() -> str | None:
    """NVIDIA's driver, on Linux; None without one."""
    try:
        text = (DRIVER / "version").read_text()
    except OSError:
        return None
    match = re.search(r"Kernel Module.*?\s(\d+\.[\d.]+)", text)
    return match[1] if match else "of unknown version"


def _describe(index: int) -> str:
    properties = torch.cuda.get_device_properties(index)
    bf16 = "bf16" if properties.major >= 8 else "no bf16"
    memory = f"{properties.total_memory / 2**30:.0f} GiB"
    return f"{properties.name}, {memory}, {bf16}, driver {driver_version() or '?'}, CUDA {torch.version.cuda}"


def _no_cuda(caught: list[warnings.WarningMessage]) -> Finding:
    driver, built = driver_version(), torch.version.cuda
    if driver is None:
        return Finding("device", "cuda", "absent", "no NVIDIA driver")
    if built is None:
        advice = "This torch is a build for the CPU; install one for CUDA to use the device."
        return Finding("device", "cuda", "warning", f"driver {driver}, torch for the CPU", advice)
    reason = str(caught[0].message).partition("\n")[0] if caught else "torch sees no device (CUDA_VISIBLE_DEVICES?)"
    return Finding("device", "cuda", "warning", f"driver {driver}, CUDA {built} of torch does not start", reason)
