"""What README.md shows is what happens."""

import re
from pathlib import Path

import pytest

import results

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def test_the_python_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "MGIC hierarchy: 2 levels" in printed
    assert "310,330" in printed
    assert list((tmp_path / "runs").glob("*/record.json"))


def test_the_tables_are_what_the_records_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["results.py", "--check"])
    assert results.main() == 0


def test_every_file_that_is_linked_exists() -> None:
    for target in re.findall(r"\]\(([^)#]+)", README):
        assert (ROOT / target).exists(), target


def test_every_command_in_the_table_is_one() -> None:
    from torchmg.cli import COMMANDS

    known = {name for commands in COMMANDS.values() for name in commands}
    used = set(re.findall(r"`torchmg ([a-z]+)", README))
    assert used <= known
    assert known <= used
