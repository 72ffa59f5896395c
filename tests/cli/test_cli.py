"""The command line in this process: results, exit codes, and what it says to bad arguments."""

import csv
import json
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import torchmg
from torchmg import cli
from torchmg.data.images import ImageSet, ImageSplit
from torchmg.errors import TorchmgError
from torchmg.models.catalog import MODELS

NET = """
from torch import nn

def net(num_classes=10, in_channels=3, width=1.0):
    return nn.Sequential(
        nn.Conv2d(in_channels, int(8 * width), 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(int(8 * width), num_classes),
    )

def fails():
    raise KeyError("no")

def text():
    return "model"

number = 3
"""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test has its own working folder, with a user's model in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    def split(size: int) -> ImageSplit:
        labels = torch.arange(size) % 10
        images = torch.randint(0, 60, (size, 1, 16, 16)) + 20 * labels[:, None, None, None]
        return ImageSplit(images.to(torch.uint8), labels)

    small = ImageSet("digits", tuple("0123456789"), split(200), split(90))
    monkeypatch.setattr("torchmg.train.model.load", lambda *_, **__: small)
    monkeypatch.setattr("torchmg.data.sets.load", lambda *_, **__: small)


def words(text: str) -> list[str]:
    return text.split()


def main(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit code of the entry point."""
    monkeypatch.setattr(sys, "argv", ["torchmg", *arguments])
    monkeypatch.setenv("PYTHON_TYRO_ANSI_CODES", "False")
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert isinstance(caught.value.code, int)
    return caught.value.code


# ---- results


def test_usage_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    texts = []
    for arguments in ([], ["--help"], ["-h"], ["help"]):
        assert cli.run(arguments) == 0
        texts.append(capsys.readouterr().out)
    assert len(set(texts)) == 1
    for commands in cli.COMMANDS.values():
        for name, does in commands.items():
            assert f"  {name} " in texts[0]
            assert does in texts[0]
    assert cli.run(["--version"]) == 0
    assert capsys.readouterr().out == f"torchmg {torchmg.__version__}\n"


@pytest.mark.parametrize("command", [name for commands in cli.COMMANDS.values() for name in commands])
def test_help_of_every_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.run([command, "--help"])
    assert caught.value.code == 0
    out, err = capsys.readouterr()
    assert f"torchmg {command}" in out
    assert err == ""
    assert "\x1b" not in out


def test_examples_of_the_usage_are_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    class ReachedError(Exception):
        pass

    def reached(*_: Any, **__: Any) -> None:
        raise ReachedError

    monkeypatch.setattr("torchmg.comparison.compare", reached)  # first: importing it takes hold of the true fit
    monkeypatch.setattr("torchmg.train.loop.fit", reached)
    for line in cli.EXAMPLES.splitlines():
        program, command, *arguments = line.split()
        assert program == "torchmg"
        if command in ("train", "compare"):
            with pytest.raises(ReachedError):
                cli.run([command, *arguments])
        else:
            assert cli.run([command, *arguments]) == 0


def rows(text: str) -> list[dict[str, Any]]:
    return json.loads(text)["rows"]


@pytest.mark.parametrize(
    ("command", "columns", "more"),
    [
        ("list mgic_*", "model paper input parameters MACs", []),
        ("info mgic_resnet20", "role parameters MACs", ["hierarchies", "couplings", "citation", "recipes"]),
        ("count mgic_resnet20", "role parameters MACs", ["input", "parameters", "macs"]),
        ("count mgic_resnet20 --by level", "level parameters MACs", ["input", "parameters", "macs"]),
        ("count mgic_resnet20 --by kind", "kind parameters MACs", ["input"]),
        ("count mgic_resnet20 --by module", "module parameters MACs", ["input"]),
        ("count net.py:net --width 2", "parameters MACs", ["input", "parameters", "macs"]),
    ],
)
def test_json_and_csv_hold_the_same_rows(
    command: str, columns: str, more: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run([*words(command), "--json", "--csv", "rows.csv"]) == 0
    text = capsys.readouterr().out
    found = rows(text)
    assert found
    assert set(words(columns)) <= set(found[0])
    assert set(more) <= set(json.loads(text))
    with Path("rows.csv").open() as file:
        stored = list(csv.DictReader(file))
    assert stored == [{key: "" if value is None else str(value) for key, value in row.items()} for row in found]
    assert cli.run(words(command)) == 0
    table = capsys.readouterr().out
    assert "\x1b" not in table
    assert "\r" not in table
    for row in found:
        assert f"{row['parameters']:,}" in table


def test_list_is_the_catalogue(capsys: pytest.CaptureFixture[str]) -> None:
    cli.run(["list", "--json"])
    found = rows(capsys.readouterr().out)
    assert [(row["model"], row["parameters"], row["MACs"]) for row in found] == [
        (entry.name, entry.parameters, entry.macs) for entry in MODELS.values()
    ]
    for key, column in (("name", "model"), ("parameters", "parameters"), ("macs", "MACs")):
        cli.run(["list", "--json", "--sort", key])
        values = [row[column] for row in rows(capsys.readouterr().out)]
        assert values == sorted(values)


def test_count_of_a_users_model(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = "count net.py:net --in-channels 1 --num-classes 7 --input 1 10 12 --json"
    assert cli.run(words(arguments)) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["parameters"] == (9 * 8 + 8) + (8 * 7 + 7)
    assert found["macs"] == 8 * 10 * 72 + 8 * 7
    assert found["input"] == [1, 10, 12]


def test_info_shows_hierarchies_source_and_recipes(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["info", "mgic_resnet20", "--group-size", "4"]) == 0
    text = capsys.readouterr().out
    for word in ("stages.2.", "Eliasof", "cifar10_mgic_resnet20", "restrict"):
        assert word in text
    assert cli.run(["info", "resnet20"]) == 0
    assert "no multigrid blocks" in capsys.readouterr().out
    assert cli.run(["info", "net.py:net"]) == 0
    text = capsys.readouterr().out
    assert "source" not in text
    assert "Channel couplings" not in text


def test_info_says_how_couplings_scale(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["info", "circulant_resnet20", "--width", "2"]
    assert cli.run(command) == 0
    text = capsys.readouterr().out
    assert text.index("no multigrid blocks") < text.index("Channel couplings") < text.index("parameters   share")
    assert cli.run([*command, "--json"]) == 0
    read = json.loads(capsys.readouterr().out)
    first = read["couplings"][0]
    assert (first["where"], first["number"]) == ("stages.0.0.conv1 to stages.0.2.conv2", 6)
    assert (first["grows"], first["reach"], first["parameters"], first["channels"]) == ("linear", 1, 9 * 32, "32 -> 32")
    assert first["norm bound"] > 0
    assert "Channel couplings" not in read["hierarchies"]
    assert cli.run(["info", "resnet20", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["couplings"] == []


@pytest.mark.usefixtures("_small")
def test_train_eval_and_train_again(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = "train digits --model net.py:net --epochs 2 --batch-size 40 --lr 0.25 --width 2 --out runs"
    assert main(words(arguments), monkeypatch) == 0
    out, err = capsys.readouterr()
    assert "epoch   2/2" in err
    assert "epoch" not in out
    (folder,) = Path("runs").iterdir()
    assert out.splitlines()[-1] == str(folder)
    record = json.loads((folder / "record.json").read_text())
    assert f"test {record['test_accuracy']:.2f} %" in out
    assert record["recipe"]["options"]["width"] == 2

    assert main(["train", "--resume", str(folder), "--json"], monkeypatch) == 0
    out, err = capsys.readouterr()
    assert {**json.loads(out), "sha256": record["sha256"]} == record
    assert "is finished" in err

    assert main(["eval", str(folder), "--json", "--csv", "eval.csv", "--batch-size", "7"], monkeypatch) == 0
    for row in rows(capsys.readouterr().out):
        assert row["accuracy %"] == pytest.approx(record[f"{row['split']}_accuracy"], abs=1e-4)
        assert row["loss (nats)"] == pytest.approx(record[f"{row['split']}_loss"], abs=1e-5)
    assert len(Path("eval.csv").read_text().splitlines()) == 3
    assert main(["eval", str(folder)], monkeypatch) == 0
    assert "test" in capsys.readouterr().out
    assert main(["eval", str(folder), "--fast", "--json"], monkeypatch) == 0
    for row in rows(capsys.readouterr().out):
        assert row["loss (nats)"] == pytest.approx(record[f"{row['split']}_loss"], abs=1e-5)

    assert main(["train", f"--resume={folder}", "--lr", "0.5"], monkeypatch) == 2
    assert "lr 0.25 (you asked for 0.5)" in capsys.readouterr().err


@pytest.mark.usefixtures("_small")
def test_compare_prints_and_writes(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = "compare resnet20 mgic_resnet20 --epochs 1 --batch-size 50 --width 0.25 --coarsest 4 --seeds 2 --quiet"
    assert main([*words(arguments), "--out", "out", "--csv", "mine.csv"], monkeypatch) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "±" in out
    assert "picture  out/tradeoff.png" in out
    assert {"tradeoff.png", "tradeoff.svg", "tradeoff.csv"} <= {path.name for path in Path("out").iterdir()}
    assert Path("mine.csv").read_text().splitlines()[0] == Path("out/tradeoff.csv").read_text().splitlines()[0]
    assert main([*words(arguments), "--out", "out", "--json"], monkeypatch) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["folder"] == "out"
    assert [row["model"] for row in found["rows"]] == ["resnet20", "mgic_resnet20"]
    assert [row["seeds"] for row in found["rows"]] == [2, 2]
    assert found["rows"][1]["ms_over_dense"] > 0


@pytest.mark.usefixtures("_small")
def test_data_gives_compare_its_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr("torchmg.comparison.compare", lambda *a, **_: asked.append(a[1]) or sys.exit(0))
    for flag in (["--data", "cifar10"], ["--data=cifar10"], ["--data", "cifar100"]):
        with pytest.raises(SystemExit):
            cli.run(["compare", *flag, "--epochs", "3"])
    assert asked[0] == asked[1]
    assert (asked[0].data, asked[0].augment, asked[0].batch_size, asked[0].epochs) == ("cifar10", "crop_flip", 128, 3)
    assert asked[2] == replace(asked[0], data="cifar100")


# ---- bad arguments: exit code, and words that must be said

BAD = [
    # names
    ("lst", 2, "Unknown command 'lst'. Did you mean list"),
    ("cout resnet20", 2, "Did you mean count"),
    ("list nothing_*", 2, "No model matches 'nothing_*'"),
    ("list mgic_resnt*", 2, "Did you mean mgic_resnet"),
    ("info resnt20", 2, "Unknown model 'resnt20'. Did you mean resnet20"),
    ("count mgic_resnet21", 2, "mgic_resnet20 shows all"),
    ("compare resnet20 mgic_resnt20", 2, "Unknown model 'mgic_resnt20'. Did you mean mgic_resnet20"),
    ("train", 2, "Name a recipe, such as --resume"),
    ("train digts", 2, "Unknown recipe 'digts'. Did you mean digits"),
    ("train digits_resnt20", 2, "Did you mean digits_resnet20"),
    ("train digits --model resnt20", 2, "Unknown model 'resnt20'. Did you mean resnet20"),
    ("train digits --data mnist", 2, "data='mnist' fashion_mnist"),
    ("train digits --resume runs", 2, "not both"),
    ("compare --data digts", 2, "'digts' --data digits"),
    # options
    ("list --srt name", 2, "--srt --sort"),
    ("count mgic_resnet20 --group-sizes 4", 2, "--group-sizes --group-size"),
    ("count resnet20 --group-size 4", 2, "resnet20 has no option 'group_size'. Options: width"),
    ("train digits_resnet20 --coarsest 4", 2, "resnet20 has no option 'coarsest'"),
    ("compare resnet20 --group-size 4", 2, "None of resnet20 has an option 'group_size'"),
    ("train digits --learning-rate 3", 2, "Unrecognized --learning-rate"),
    ("list a b", 2, "Unrecognized b"),
    ("eval", 2, "Missing run folder required"),
    ("count", 2, "Missing path/to/file.py:factory required"),
    # values
    ("count mgic_resnet20 --group-size x", 2, "--group-size 'x'"),
    ("count mgic_resnet20 --group-size 0", 2, "group_size at least 1 0"),
    ("count mgic_resnet20 --group-size -3", 2, "group_size at least 1 -3"),
    ("count mgic_resnet20 --coarsest 0", 2, "coarsest at least 1 0"),
    ("count mgic_resnet20 --width 0.001", 2, "width=0.001 at least 0.0625"),
    ("count mgic_resnet20 --width nan", 2, "width nan"),
    ("count mgic_resnet20 --width -1", 2, "width=-1"),
    ("count mgic_resnet20 --preset papr", 2, "'papr' --preset paper"),
    ("count mgic_resnet20 --num-classes 0", 2, "num_classes at least 1"),
    ("count mgic_resnet20 --in-channels 0", 2, "in_channels at least 1"),
    ("count mgic_resnet20 --by size", 2, "'size' --by role"),
    ("count mgic_resnet20 --input 3 32", 2, "(batch, 3, H, W)"),
    ("count mgic_resnet20 --input 32 32 3", 2, "(batch, 3, H, W) channels-last"),
    ("list --sort size", 2, "'size' --sort parameters"),
    ("train digits --epochs 0", 2, "epochs at least 1 0"),
    ("train digits --epochs many", 2, "--epochs 'many'"),
    ("train digits --batch-size -1", 2, "batch_size at least 1 -1"),
    ("train digits --lr nan", 2, "lr finite nan"),
    ("train digits --schedule linear", 2, "'linear' cosine"),
    ("train digits --nesterov --momentum 0", 2, "nesterov momentum"),
    ("train digits --label-smoothing 1", 2, "label_smoothing [0, 1)"),
    ("train digits --seed -1", 2, "seed at least 0 -1"),
    ("train digits --device gpu", 2, "no device 'gpu' Devices: auto, cpu"),
    ("compare --seeds 0", 2, "seeds at least 1 0"),
    ("compare --device gpu", 2, "no device 'gpu'"),
    # files
    ("count none.py:net", 2, "There is no file none.py"),
    ("count net.py:ne", 2, "net.py has no callable 'ne'. Did you mean net"),
    ("count net.py:number", 2, "net.py has no callable 'number'"),
    ("count net.py:fails", 2, "fails() in net.py failed: KeyError"),
    ("count net.py:text", 2, "returned str, not a torch.nn.Module"),
    ("count net.py:net --preset paper", 2, "TypeError preset"),
    ("count broken.py:net", 2, "broken.py cannot be run: SyntaxError"),
    ("eval runs/none", 1, "runs/none is not a run folder"),
    ("train --resume runs/none", 1, "runs/none is not a run folder"),
    ("train --resume empty", 1, "empty is not a run folder: it has no config.json"),
    ("eval half", 1, "half has no weights yet"),
    ("list --csv nowhere/rows.csv", 2, "nowhere/rows.csv cannot be written"),
    ("train fashion_mnist --data-dir empty", 1, "FashionMNIST empty the network is away --data-dir"),
    ("train cifar100 --data-dir empty", 1, "CIFAR-100 empty the network is away --data-dir"),
    ("train cifar10 --data-dir empty", 1, "CIFAR-10 empty the network is away --data-dir"),
    ("compare --data cifar10 --data-dir empty --quiet", 1, "CIFAR-10 empty the network is away"),
]


@pytest.mark.parametrize(("command", "code", "said"), BAD, ids=[command for command, _, _ in BAD])
def test_bad_arguments(
    command: str, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torchmg.data.files.fetch", lambda *_, **__: "the download failed (the network is away)")
    Path("empty").mkdir()
    Path("broken.py").write_text("def net(:\n")
    Path("half").mkdir()
    Path("half/config.json").write_text(json.dumps(torchmg.recipe("digits").to_json()))
    assert main(words(command), monkeypatch) == code
    out, err = capsys.readouterr()
    flat = " ".join(err.replace("│", " ").split())
    for word in words(said):
        assert word in flat
    assert "Traceback" not in err
    assert "\x1b" not in err
    assert "parameters" not in out  # no result beside the complaint


def test_errors_of_ours_go_to_standard_error_with_their_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class OddError(TorchmgError):
        exit_code = 17

    def fails(_: list[str]) -> int:
        raise OddError("it is odd")

    monkeypatch.setattr(cli, "run", fails)
    assert main([], monkeypatch) == 17
    assert capsys.readouterr() == ("", "torchmg: it is odd\n")


def test_other_errors_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: list[str]) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "run", fails)
    with pytest.raises(ZeroDivisionError):
        main([], monkeypatch)


def test_ctrl_c_anywhere_is_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(_: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "run", interrupted)
    assert main([], monkeypatch) == 130
    assert capsys.readouterr().err == "torchmg: interrupted\n"


def test_warnings_are_one_line_each(monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["--version"], monkeypatch) == 0
    assert warnings.formatwarning(UserWarning("take care"), UserWarning, "file.py", 3) == "warning: take care\n"
