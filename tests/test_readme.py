"""What README.md shows is what happens."""

import importlib.util
import re
from pathlib import Path

import pytest

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
    spec = importlib.util.spec_from_file_location("results", ROOT / "tools" / "results.py")
    assert spec is not None
    assert spec.loader is not None
    results = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(results)
    monkeypatch.setattr("sys.argv", ["results.py", "--check"])
    assert results.main() == 0
    assert results.updated(README, "") != README


def test_every_file_that_is_linked_exists() -> None:
    for target in re.findall(r"\]\(([^)#]+)", README):
        assert (ROOT / target).exists(), target


def test_every_command_in_the_table_is_one() -> None:
    from torchmg.cli import COMMANDS

    known = {name for commands in COMMANDS.values() for name in commands}
    used = set(re.findall(r"`torchmg ([a-z]+)", README))
    assert used <= known
    assert known <= used
