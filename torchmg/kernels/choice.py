"""Which lowering computes a convolution on the CPU in float32: a pin, what was measured here, or a static default.

`TORCHMG_LOWERING` pins one of aten, matmul, native, and triton (on GPUs); what it cannot serve goes to aten.
`TORCHMG_CACHE` names the folder that keeps measurements (default: `torchmg` in the user's cache folder). Both are read
once, and a choice depends on nothing that changes while a process runs, so that a run repeats bit for bit.
"""

import json
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache, lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from torchmg.errors import UnknownNameError, did_you_mean
from torchmg.kernels import native
from torchmg.kernels.lowerings import serves
from torchmg.kernels.shape import LOWERINGS, PINS, Lowering, Pinned, Shape


@lru_cache(4096)
def choose(shape: Shape, *, threads: int, gradients: bool) -> Lowering:
    """The lowering for a convolution on the CPU in float32.

    Args:
        shape: its sizes.
        threads: that torch may use.
        gradients: whether they will be asked for; a lowering without them is then out of the question.

    Raises:
        UnknownNameError: `TORCHMG_LOWERING` is no lowering.
    """
    wanted = pin() or remembered().get(key(shape, threads, gradients)) or default(shape, threads, gradients)
    return wanted if wanted != "triton" and serves(wanted, shape, gradients=gradients) else "aten"


def default(shape: Shape, threads: int, gradients: bool) -> Lowering:
    """What is chosen where nothing was measured: rules from measurements on CPUs with AVX-512.

    torch's own kernels leave most of a vector unused below 16 channels in a group; the native ones leave unused what a
    small map or batch does not fill. Dense and depthwise convolutions are what torch's were made for. A grouped 1x1
    they send through a loop over groups when the batch is small and there is one thread.
    """
    if shape.groups == 1 or shape.group_size == 1:
        return "aten"
    if fills(shape) and serves("native", shape, gradients=gradients):
        return "native"
    loops = shape.pointwise and shape.group_size <= 16 and shape.images < 16 and threads == 1
    return "matmul" if loops else "aten"


LANES = 16
"""Floats of a vector that the rules reckon with: those of AVX-512, for narrower ones are filled more easily."""

LARGEST = 32
"""Channels of a group from which on torch's own kernels are as good as any."""


def fills(shape: Shape) -> bool:
    """Whether the native kernels compute little enough in vain, for the size of the groups, to be faster than torch's.

    Vectors lie along images, and then taps outside the map are left out, or along the pixels of a map padded by zeros:
    `work` is the better of both (`csrc/small_maps.h`), for each product that torch computes. What is done once for
    each group, such as packing its weights, costs as much as 105 pixels. The limits are measured ones.
    """
    if shape.pointwise:
        return shape.group_size <= LARGEST
    if shape.group_size < LARGEST // 2 and shape.group_size % 8 and shape.stride == 1:  # nothing that torch has fits
        return True
    if shape.group_size > 8 and shape.kernel_h * shape.kernel_w > 9:  # weights of a group beyond the first cache
        return False
    _, _, height, width = shape.outputs
    inside = _inside(shape.height, height, shape.kernel_h, shape.stride, shape.pad_h)
    inside *= _inside(shape.width, width, shape.kernel_w, shape.stride, shape.pad_w)
    work = -(-shape.images // LANES) * LANES / shape.images * inside
    padded = (shape.height + shape.pad_h) * (shape.width + shape.pad_w) / (shape.height * shape.width)
    if shape.stride > 1:  # its pixels are cut into phases one by one
        padded *= 1 + 2 * LANES * shape.stride**2 / (shape.group_size * shape.kernel_h * shape.kernel_w)
    if shape.group_size * max(shape.height * shape.width, height * width) * LANES > 2**17:  # beyond the cache
        work = padded
    work = min(work, padded) + 105 / (shape.images * height * width)
    limits = ((4, 3.0), (8, 1.9), (16, 1.09), (LARGEST, 0.93))
    return any(shape.group_size <= size and work <= limit for size, limit in limits)


def _inside(size: int, out: int, kernel: int, stride: int, pad: int) -> float:
    """The share of an axis' taps that are inside the map."""
    taps = (min(kernel, size + pad - q * stride) - max(0, pad - q * stride) for q in range(out))
    return sum(max(0, n) for n in taps) / (out * kernel)


def may_differ(in_group: int, out_group: int, kernel: tuple[int, int]) -> bool:
    """Whether any shape with these weights can get a lowering other than aten; for compilers, which see no batch."""
    if pin() is not None:
        return pin() == "native" or (pin() == "matmul" and kernel == (1, 1))
    return 1 < max(in_group, out_group) <= LARGEST


@contextmanager
def pinned(lowering: Pinned | None) -> Iterator[None]:
    """Within it `lowering` is pinned, whatever the environment says; None unpins."""
    global _override
    before, _override = _override, _Pin(lowering)
    choose.cache_clear()
    try:
        yield
    finally:
        _override = before
        choose.cache_clear()


class _Pin(NamedTuple):
    lowering: Pinned | None


_override: _Pin | None = None


def pin() -> Pinned | None:
    """The lowering that is pinned now, if any."""
    return _from_environment() if _override is None else _override.lowering


@cache
def _from_environment() -> Pinned | None:
    name = os.environ.get("TORCHMG_LOWERING", "")
    if not name:
        return None
    for lowering in PINS:
        if name == lowering:
            return lowering
    raise UnknownNameError(f"TORCHMG_LOWERING={name} is no lowering.{did_you_mean(name, PINS)}")


# What was measured here.


def cache_folder() -> Path:
    """Where measurements are kept: `TORCHMG_CACHE`, or `torchmg` in the user's cache folder."""
    if named := os.environ.get("TORCHMG_CACHE"):
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "torchmg"


def cache_file() -> Path:
    """The file of measured lowerings."""
    return cache_folder() / "lowerings.json"


@cache
def remembered() -> Mapping[str, Lowering]:
    """What `measure.remember` has kept for this machine: `key` -> lowering. A file that cannot be read is as none."""
    kept = read_all().get(machine(), {}) if cache_file().is_file() else {}
    return {key: name for key, name in kept.items() if name in LOWERINGS} if isinstance(kept, dict) else {}


def read_all() -> dict[str, Any]:
    """The file's contents, of all machines; empty when it cannot be read."""
    try:
        found = json.loads(cache_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def forget() -> None:
    """Read environment and file anew on the next choice."""
    _from_environment.cache_clear()
    remembered.cache_clear()
    choose.cache_clear()


def key(shape: Shape, threads: int, gradients: bool) -> str:
    """A measurement's name in the file."""
    return f"cpu float32 {threads} {'gradients' if gradients else 'forward'} {' '.join(map(str, shape))}"


def machine() -> str:
    """What a measurement holds for: the processor, the instruction set in use, and torch's version."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    except OSError:
        pass
    return f"{name}, {native.isa() or 'no native library'}, torch {version('torch')}"
