"""A process that builds a network, runs one pass, and prints by how many bytes it grew; see `torchmg.bench.memory`."""

import ctypes
import json
import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from torchmg.conversion.share import network

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"
"""What makes Linux forget the peak (proc(5))."""


def main(text: str) -> None:
    """Run what `torchmg.bench.memory.measured` ordered."""
    order: dict[str, Any] = json.loads(text)
    torch.set_num_threads(1)
    training = order["training"]
    model = network(order["spec"], **order["options"]).train(training)
    x = torch.randn(order["batch"], *order["input"])
    # One sample first, so that code and kernels are loaded; two where norms need more than one value.
    run(model, x[: 2 if training else 1], training)
    model.zero_grad(set_to_none=True)
    before = now_after_trimming()
    run(model, x, training)
    print(peak() - before)


def run(model: torch.nn.Module, x: torch.Tensor, training: bool) -> None:
    """One pass."""
    if training:
        model(x).sum().backward()
    else:
        with torch.no_grad():
            model(x)


def now_after_trimming() -> int:
    """Bytes in memory once freed memory has been given back; from here on the peak counts."""
    if not STATUS.is_file():
        return peak()
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
    CLEAR.write_text(RESET_PEAK)
    return _status("VmRSS")


def peak() -> int:
    """Bytes in memory at most: since the last call of `now_after_trimming` on Linux, elsewhere since the start."""
    if STATUS.is_file():
        return _status("VmHWM")
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _status(name: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return 1024 * int(line.split()[1])


if __name__ == "__main__":
    main(sys.argv[1])
