"""Compiles the native library from `csrc` with nothing but a C++ compiler; `python -m torchmg.kernels.build`.

Files named `isa.cpp` are compiled once for each instruction set, with `TMG_ISA` naming it; all others once, with
`TMG_HAVE_AVX512` and the like telling which sets there are. The result is one shared library with a plain C interface,
so that one build serves every torch. Imports no torch and nothing from outside the standard library.
"""

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from torchmg.errors import TorchmgError

CSRC = Path(__file__).parent / "csrc"
LIBRARY = Path(__file__).parent / "_native.so"
"""Where the wheel has the library, and an editable installation puts it."""

FLAGS = """
    -std=c++17 -O3 -fPIC -pthread -ffp-contract=fast -fno-math-errno -fno-trapping-math -fvisibility=hidden -Wno-psabi
""".split()
"""No `-ffast-math`: infinities, NaN and the order of sums are what the source says."""

X86 = {
    "avx512": "-mavx512f -mavx512dq -mavx512vl -mavx512bw -mfma -mavx2".split(),
    "avx2": "-mavx2 -mfma".split(),
    "baseline": [],
}
"""Instruction sets of x86-64, best first. Other machines have the baseline only, NEON on aarch64."""

COMPILERS = ("c++", "g++", "clang++")


class BuildError(TorchmgError):
    """The native library could not be compiled; the message says what was tried."""


def find_compiler(wanted: str | None = None) -> str:
    """The first compiler there is of: `wanted`, or else `$CXX`, c++, g++, clang++.

    Raises:
        BuildError: none of them is there. A compiler that was asked for is not replaced by another.
    """
    named = wanted or os.environ.get("CXX")
    tried = [named] if named else COMPILERS
    for name in tried:
        if shutil.which(name.split()[0]):
            return name
    advice = "Correct CXX, or unset it." if named and not wanted else "Install g++ or clang++, or set CXX."
    raise BuildError(f"No C++ compiler: tried {', '.join(tried)}. {advice}")


def instruction_sets(machine: str | None = None) -> tuple[str, ...]:
    """What is compiled for `machine` (default: this one), best first."""
    x86 = (machine or platform.machine()).lower() in {"x86_64", "amd64"}
    return tuple(X86) if x86 else ("baseline",)


def build(
    out: Path,
    *,
    compiler: str | None = None,
    isas: Sequence[str] | None = None,
    sanitize: str | None = None,
) -> Path:
    """Compile the library and put it at `out`, in one step, so that whoever has loaded the old one keeps it.

    Args:
        out: the file to write; its folder is made.
        compiler: a command; default as in `find_compiler`.
        isas: instruction sets to compile, of `instruction_sets()`; default all of them.
        sanitize: as `-fsanitize=` takes it, such as "address,undefined" or "thread"; adds debug information.

    Raises:
        BuildError: no compiler, no sources, an unknown instruction set, or what the compiler said.
    """
    command = find_compiler(compiler).split()
    here = instruction_sets()
    chosen = tuple(here if isas is None else isas)
    if unknown := [isa for isa in chosen if isa not in here] or ([] if chosen else ["none"]):
        raise BuildError(f"Instruction set {', '.join(unknown)} cannot be compiled here. Known: {', '.join(here)}.")
    flags = FLAGS + (["-g", "-fno-omit-frame-pointer", f"-fsanitize={sanitize}"] if sanitize else [])
    have = [f"-DTMG_HAVE_{isa.upper()}=1" for isa in chosen]
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        jobs = []
        for source in sorted(CSRC.glob("*.cpp")):
            if "isa" in source.stem.split("_"):
                jobs += [(source, [*X86[isa], *have, f"-DTMG_ISA={isa}"], f"{source.stem}_{isa}.o") for isa in chosen]
            else:
                jobs.append((source, have, f"{source.stem}.o"))
        if not jobs:
            raise BuildError(f"No sources in {CSRC}: this installation came without them.")
        objects = [str(Path(folder) / name) for _, _, name in jobs]
        lines = [
            [*command, *flags, *extra, "-c", str(source), "-o", target]
            for (source, extra, _), target in zip(jobs, objects, strict=True)
        ]
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            list(pool.map(_run, lines))
        made = Path(folder) / out.name
        _run([*command, *flags, "-shared", *objects, "-o", str(made)])
        beside = out.with_name(f".{out.name}.{os.getpid()}")  # a rename is one step only within one file system
        shutil.copyfile(made, beside)
        beside.chmod(0o755)
        beside.replace(out)
    return out


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise BuildError(f"{command[0]} does not start: {error}.") from None
    if done.returncode:
        said = "\n".join((done.stderr or done.stdout).splitlines()[:20]) or f"exit code {done.returncode}"
        raise BuildError(f"{command[0]} failed on {Path(command[-3]).name}:\n{said}")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: build in place, or wherever `--out` says."""
    parser = argparse.ArgumentParser(prog="python -m torchmg.kernels.build", description="Compile the native library.")
    parser.add_argument("--out", type=Path, default=LIBRARY, help="file to write (default: within the package)")
    parser.add_argument("--compiler", help="C++ compiler (default: $CXX, c++, g++, clang++)")
    parser.add_argument("--isa", nargs="+", choices=instruction_sets(), help="instruction sets (default: all)")
    parser.add_argument("--sanitize", help="for -fsanitize=, such as address,undefined")
    read = parser.parse_args(arguments)
    try:
        print(build(read.out, compiler=read.compiler, isas=read.isa, sanitize=read.sanitize))
    except BuildError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
