"""What a person sees: a live line on a terminal, plain lines elsewhere, nothing when quiet."""

import os
import pty
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from training_runs import assert_same_run, log, tiny_recipe

from torchmg.train import progress
from torchmg.train.loop import fit
from torchmg.train.progress import ProgressLine

pytestmark = pytest.mark.usefixtures("data")


@contextmanager
def terminal(patch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Standard error becomes a terminal; the list holds what was written, once the block is left."""
    patch.setenv("TERM", "xterm-256color")
    patch.setenv("COLUMNS", "120")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        patch.delenv(name, raising=False)
    master, slave = pty.openpty()
    written: list[str] = []

    def read() -> None:
        while True:
            try:
                chunk = os.read(master, 4096)
            except OSError:  # the other side is closed
                return
            if not chunk:
                return
            written.append(chunk.decode())

    reader = threading.Thread(target=read)
    reader.start()
    with patch.context() as inner, os.fdopen(slave, "w") as errors:
        inner.setattr(sys, "stderr", errors)
        yield written
    reader.join(10)
    os.close(master)


def test_on_a_terminal_a_line_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch) as written:
        run = fit(tiny_recipe(tmp_path), folder=tmp_path / "run")
    text = "".join(written)
    assert "\x1b[2K" in text  # lines are replaced
    assert "━" in text
    assert re.search(r"\d/5", text)
    assert "\x1b[?25h" in text.rpartition("\x1b[?25l")[2]  # the cursor comes back
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    for epoch in (1, 2):
        assert plain.count(f"epoch   {epoch}/2  lr ") == 1  # a line that stays
    assert_same_run(run.folder, fit(tiny_recipe(tmp_path), folder=tmp_path / "quiet", quiet=True).folder)


def test_no_color_is_respected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch) as written:
        monkeypatch.setenv("NO_COLOR", "1")
        fit(tiny_recipe(tmp_path), folder=tmp_path / "run")
    codes = re.findall(r"\x1b\[([0-9;]*)m", "".join(written))
    colours = {code for codes in codes for code in codes.split(";") if code and 30 <= int(code) <= 107}
    assert not colours


def test_elsewhere_lines_are_plain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    run = fit(tiny_recipe(tmp_path), folder=tmp_path / "run")
    out, text = capsys.readouterr()
    assert out == ""
    assert "\x1b" not in text
    assert "\r" not in text
    lines = text.splitlines()
    assert [line.split()[0] for line in lines] == "recipe model engine run epoch epoch measuring".split()
    assert "digits_tiny" in lines[0]
    assert "our settings" in lines[0]
    assert f"{run.record['parameters']:,}" in lines[1]
    assert str(run.folder) in lines[3]
    row = log(run.folder)[1]
    assert f"test {float(row['test_loss']):.4f}" in lines[5]
    assert f"{float(row['test_accuracy']):.2f} %" in lines[5]


def test_a_long_epoch_is_not_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "PLAIN_SECONDS", 0.0)
    fit(tiny_recipe(tmp_path, epochs=1), folder=tmp_path / "run")
    text = capsys.readouterr().err
    for step in range(1, 6):
        assert re.search(rf"epoch   1/1  step {step}/5  loss \d+\.\d+  train \d+\.\d+ %  lr 0\.\d+", text)


def test_quiet_is_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "PLAIN_SECONDS", 0.0)
    fit(tiny_recipe(tmp_path, precision="bf16"), folder=tmp_path / "run", quiet=True)
    assert capfd.readouterr() == ("", "")


def test_quiet_is_silent_on_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch) as written:
        fit(tiny_recipe(tmp_path), folder=tmp_path / "run", quiet=True)
    assert "".join(written) == ""


def test_markup_in_names_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressLine(1) as line:
        line.say("runs/[red]a[/red] 3/4")
    assert capsys.readouterr().err == "runs/[red]a[/red] 3/4\n"
