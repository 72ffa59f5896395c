"""Compiling, loading, and what is said where either is not possible."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from torchmg.doctor.compiling import native_kernels
from torchmg.kernels import build as building
from torchmg.kernels import native
from torchmg.kernels.build import BuildError, build, find_compiler, instruction_sets, main

Patch = pytest.MonkeyPatch
ROOT = Path(__file__).resolve().parent.parent.parent


def compiler() -> str:
    try:
        return find_compiler()
    except BuildError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library with the baseline only, which is quick to compile."""
    return build(tmp_path_factory.mktemp("native") / "lib.so", compiler=compiler(), isas=["baseline"])


def ask(code: str, **environment: str) -> str:
    """What a fresh Python prints."""
    run = {**os.environ, **environment}
    code = f"from torchmg.kernels import native; {code}"
    done = subprocess.run([sys.executable, "-c", code], env=run, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_library_is_compiled_and_loaded_without_torch(library: Path) -> None:
    code = "import sys; print(native.isa(), native.isas(), native.why_not() or 'fine', 'torch' in sys.modules)"
    assert ask(code, TORCHMG_NATIVE=str(library), TORCHMG_ISA="") == "baseline ('baseline',) fine False"
    code = "print(native.use_isa('baseline'), native.use_isa('mmx'), native.isa())"
    assert ask(code, TORCHMG_NATIVE=str(library), TORCHMG_ISA="baseline") == "True False baseline"


def test_a_pin_that_does_not_hold_here(library: Path) -> None:
    said = ask("print(native.loaded(), native.why_not())", TORCHMG_NATIVE=str(library), TORCHMG_ISA="avx2")
    assert said == "None TORCHMG_ISA=avx2 cannot be used here; usable: baseline"


def test_libraries_that_are_absent_broken_or_of_another_version(tmp_path: Path) -> None:
    why = "print(native.loaded(), native.why_not(), native.isa(), native.isas(), native.use_isa('avx2'))"
    rest = "None () False"
    assert ask(why, TORCHMG_NATIVE="0") == f"None switched off by TORCHMG_NATIVE=0 {rest}"
    absent = tmp_path / "absent.so"
    assert ask(why, TORCHMG_NATIVE=str(absent)) == f"None TORCHMG_NATIVE names {absent}, which is not there {rest}"
    broken = tmp_path / "broken.so"
    broken.write_bytes(b"no library")
    assert "broken.so cannot be loaded" in ask(why, TORCHMG_NATIVE=str(broken))
    source = 'extern "C" int tmg_version() { return 99; }'
    names = ("tmg_isa", "tmg_isas", "tmg_use_isa")
    (tmp_path / "old.cpp").write_text(source + "".join(f' extern "C" int {name}() {{ return 0; }}' for name in names))
    old = tmp_path / "old.so"
    subprocess.run([compiler(), "-shared", "-fPIC", str(tmp_path / "old.cpp"), "-o", str(old)], check=True)
    assert f"old.so is of version 99, not {native.VERSION}; compile it again: python -m" in ask(
        why, TORCHMG_NATIVE=str(old)
    )


def test_without_a_compiler(monkeypatch: Patch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CXX", "/nonexistent/c++")
    with pytest.raises(BuildError, match=r"No C\+\+ compiler: tried /nonexistent/c\+\+. Correct CXX"):
        build(tmp_path / "lib.so")
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["--out", str(tmp_path / "lib.so")]) == 1
    assert "tried c++, g++, clang++. Install g++ or clang++, or set CXX." in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_what_a_compiler_says_is_passed_on(monkeypatch: Patch, tmp_path: Path) -> None:
    command = compiler()
    monkeypatch.setattr(building, "CSRC", tmp_path / "csrc")
    with pytest.raises(BuildError, match="No sources"):
        build(tmp_path / "lib.so", compiler=command)
    (tmp_path / "csrc").mkdir()
    (tmp_path / "csrc" / "wrong.cpp").write_text("int f( {\n")
    with pytest.raises(BuildError, match=r"failed on wrong\.cpp:\n.*error") as caught:
        build(tmp_path / "lib.so", compiler=command)
    assert "expected" in str(caught.value)
    for sets in ([], ["mmx"]):
        with pytest.raises(BuildError, match=r"cannot be compiled here\. Known: "):
            build(tmp_path / "lib.so", compiler=command, isas=sets)
    assert not (tmp_path / "lib.so").exists()


def test_sources_and_flags_of_each_kind(monkeypatch: Patch, tmp_path: Path) -> None:
    csrc = tmp_path / "csrc"
    csrc.mkdir()
    for name in ("isa.cpp", "train_isa.cpp", "pool.cpp"):
        (csrc / name).write_text("")
    lines: list[list[str]] = []

    def run(command: list[str]) -> None:
        lines.append(command)
        Path(command[-1]).write_bytes(b"")

    monkeypatch.setattr(building, "CSRC", csrc)
    monkeypatch.setattr(building, "_run", run)
    monkeypatch.setattr(building, "find_compiler", lambda wanted: wanted)  # none is called
    build(tmp_path / "lib.so", compiler="c++", sanitize="thread")
    compiled = sorted((Path(line[-3]).name, Path(line[-1]).name) for line in lines if "-c" in line)
    twice = [(f"{n}.cpp", f"{n}_{isa}.o") for n in ("isa", "train_isa") for isa in instruction_sets()]
    assert compiled == sorted([*twice, ("pool.cpp", "pool.o")])
    assert all({"-O3", "-fPIC", "-fsanitize=thread", "-fvisibility=hidden"} <= set(line) for line in lines)
    for line in lines:
        assert ("-mavx512f" in line) == line[-1].endswith("_avx512.o")
        assert ("-mavx2" in line) == line[-1].endswith(("_avx512.o", "_avx2.o"))
        assert ("-DTMG_ISA=avx2" in line) == line[-1].endswith("_avx2.o")


def test_other_machines_have_one_set() -> None:
    assert instruction_sets("aarch64") == instruction_sets("arm64") == ("baseline",)
    assert instruction_sets("x86_64") == instruction_sets("AMD64") == ("avx512", "avx2", "baseline")


def test_the_doctor_says_what_there_is_and_what_is_lost(monkeypatch: Patch) -> None:
    monkeypatch.setattr(native, "_loaded", lambda: (None, f"not compiled; with a C++ compiler: {native.REBUILD}"))
    found = native_kernels()
    assert (found.status, found.found) == ("absent", "none")
    assert "not compiled; with a C++ compiler: python -m torchmg.kernels.build" in found.advice
    assert "slower" in found.advice
    monkeypatch.setattr(native, "isa", lambda: "avx2")
    monkeypatch.setattr(native, "isas", lambda: ("avx512", "avx2"))
    found = native_kernels()
    assert (found.status, found.found) == ("ok", "avx2 (of avx512, avx2)")


@pytest.mark.network
@pytest.mark.parametrize("there", [True, False])
def test_a_wheel_holds_the_library_or_is_a_pure_one(there: bool, tmp_path: Path) -> None:
    if shutil.which("uv") is None:
        pytest.skip("uv builds the wheel")
    run = {**os.environ, "CXX": compiler() if there else "/nonexistent/c++"}
    command = ["uv", "build", "-v", "--wheel", "--out-dir", str(tmp_path), str(ROOT)]
    done = subprocess.run(command, cwd=tmp_path, env=run, capture_output=True, text=True, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert ("torchmg/kernels/_native.so" in zipfile.ZipFile(wheel).namelist()) == there
    assert wheel.name.endswith("-py3-none-any.whl") != there
    assert ("without native kernels" in done.stdout + done.stderr) != there
