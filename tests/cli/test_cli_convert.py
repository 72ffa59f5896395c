"""`torchmg convert` from end to end: what it prints, writes, and refuses."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import torchmg
from torchmg.cli import run
from torchmg.errors import UnknownNameError, UsageError

NET = """
from torch import nn

def net(num_classes=10, in_channels=1):
    return nn.Sequential(
        nn.Conv2d(in_channels, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, num_classes),
    )
"""


@pytest.fixture
def factory(tmp_path: Path) -> str:
    (tmp_path / "mine.py").write_text(NET)
    return f"{tmp_path / 'mine.py'}:net"


def convert(*arguments: object) -> int:
    return run(["convert", *map(str, arguments)])


def test_a_catalogue_model_becomes_an_archive_that_commands_and_python_load(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "small"
    assert convert("resnet20", "--width", 0.5, "--ratio", 2, "--out", out) == 0
    printed = capsys.readouterr().out
    assert "times fewer" in printed
    assert "from_pretrained" in printed
    net = torchmg.from_pretrained(out)
    dense = torchmg.create("resnet20", width=0.5)
    before, after = (sum(p.numel() for p in model.parameters()) for model in (dense, net))
    assert 2 * after <= before
    assert run(["count", f"archive:{out}", "--json"]) == 0
    counted = json.loads(capsys.readouterr().out)
    assert counted["parameters"] == after
    assert counted["input"] == [3, 32, 32]
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(net(x), torchmg.from_pretrained(out)(x))


def test_an_archive_of_a_plain_model_is_converted_once(tmp_path: Path) -> None:
    plain, small = tmp_path / "plain", tmp_path / "small"
    model = torchmg.create("resnet20", width=0.5, num_classes=7).eval()
    torchmg.save_pretrained(plain, model, base="resnet20", options={"width": 0.5, "num_classes": 7})
    assert convert(f"archive:{plain}", "--ratio", 2, "--out", small) == 0
    net = torchmg.from_pretrained(small)
    assert net(torch.randn(1, 3, 32, 32)).shape == (1, 7)
    assert torch.equal(net.stem.conv.weight, model.stem.conv.weight)
    with pytest.raises(UsageError, match=r"converted already.*resnet20"):
        convert(f"archive:{small}", "--ratio", 2, "--out", tmp_path / "smaller")


def test_nothing_is_written_on_a_dry_run(tmp_path: Path, factory: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "small"
    sizes = ("--group-size", 4, "--coarsest", 8, "--input", 1, 8, 8)
    assert convert(factory, *sizes, "--out", out, "--dry-run") == 0
    assert "Would convert 1 of 3" in capsys.readouterr().out
    assert not out.exists()
    assert convert(factory, *sizes) == 0, "without --out there is nothing to write"
    assert "--out FOLDER" in capsys.readouterr().out


def test_a_terminal_is_shown_first_what_would_be_written(
    tmp_path: Path, factory: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "small"
    arguments = (factory, "--group-size", 4, "--coarsest", 8, "--input", 1, 8, 8, "--out", out)
    with monkeypatch.context() as patched:
        patched.setattr("sys.stdout.isatty", lambda: True, raising=False)
        assert convert(*arguments) == 0
        assert not out.exists()
        assert "--yes" in capsys.readouterr().out
        assert convert(*arguments, "--yes") == 0
    assert (out / "model.safetensors").is_file()


def test_weights_of_a_user_are_what_is_projected(
    tmp_path: Path, factory: str, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(5)
    namespace: dict[str, object] = {}
    exec(NET, namespace)
    dense = namespace["net"]()  # pyright: ignore
    save_file(dense.state_dict(), tmp_path / "w.safetensors")
    out = tmp_path / "small"
    arguments = (factory, "--weights", tmp_path / "w.safetensors", "--group-size", 4, "--coarsest", 8)
    assert convert(*arguments, "--input", 1, 8, 8, "--out", out, "--json") == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    expected, report = torchmg.convert(dense, torchmg.MGIC(4, 8))
    assert rows[0]["fit error"] == pytest.approx(report.changes[0].fit_error, abs=1e-3)
    net = torchmg.from_pretrained(out, namespace["net"]())  # pyright: ignore
    x = torch.randn(2, 1, 8, 8)
    torch.testing.assert_close(net(x), expected.eval()(x))
    with pytest.raises(UsageError, match="model"):
        torchmg.from_pretrained(out)


def test_only_and_skip_choose_by_name(factory: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert convert(factory, "--group-size", 4, "--coarsest", 8, "--input", 1, 8, 8, "--only", "^2$", "--json") == 0
    assert json.loads(capsys.readouterr().out)["rows"][0]["module"] == "2"
    with pytest.raises(UsageError, match="where"):
        convert(factory, "--group-size", 4, "--coarsest", 8, "--input", 1, 8, 8, "--skip", "^2$")


def test_a_run_is_converted_with_its_own_data_and_trained_on_with_its_own_original(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = torchmg.recipe("digits_resnet20", epochs=1, subset=128)
    first = torchmg.fit(recipe, out=tmp_path / "runs").folder
    out = tmp_path / "small"
    options = ("--ratio", 2, "--samples", 128, "--warm-start", "project")
    assert convert(first, *options, "--out", out) == 0
    assert "output error" in capsys.readouterr().out
    student = torchmg.recipe("digits", model=f"archive:{out}", epochs=1, subset=128, distill_from=str(first))
    done = torchmg.fit(student, out=tmp_path / "runs")
    assert done.folder.is_dir()


def test_wrong_requests_are_explained(tmp_path: Path, factory: str) -> None:
    with pytest.raises(UnknownNameError, match="resnet20"):
        convert("resnet2")
    with pytest.raises(UsageError, match="regular expression"):
        convert("resnet20", "--only", "layer[")
    with pytest.raises(UsageError, match="--stencil"):
        convert("resnet20", "--stencil", 5)
    with pytest.raises(UsageError, match="--form"):
        convert("resnet20", "--to", "lean", "--form", "layers")
    with pytest.raises(UsageError, match="num_classes"):
        convert(tmp_path, "--num-classes", 3)
