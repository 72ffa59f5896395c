"""`torchmg scale` from the arguments to the files."""

import csv
import json
from pathlib import Path
from typing import get_args

import pytest

from torchmg import cli
from torchmg.bench.scaling import FAMILIES
from torchmg.cli.scale import Family, widths_of
from torchmg.errors import MissingExtraError, UsageError


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_exponents_two_and_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run("scale --family dense mgic mgiad --channels 64:1024".split()) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    fitted = {(line[0], line[1]): line[2] for line in lines if len(line) == 6 and line[1] in ("parameters", "MACs")}
    for count in ("parameters", "MACs"):
        assert [fitted[family, count] for family in ("dense", "mgic", "mgiad")] == ["2.00", "1.00", "1.00"]
    assert lines[-3:] == [["scale.png"], ["scale.svg"], ["scale.csv"]]
    assert all(Path(name).stat().st_size for (name,) in lines[-3:])


def test_couplings_are_quadratic_linear_or_both(capsys: pytest.CaptureFixture[str]) -> None:
    assert get_args(Family) == tuple(FAMILIES)
    names = "full union lean grouped chain lattice multigrid circulant circulant_fft mgic"
    assert cli.run(f"scale --family {names} --channels 256:65536 --json".split()) == 0
    found = json.loads(capsys.readouterr().out)["exponents"]
    quadratic = dict.fromkeys(("full", "union", "lean"), ("2.00", "2.00"))
    linear = dict.fromkeys(("grouped", "chain", "lattice", "multigrid", "mgic"), ("1.00", "1.00"))
    assert {
        family: tuple(f"{fits[count]['exponent']:.2f}" for count in ("parameters", "MACs"))
        for family, fits in found.items()
        if family != "circulant_fft"
    } == quadratic | linear | {"circulant": ("1.00", "2.00")}
    unsettled = [(family, count) for family, fits in found.items() for count, fit in fits.items() if not fit["settled"]]
    assert unsettled == [("circulant_fft", "MACs")]


def test_options_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    words = "scale --family mgiad --channels 128,64 --group-size 4 --coarsest 32 --out p --csv rows.csv --json"
    assert cli.run(words.split()) == 0
    read = json.loads(capsys.readouterr().out)
    assert [row["channels"] for row in read["rows"]] == [64, 128]
    # 64 -> 32: 2 9 4 64 + 8 64 + 3 64 + 2 64 above, 2 9 32^2 + 8 32 on the coarsest level
    assert read["rows"][0]["parameters"] == 5_440 + 18_688
    assert read["exponents"]["mgiad"]["MACs"]["settled"] is False
    assert read["files"] == ["p.png", "p.svg", "p.csv"]
    with Path("rows.csv").open() as file:
        assert [int(row["MACs"]) for row in csv.DictReader(file)] == [row["MACs"] for row in read["rows"]]


def test_ranges_and_lists() -> None:
    assert widths_of("64:1024") == [64, 128, 256, 512, 1024]
    assert widths_of("3:6") == [3, 6]
    assert widths_of("48,96, 100") == [48, 96, 100]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("64:1000", r"Nearest: 64:512 or 64:1024\."),
        ("64:100", r"Nearest: 64:128\."),
        ("128:64", "must rise"),
        ("0:64", "at least 1"),
        ("64:64", "must rise"),
        ("64:", "must be like 64:1024"),
        ("1:2:4", "must be like 64:1024"),
        ("wide", "must be like 64:1024 or 64,96,128; got 'wide'"),
        ("64", "at least two different widths"),
        ("64,-1", "got -1"),
        ("1:131072", "1 to 65,536"),
        ("64:128 --coarsest 0", "coarsest must be"),
        ("30,60 --family grouped", r"group_size must divide the 30 channels; got 8. Nearest: 6\."),
    ],
)
def test_bad_ranges(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        cli.run(["scale", "--family", "mgic", "--channels", *text.split()])
    assert not list(Path().iterdir())


def test_without_matplotlib_and_over_another_table(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("mine.csv").write_text("a,b\n")
    with pytest.raises(UsageError, match=r"mine\.csv exists"):
        cli.run("scale --out mine".split())
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"torchmg\[plot\]"):
        cli.run(["scale"])
    with pytest.raises(SystemExit) as caught:
        cli.run("scale --family resnet".split())
    assert caught.value.code == 2
