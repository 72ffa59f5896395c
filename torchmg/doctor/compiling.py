"""The native library, and what it and `torch.compile` need beyond torch."""

import os
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from torchmg.doctor.finding import Finding
from torchmg.doctor.packages import installed_version
from torchmg.kernels import native


def compiling() -> Iterator[Finding]:
    """The native library, the GPU kernels, and what `torch.compile` uses: a C++ compiler, Triton for CUDA."""
    yield native_kernels()
    yield gpu_kernels()
    yield _compiler()
    triton = installed_version("triton")
    missing = "torch.compile on CUDA and the GPU kernels need it; it comes with torch's CUDA builds for Linux."
    yield Finding("compile", "Triton", "ok" if triton else "absent", triton or "absent", "" if triton else missing)


def native_kernels() -> Finding:
    """The instruction set that fast grouped convolutions use, or why there is none."""
    if (used := native.isa()) is None:
        advice = f"{native.why_not()}. Without it everything works, but small groups are several times slower on CPUs."
        return Finding("compile", "native kernels", "absent", "none", advice)
    return Finding("compile", "native kernels", "ok", f"{used} (of {', '.join(native.isas())})")


def gpu_kernels() -> Finding:
    """Whether fast grouped convolutions on a GPU are there, or why not."""
    from torchmg.kernels.gpu.support import why_not  # these import torch, which may be what is broken
    from torchmg.kernels.gpu.tune import timing

    if reason := why_not():
        lost = "Without them everything works, but on a GPU small groups go to cuDNN, which is slow at them, unfused"
        advice = f"{reason[0].upper()}{reason[1:]}. {lost}."
        return Finding("compile", "GPU kernels", "absent", "none", advice)
    return Finding("compile", "GPU kernels", "ok", f"Triton, launches {'timed here' if timing() else 'by default'}")


def _compiler() -> Finding:
    wanted = os.environ.get("CXX") or next(filter(shutil.which, ("g++", "clang++", "c++", "cl")), None)
    if wanted is None or shutil.which(wanted) is None:
        advice = "Only torch.compile and the native kernels need one: install g++ or clang++" + (
            ", or correct CXX." if wanted else "."
        )
        return Finding("compile", "C++ compiler", "absent", f"no {wanted}" if wanted else "absent", advice)
    name = Path(wanted).name
    if (failure := _failure(wanted)) is not None:
        advice = f"{name} cannot compile a small program, so torch.compile will fail: {failure}"
        return Finding("compile", "C++ compiler", "warning", name, advice)
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        advice = "Python.h is missing, which torch.compile includes: install Python's development headers."
        return Finding("compile", "C++ compiler", "warning", f"{name}, no Python.h", advice)
    return Finding("compile", "C++ compiler", "ok", name)


def _failure(compiler: str) -> str | None:
    """The first line of what the compiler says against a small program; None when it takes it."""
    if Path(compiler).stem == "cl":  # takes no program from standard input
        return None
    program = "#include <vector>\nint main() { return std::vector<int>(3).size() == 3 ? 0 : 1; }\n"
    command = [compiler, "-x", "c++", "-fsyntax-only", "-"]
    try:
        done = subprocess.run(command, input=program, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        return type(error).__name__
    if done.returncode == 0:
        return None
    return next(iter(done.stderr.splitlines()), f"exit code {done.returncode}")
