"""`torchmg plot` from the arguments to the files."""

import csv
import json
from pathlib import Path

import pytest

from torchmg import cli
from torchmg.errors import MissingExtraError, UnknownNameError, UsageError
from torchmg.plot.picture import Picture
from torchmg.tables import Table


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_hierarchy_of_a_model_with_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run("plot hierarchy mgic_resnet20 --group-size 4 --coarsest 8 --json".split()) == 0
    read = json.loads(capsys.readouterr().out)
    assert read["files"] == [f"hierarchy_mgic_resnet20.{ending}" for ending in ("png", "svg", "csv")]
    assert [(row["channels"], row["groups"]) for row in read["rows"]] == [(64, 16), (32, 8), (16, 4), (8, 1)]
    with Path("hierarchy_mgic_resnet20.csv").open() as file:
        assert [int(row["relax"]) for row in csv.DictReader(file)] == [row["relax"] for row in read["rows"]]
    assert cli.run("plot hierarchy mgic_resnet20 --module stages.1.1 --out h".split()) == 0
    assert capsys.readouterr().out.splitlines()[1:] == ["h.png", "h.svg", "h.csv"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("curves a b --out c", ((Path("a"), Path("b")), Path("c"))),
        ("tradeoff a", ((Path("a"),), Path("tradeoff"), "parameters")),
        ("tradeoff a --x macs", ((Path("a"),), Path("tradeoff"), "macs")),
    ],
)
def test_arguments_reach_the_function_and_names_and_notes_are_printed(
    words: str, expected: tuple, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    received = []
    picture = Picture((Path("a.png"), Path("a.csv")), Table(["n"], [(1,)], "title", "note"))
    kind = words.split()[0]
    monkeypatch.setattr(f"torchmg.plot.{kind}", lambda *arguments: (received.append(arguments), picture)[1])
    assert cli.run(["plot", *words.split()]) == 0
    assert received == [expected]
    assert capsys.readouterr().out == "title\na.png\na.csv\nnote\n"


def test_mistakes(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean mgic_resnet20"):
        cli.run("plot hierarchy mgic_resnt20".split())
    with pytest.raises(UsageError, match="resnet20 has no hierarchy"):
        cli.run("plot hierarchy resnet20".split())
    with pytest.raises(UsageError, match="at least one run folder"):
        cli.run("plot curves".split())
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"torchmg\[plot\]"):
        cli.run("plot curves x".split())


@pytest.mark.parametrize("words", ["plot", "plot curv x", "plot tradeoff x --x ms"])
def test_bad_arguments_are_code_2(words: str) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.run(words.split())
    assert caught.value.code == 2
