"""The native library computes on torch's own threads where these are OpenMP's, and on its own elsewhere."""

import ctypes
import os
import subprocess
import sys

import pytest

from torchmg.kernels import native

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="threads are counted in /proc"),
    pytest.mark.skipif(not native.has("tmg_conv_forward"), reason="there is no native library"),
]

SCRIPT = """
import os
import torch
from torch.nn import functional as F
from torchmg.kernels.choice import pinned
from torchmg.kernels.op import grouped_conv

def threads():
    return len(os.listdir("/proc/self/task"))

def right():
    with pinned("native"):
        y = grouped_conv(x, weight, padding=(1, 1), groups=8)
    return torch.allclose(y, F.conv2d(x, weight, padding=1, groups=8), atol=1e-4)

torch.set_num_threads(2)
x, weight = torch.randn(8, 64, 20, 20), torch.randn(64, 8, 3, 3)
torch.randn(600, 600) @ torch.randn(600, 600)
F.conv2d(x, weight, padding=1, groups=8)
before = threads()
print(right(), threads() - before, flush=True)
"""
FORKED = """
child = os.fork()
if child == 0:
    with pinned("native"):
        y = grouped_conv(x, weight, padding=(1, 1), groups=8)
    torch.set_num_threads(1)  # with more torch waits forever for the parent's
    os._exit(0 if torch.isfinite(y).all() else 1)
assert os.waitpid(child, 0)[1] == 0
"""


def run(script: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        env={**os.environ, "OMP_NUM_THREADS": "2", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_no_thread_is_started_beside_those_of_torch() -> None:
    if not hasattr(ctypes.CDLL(None), "GOMP_parallel"):
        pytest.skip("torch has no OpenMP here")
    assert run(SCRIPT) == "True 0"


def test_where_openmp_gives_too_few_threads_there_are_others() -> None:
    assert run(SCRIPT, OMP_THREAD_LIMIT="1") == "True 1"


def test_a_forked_process_has_threads_of_its_own() -> None:
    assert run(SCRIPT + FORKED).startswith("True")
