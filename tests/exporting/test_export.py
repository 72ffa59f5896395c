"""Exported files compute what the network does, say where they come from, or are not there."""

import copy
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

import torchmg
from torchmg.errors import CheckpointError, ExportError, MissingExtraError, ShapeError, TorchmgError, UsageError
from torchmg.models.catalog import MODELS

BOTH = pytest.mark.parametrize("ending", ["onnx", "pt2"])


class Linear(nn.Module):
    """x -> x W, with what is done to it left open."""

    def __init__(self, then: Callable[[Tensor], Any] = lambda y: y) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 4))
        self.then = then

    def forward(self, x: Tensor) -> Any:
        return self.then(x @ self.weight)


def small() -> nn.Module:
    """A convolution and a norm, in training mode."""
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())


def run(path: Path, x: Tensor) -> Tensor:
    """The file's answer, by the libraries' own means."""
    if path.suffix == ".onnx":
        return torch.from_numpy(onnxruntime.InferenceSession(path).run(["output"], {"input": x.numpy()})[0])
    return torch.export.load(path).module()(x).detach()


def lived(name: str, **options: Any) -> nn.Module:
    """A model in training mode whose running statistics are not the initial ones."""
    model = torchmg.create(name, **options)
    for _ in range(3):
        model(2 * torch.randn(8, 3, 16, 16) + 1)
    return model


