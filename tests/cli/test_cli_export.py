"""`torchmg export` in this process: models, users' models and runs; what it says and what it refuses."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import torchmg
from torchmg import cli
from torchmg.models.options import ModelOptions
from torchmg.train.folder import RunFolder
from torchmg.train.model import model_for

NET = """
from torch import nn

def net(num_classes=10, in_channels=3):
    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * 12, num_classes))

def branches():
    class Branches(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x
    return Branches()
"""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)


def main(arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["torchmg", *arguments.split()])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert isinstance(caught.value.code, int)
    return caught.value.code


def answer(file: str, x: torch.Tensor) -> torch.Tensor:
    return torch.export.load(file).module()(x).detach()


def test_a_model_of_the_catalogue_has_random_weights_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = "export mgiad20 --width 0.25 --in-channels 1 --input 1 6 8 --seed 3 --out net.pt2"
    assert cli.run(arguments.split()) == 0
    text = capsys.readouterr().out
    assert text.splitlines()[-1] == "Weights: random, seed 3: the model is not trained."
    assert "net.pt2: torch.export archive" in text
    torch.manual_seed(3)
    model = torchmg.create("mgiad20", width=0.25, in_channels=1).eval()
    x = torch.randn(3, 1, 6, 8)
    assert torch.allclose(answer("net.pt2", x), model(x), atol=1e-5)
    found = {"torchmg.options": "", "torchmg.weights": ""}
    torch.export.load("net.pt2", extra_files=found)
    assert json.loads(found["torchmg.options"]) == {"in_channels": 1, "width": 0.25}
    assert "not trained" in found["torchmg.weights"]


def test_a_users_model_as_json_and_csv(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = "export net.py:net --num-classes 7 --input 3 3 4 --out net.onnx --json --csv rows.csv"
    assert cli.run(arguments.split()) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["batch"] for row in found["rows"]] == [1, 2, 5]
    assert (found["file"], found["opset"], found["input"]) == ("net.onnx", 18, [3, 3, 4])
    assert found["bytes"] == Path("net.onnx").stat().st_size
    assert found["about"] == {
        "model": "net.py:net",
        "options": {"num_classes": 7},
        "weights": "as the factory made them",
    }
    assert len(Path("rows.csv").read_text().splitlines()) == 4


def test_a_run_is_exported_with_its_weights_and_what_its_pictures_need(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(torchmg.recipe("digits_mgiad20"), options=ModelOptions(width=0.25))
    data = torchmg.load("digits")
    model = model_for(recipe, data)
    run = RunFolder.open(recipe, Path("run"))
    assert main("export run --out net.pt2", monkeypatch) == 1
    assert "has no weights yet" in capsys.readouterr().err
    run.write_weights(model)
    assert main("export run --out net.pt2", monkeypatch) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "Weights: the last of run."
    x = torch.randn(3, *data.shape)
    assert torch.allclose(answer("net.pt2", x), model.eval()(x), atol=1e-5)
    found = dict.fromkeys(("torchmg.recipe", "torchmg.mean", "torchmg.std", "torchmg.classes", "torchmg.model"), "")
    torch.export.load("net.pt2", extra_files=found)
    assert json.loads(found["torchmg.recipe"]) == json.loads(json.dumps(recipe.to_json()))
    assert json.loads(found["torchmg.mean"]) == list(data.mean)
    assert json.loads(found["torchmg.std"]) == list(data.std)
    assert json.loads(found["torchmg.classes"]) == [str(digit) for digit in range(10)]
    assert found["torchmg.model"] == "mgiad20"


def test_a_run_on_a_part_of_its_data_says_how_to_normalise_too(capsys: pytest.CaptureFixture[str]) -> None:
    recipe = replace(torchmg.recipe("digits_mgiad20"), options=ModelOptions(width=0.25), subset=50)
    data = torchmg.load("digits")
    RunFolder.open(recipe, Path("part")).write_weights(model_for(recipe, data))
    assert cli.run("export part --out net.pt2 --json".split()) == 0
    about = json.loads(capsys.readouterr().out)["about"]
    assert (about["mean"], about["std"]) == (list(data.mean), list(data.std))


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("mgiad2 --out net.pt2", 2, "Did you mean mgiad20"),
        ("runs/none --out net.pt2", 1, "runs/none is not a run folder"),
        (". --out net.pt2", 1, ". is not a run folder"),
        (". --width 2 --out net.pt2", 2, "A run is exported as it is, so leave away width"),
        ("mgiad20 --out net.pth", 2, "net.pth must end in .onnx or .pt2"),
        ("mgiad20 --out none/net.pt2", 2, "no folder none"),
        ("net.py:net --out net.pt2", 2, "does not run on (1, 3, 32, 32)"),
        ("net.py:branches --out net.pt2", 1, "Branches is not one graph"),
    ],
)
def test_what_is_wrong_is_one_message_and_an_exit_code(
    arguments: str, code: int, message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(f"export {arguments}", monkeypatch) == code
    error = capsys.readouterr().err
    assert error.startswith("torchmg: ")
    assert message in error
    assert "Traceback" not in error
    assert not [path for path in Path().iterdir() if path.name not in ("net.py", "__pycache__")]
