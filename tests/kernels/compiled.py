"""Compiles what would be launched on a GPU, for an H100 or H200, where there is none.

`recording` catches every launch, so wrappers can be called with tensors on torch's "meta" device, which have sizes
only; `built` compiles one launch with Triton's own ptxas and reads off what it needs. Files `gpu_launches_*.py` beside
this one name calls to compile, in `CALLS`: pairs of a name and a function without arguments.
"""

import os
import re
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch import Tensor

SHARED = 227 * 1024
"""Bytes of shared memory that a program may have on an H100 or H200."""
TYPES = {
    torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16", torch.float64: "fp64", torch.int32: "i32",
    torch.int64: "i64", torch.bool: "i1", torch.uint8: "u8", torch.int8: "i8",
}  # fmt: skip


class Launch(NamedTuple):
    """A kernel, its arguments by name, and how it is launched."""

    kernel: Any
    arguments: dict[str, Any]
    warps: int
    stages: int
    grid: tuple[int, ...]


class Built(NamedTuple):
    """What ptxas made of it."""

    registers: int
    stack: int
    """Bytes that a thread spills."""
    shared: int
    """Bytes of a program."""
    tensor_cores: bool
    wide: bool
    """Whether it reads 16 bytes at a time."""


@contextmanager
def recording() -> Iterator[list[Launch]]:
    """Catch launches in place of running them."""
    from triton.runtime.jit import JITFunction

    found: list[Launch] = []

    def run(self: Any, *args: Any, grid: Any, warmup: bool = False, **kwargs: Any) -> None:
        warps, stages = kwargs.pop("num_warps", 4), kwargs.pop("num_stages", 3)
        kwargs.pop("launch_cooperative_grid", None)
        bound = self.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        found.append(Launch(self, dict(bound.arguments), warps, stages, grid))

    with mock.patch.object(JITFunction, "run", run):
        yield found


def built(launch: Launch) -> Built:
    """Compile one launch as the driver would: constants and None folded, multiples of 16 known as such."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    signature: dict[str, str] = {}
    constants: dict[str, Any] = {}
    known: dict[tuple[int, ...], list[list[Any]]] = {}
    for place, parameter in enumerate(launch.kernel.params):
        value = launch.arguments[parameter.name]
        if parameter.is_constexpr or value is None or (isinstance(value, int) and value == 1):
            signature[parameter.name], constants[parameter.name] = "constexpr", value
            continue
        signature[parameter.name] = _type(value)
        if isinstance(value, Tensor) or (isinstance(value, int) and value % 16 == 0):
            known[place,] = [["tt.divisibility", 16]]
    source: Any = ASTSource(fn=launch.kernel, signature=signature, constexprs=constants, attrs=known)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = {"num_warps": launch.warps, "num_stages": launch.stages}
        done: Any = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    registers, stack = _usage(done.asm["cubin"], Path(triton.__file__).parent)
    ptx = done.asm["ptx"]
    wide = any(".v4" in load or "0x10" in load for load in re.findall(r"(?:ld\.global|cp\.async\.c[ag])\S*.*", ptx))
    return Built(registers, stack, done.metadata.shared, "wgmma" in ptx or "mma.sync" in ptx, wide)


def _type(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"*{TYPES[value.dtype]}"
    if isinstance(value, bool):
        return "i1"
    return ("i32" if -(2**31) <= value < 2**31 else "i64") if isinstance(value, int) else "fp32"


def _usage(cubin: bytes, package: Path) -> tuple[int, int]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(cubin)
        tool = os.fspath(package / "backends/nvidia/bin/cuobjdump")
        text = subprocess.run([tool, "-res-usage", os.fspath(path)], capture_output=True, text=True, check=True)
    found = re.search(r"REG:(\d+) STACK:(\d+) SHARED:\d+ LOCAL:(\d+)", text.stdout + text.stderr)
    assert found, text
    return int(found[1]), int(found[2]) + int(found[3])