def agrees_with_float64(path: Path, model: nn.Module, size: int, channels: int = 3) -> None:
    exact = copy.deepcopy(model).double().eval()
    for batch in (1, 3, 7):
        x = torch.randn(batch, channels, size, size)
        expected = exact(x.double()).detach()
        assert (run(path, x) - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.parametrize(("name", "ending"), [("mgiad20", "onnx"), ("mgiad20", "pt2"), ("mgic_resnet20", "onnx")])
def test_a_file_computes_what_the_network_does_in_evaluation_mode(name: str, ending: str, tmp_path: Path) -> None:
    model, path = lived(name, width=0.25), tmp_path / f"net.{ending}"
    exported = torchmg.export(model, path, input=(3, 16, 16))
    agrees_with_float64(path, model, 16)
    assert [check.batch for check in exported.checks] == [1, 2, 5]
    assert all(check.relative <= exported.tolerance == 1e-4 for check in exported.checks)
    assert exported.bytes == path.stat().st_size
    assert list(tmp_path.iterdir()) == [path]


@BOTH
@pytest.mark.slow
@pytest.mark.parametrize("name", list(MODELS))
def test_every_model_of_the_catalogue_is_exported(name: str, ending: str, tmp_path: Path) -> None:
    model, path = lived(name), tmp_path / f"net.{ending}"
    torchmg.export(model, path, MODELS[name].input)
    agrees_with_float64(path, model, MODELS[name].input[1])


def test_the_callers_network_and_random_state_are_as_they_were(tmp_path: Path) -> None:
    model = small().to(memory_format=torch.channels_last)
    next(model.children()).eval()
    model.register_forward_hook(lambda module, args, answer: 2 * answer)
    state, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    modes = [module.training for module in model.modules()]
    strides = [p.stride() for p in model.parameters()]
    torchmg.export(model, tmp_path / "net.pt2", input=(3, 8, 8))
    assert torch.equal(random, torch.get_rng_state())
    assert [module.training for module in model.modules()] == modes
    assert [p.stride() for p in model.parameters()] == strides
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert len(model._forward_hooks) == 1
    x = torch.randn(3, 3, 8, 8)
    assert torch.allclose(run(tmp_path / "net.pt2", x), model.eval()(x), atol=1e-5), "the hook is part of the network"


@BOTH
def test_a_file_says_what_it_is_and_not_where_it_was_made(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"net.{ending}"
    exported = torchmg.export(small(), path, (3, 8, 8), {"note": "ä", "mean": [0.5]})
    expected = {"torchmg.version": torchmg.__version__, "torchmg.model": "Sequential", "torchmg.input": "[3, 8, 8]"}
    expected |= {"torchmg.note": "ä", "torchmg.mean": "[0.5]"}
    if ending == "onnx":
        model = onnx.load(path)
        onnx.checker.check_model(model, full_check=True)
        assert {prop.key: prop.value for prop in model.metadata_props} == expected
        assert exported.opset == model.opset_import[0].version == 18
        (size, *_) = model.graph.input[0].type.tensor_type.shape.dim
        assert size.dim_param == "batch"
    else:
        found = dict.fromkeys(expected, "")
        torch.export.load(path, extra_files=found)
        assert found == expected
        assert exported.opset is None
    assert str(Path(__file__).parents[2]).encode() not in path.read_bytes()
    text = str(exported)
    for word in (str(path), f"{exported.bytes:,} bytes", "batch x 3 x 8 x 8", f"torch {torch.__version__}", "1e-04"):
        assert word in text


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_archives_hold_other_floating_point_types(dtype: torch.dtype, tmp_path: Path) -> None:
    model = small().to(dtype).eval()
    torchmg.export(model, tmp_path / "net.pt2", input=(3, 8, 8))
    x = torch.randn(3, 3, 8, 8, dtype=dtype)
    assert torch.equal(run(tmp_path / "net.pt2", x), model(x))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_what_onnxruntime_cannot_run_is_not_written(dtype: torch.dtype, tmp_path: Path) -> None:
    model = small().to(dtype)
    with pytest.raises(ExportError, match=rf"in {str(dtype)[6:]} on a CPU.* Export model.float\(\), or write a .pt2"):
        torchmg.export(model, tmp_path / "net.onnx", input=(3, 8, 8))
    assert not list(tmp_path.iterdir())


def fixed_batch(y: Tensor) -> Tensor:
    return y.reshape(2, -1)


def depends_on_values(y: Tensor) -> Tensor:
    return y.relu() if y.sum() > 0 else y


REFUSED: list[tuple[str, Any, str, type[TorchmgError], str]] = [
    ("net.pth", Linear(), "3", UsageError, r"net.pth must end in \.onnx or \.pt2"),
    ("net", Linear(), "3", UsageError, r"must end in \.onnx or \.pt2"),
    ("none/net.pt2", Linear(), "3", UsageError, "no folder .*none"),
    ("net.pt2", Linear(), "0 3", UsageError, r"positive sizes such as \(3, 32, 32\); got \(0, 3\)"),
    ("net.pt2", Linear(), "", UsageError, r"positive sizes .* got \(\)"),
    ("net.pt2", Linear(), "5", ShapeError, r"Linear does not run on \(1, 5\): .*mat1 and mat2"),
    ("net.pt2", torchmg.create("resnet20"), "1 8 8", ShapeError, r"\(batch, 3, H, W\)"),
    ("net.pt2", Linear(lambda y: (y, y)), "3", ExportError, "Linear returns tuple. Wrap it"),
    ("net.pt2", Linear(lambda y: y.argmax(1)), "3", ExportError, "a tensor of torch.int64"),
    ("net.pt2", Linear(lambda y: y / 0), "3", ExportError, "infinite values or NaN"),
    ("net.pt2", Linear(fixed_batch), "3", ExportError, "not one graph with a free batch size, says torch"),
    ("net.pt2", Linear(lambda y: y + len(y) * y.new_ones(len(y.tolist()))[0]), "3", ExportError, "torch.export: "),
    ("net.pt2", Linear(depends_on_values), "3", ExportError, "says torch.export: Could not guard on data-dependent"),
    ("net.pt2", Linear(lambda y: y + torch.rand(1)), "3", ExportError, "does not compute what the network does"),
    ("net.pt2", nn.Linear(3, 4, device="meta"), "3", ExportError, "meta device"),
    (
        "net.onnx",
        Linear(lambda y: torch.linalg.eigvals(y[:, :, None] * y[:, None]).real),
        "3",
        ExportError,
        "linalg_eig",
    ),
]


@pytest.mark.parametrize(("name", "model", "shape", "kind", "message"), REFUSED)
def test_what_cannot_be_exported_is_explained_and_not_written(
    name: str, model: nn.Module, shape: str, kind: type[TorchmgError], message: str, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=message) as caught:
        torchmg.export(model, tmp_path / name, input=tuple(map(int, shape.split())))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert not list(tmp_path.iterdir())


def test_a_file_that_was_there_stays_when_the_new_one_is_refused(tmp_path: Path) -> None:
    path, model = tmp_path / "net.pt2", Linear()
    torchmg.export(model, path, input=(3,))
    before = path.read_bytes()
    with pytest.raises(ExportError):
        torchmg.export(Linear(lambda y: y + torch.rand(1)), path, input=(3,))
    assert path.read_bytes() == before
    with torch.no_grad():
        model.weight.mul_(2)
    torchmg.export(model, path, input=(3,))
    assert torch.allclose(run(path, torch.eye(3)), model.weight)


def test_a_full_disk_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch.export, "save", full)
    with pytest.raises(CheckpointError, match=r"net\.pt2 cannot be written: No space left"):
        torchmg.export(Linear(), tmp_path / "net.pt2", input=(3,))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "onnxscript"])
def test_without_the_extra_nothing_is_written_unverified(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=r"onnxruntime needs the extra 'export': .*torchmg\[export\]"):
        torchmg.export(Linear(), tmp_path / "net.onnx", input=(3,))
    assert not list(tmp_path.iterdir())
    assert json.dumps(dict(torchmg.export(Linear(), tmp_path / "net.pt2", input=(3,)).versions))
