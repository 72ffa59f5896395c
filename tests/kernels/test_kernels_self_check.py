"""The kernels compiled for other machines and under sanitizers, checked by a program of their own in C++."""

import shutil
import subprocess
from pathlib import Path

import pytest

from torchmg.kernels.build import CSRC, FLAGS, X86, find_compiler, instruction_sets

SOURCE = Path(__file__).with_name("self_check.cpp")


def check(folder: Path, compiler: str, isas: tuple[str, ...], *extra: str, run: tuple[str, ...] = ()) -> str:
    """Compile the kernels with the self-check into one program, run it, and give what it prints."""
    flags = [flag for flag in FLAGS if flag not in {"-O3", "-fPIC"}] + ["-O1", f"-I{CSRC}", *extra]
    objects = []
    for isa in isas:
        objects.append(str(folder / f"{isa}.o"))
        tuned = X86[isa] if len(isas) > 1 else []
        command = [compiler, *flags, *tuned, f"-DTMG_ISA={isa}", "-c", str(CSRC / "isa.cpp"), "-o", objects[-1]]
        subprocess.run(command, check=True, capture_output=True)
    sources = [str(path) for path in sorted(CSRC.glob("*.cpp")) if path.name != "isa.cpp"]
    program = folder / "self_check"
    command = [compiler, *flags, *sources, str(SOURCE), *objects, "-o", str(program)]
    subprocess.run(command, check=True, capture_output=True)
    done = subprocess.run([*run, str(program)], capture_output=True, text=True, check=False, timeout=250)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_the_kernels_are_clean_under_sanitizers(tmp_path: Path, sanitizer: str) -> None:
    if not shutil.which("g++") and not shutil.which("clang++"):
        pytest.skip("no compiler")
    flags = [f"-fsanitize={sanitizer}", "-fno-sanitize-recover", "-g1"]
    assert "baseline" in check(tmp_path, find_compiler(), instruction_sets(), *flags)


@pytest.mark.slow
def test_the_kernels_are_right_on_aarch64(tmp_path: Path) -> None:
    compiler, machine = "aarch64-linux-gnu-g++", "qemu-aarch64"
    if not shutil.which(compiler) or not shutil.which(machine):
        pytest.skip(f"needs {compiler} and {machine} (Debian: g++-aarch64-linux-gnu, qemu-user)")
    assert check(tmp_path, compiler, ("baseline",), "-static", run=(machine,)).startswith("baseline")
