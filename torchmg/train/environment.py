"""What a run ran on: versions, device, threads; and what of it decides whether a run can be continued bit for bit."""

import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import torchmg

EXACT = ("torch", "device", "processor", "threads", "vector_units", "processes")
"""Keys that must agree for a continued run to equal the unbroken one bit for bit."""


def environment(device: torch.device, processes: int = 1) -> dict[str, Any]:
    """Versions, device, processes and date as plain values, without names of machines, users or folders."""
    return {
        "torchmg": torchmg.__version__,
        "torch": str(torch.__version__),  # a plain str: `weights_only` loading refuses its subclass
        "lightning": _version("lightning"),
        "numpy": _version("numpy"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "processor": processor(),
        "vector_units": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "processes": processes,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }


def differences(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What differs between two environments among the things that decide the last bits."""
    then, now = {"processes": 1, **then}, {"processes": 1, **now}
    return [f"{key} was {then.get(key)!r}, is {now.get(key)!r}" for key in EXACT if then.get(key) != now.get(key)]


def processor() -> str:
    """The processor's model name as the system gives it."""
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
