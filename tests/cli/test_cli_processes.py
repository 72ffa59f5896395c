"""The installed command in processes of its own: what it imports, pipes, terminals."""

import os
import pty
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

COMMAND = str(Path(sysconfig.get_path("scripts")) / "torchmg")
ENVIRONMENT = {key: value for key, value in os.environ.items() if key not in ("FORCE_COLOR", "NO_COLOR", "COLUMNS")}

NO_TORCH = """
import contextlib, io, sys

def loaded():
    return sorted({"torch", "torchvision", "lightning", "matplotlib", "sklearn"} & set(sys.modules))

import torchmg
assert not loaded(), "import torchmg"
import torchmg.train.recipe
assert not loaded(), "recipe"
from torchmg import cli
from torchmg.errors import TorchmgError

arguments = [["--help"], ["--version"], ["list"], ["list", "mgic_*", "--json"]]
arguments += [[name, "--help"] for commands in cli.COMMANDS.values() for name in commands]
arguments += [["train", "digits", "--help"], ["compare", "--data", "cifar10", "--help"]]
good = len(arguments)
arguments += [["lst"], ["info", "resnt20"], ["count", "resnt20"], ["train", "digts"], ["compare", "resnt20"]]
arguments += [["train", "digits", "--lr", "x"], ["train", "digits", "--epochs", "0"], ["count", "resnet20", "--x", "3"]]
arguments += [["train", "digits", "--model", "resnt20"], ["compare", "--data", "x"], ["list", "--sort", "x"]]
arguments += [["plot"], ["plot", "curv", "runs"], ["plot", "hierarchy", "resnt20"], ["doctor", "--x"]]
arguments += [["queue"], ["queue", "state", "digts"], ["queue", "state", "digits", "--lr", "x"]]
for words in arguments:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            code = cli.run(words)
        except TorchmgError as error:
            code = error.exit_code
        except SystemExit as end:
            code = end.code
    assert code == (0 if words in arguments[:good] else 2), (words, code)
    assert not loaded(), (words, loaded())
"""


def run(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, capture_output=True, text=True, env=ENVIRONMENT, timeout=120, **options)  # pyright: ignore


def test_names_help_and_mistakes_need_no_torch() -> None:
    done = run(sys.executable, "-c", NO_TORCH)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("arguments", [["--help"], ["list"]])
def test_the_installed_command_needs_no_torch(arguments: list[str]) -> None:
    done = run(sys.executable, "-X", "importtime", COMMAND, *arguments)
    assert done.returncode == 0
    imported = {line.rpartition("|")[2].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "torchmg" in imported
    assert not imported & {"torch", "torchvision", "lightning", "numpy", "matplotlib", "sklearn"}
    assert "mgic" in done.stdout or "compare" in done.stdout
    assert "\x1b" not in done.stdout
    assert "\r" not in done.stdout


def test_python_dash_m_is_the_same_command() -> None:
    assert run(sys.executable, "-m", "torchmg", "list").stdout == run(COMMAND, "list").stdout
    wrong = run(sys.executable, "-m", "torchmg", "lst")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("torchmg: Unknown command 'lst'")


@pytest.mark.parametrize("arguments", [["list"], ["--help"], ["list", "--json"], ["list", "--help"]])
def test_a_reader_that_has_had_enough(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)  # as `head -0` would
    try:
        done = subprocess.run(
            [COMMAND, *arguments], stdout=writer, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, timeout=60
        )
    finally:
        os.close(writer)
    assert done.stderr == ""
    assert done.returncode == 0


@pytest.mark.parametrize("arguments", [["list", "--help"], ["list"], ["list", "--sort", "x"]])
def test_no_color_on_a_terminal(arguments: list[str]) -> None:
    master, slave = pty.openpty()
    environment = {**ENVIRONMENT, "NO_COLOR": "1", "TERM": "xterm-256color"}
    process = subprocess.Popen([COMMAND, *arguments], stdout=slave, stderr=slave, env=environment)
    os.close(slave)
    written = b""
    while True:
        try:
            chunk = os.read(master, 4096)
        except OSError:  # the other side is closed
            break
        if not chunk:
            break
        written += chunk
    os.close(master)
    assert process.wait(60) == (2 if "x" in arguments else 0)
    text = written.decode()
    assert len(text) > 100
    colours = [code for codes in re.findall(r"\x1b\[([0-9;]*)m", text) for code in codes.split(";") if code]
    assert not [code for code in colours if 30 <= int(code) <= 107]
