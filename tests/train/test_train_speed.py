"""Compilation, memory layout, and CUDA graphs: faster, and the same numbers."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from training_runs import SMALL_MGIC, Stop, log, stop_at, tiny_recipe, weights

from torchmg.errors import UsageError
from torchmg.models.registry import create
from torchmg.train import layout, loop
from torchmg.train.capture import WARM_UP, Captured
from torchmg.train.layout import pick_layout
from torchmg.train.loop import fit
from torchmg.train.model import compile_in_place
from torchmg.train.recipe import Recipe

MGIC = Recipe(model="mgic_resnet8", options=SMALL_MGIC, epochs=1, batch_size=40, augment="crop", lr=0.01)


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_a_compiled_run_is_the_eager_run(backend: str, tmp_path: Path) -> None:
    # Two small steps: one unit of ReLU that rounding flips changes a gradient by a percent.
    recipe = replace(MGIC, ema=0.5, batch_size=100, lr=1e-3)
    eager = fit(recipe, folder=tmp_path / "eager", quiet=True).folder
    made = fit(replace(recipe, compile=backend), folder=tmp_path / "compiled", quiet=True).folder  # pyright: ignore
    learned = weights(eager)
    assert learned.keys() == weights(made).keys()  # parameters keep their names
    for row, other in zip(log(eager), log(made), strict=True):
        assert float(row["train_loss"]) == pytest.approx(float(other["train_loss"]), rel=3e-4)
    for key, value in weights(made).items():
        torch.testing.assert_close(value, learned[key], rtol=1e-3, atol=1e-3)


def test_compiling_really_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(nn.Module, "compile", lambda _, backend: seen.append(backend))
    model = nn.Linear(1, 1)
    for backend in ("none", "aot_eager"):
        compile_in_place(model, replace(MGIC, compile=backend), torch.device("cpu"))  # pyright: ignore
    assert seen == ["aot_eager"]
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UsageError, match=r"needs a C\+\+ compiler \(no-such-compiler\)"):
        compile_in_place(model, replace(MGIC, compile="inductor"), torch.device("cpu"))


def test_the_layout_is_what_was_asked_for_or_the_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    model, cpu, gpu = nn.Conv2d(1, 1, 1), torch.device("cpu"), torch.device("cuda", 0)
    for name in ("channels_last", "channels_first"):
        assert pick_layout(replace(MGIC, layout=name), model, (1, 8, 8), gpu) == name  # pyright: ignore
    assert pick_layout(MGIC, model, (1, 8, 8), cpu) == "channels_last"
    for seconds in ({"channels_last": 1.0, "channels_first": 2.0}, {"channels_last": 2.0, "channels_first": 1.0}):
        monkeypatch.setattr(layout, "_seconds", lambda _r, _m, _s, name, seconds=seconds: seconds[name])
        monkeypatch.setattr(nn.Module, "to", lambda self, *_: self)
        monkeypatch.setattr(torch.random, "fork_rng", lambda _: torch.no_grad())
        assert pick_layout(MGIC, model, (1, 8, 8), gpu) == min(seconds, key=lambda name: seconds[name])


@pytest.mark.usefixtures("data")
def test_a_continued_run_keeps_its_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tiny_recipe(tmp_path, epochs=1)
    monkeypatch.setattr(loop, "pick_layout", lambda *_: "channels_first")
    with monkeypatch.context() as patch:
        stop_at(patch, "torchmg.train.loop.order_hash", 2)
        with pytest.raises(Stop):
            fit(recipe, folder=tmp_path / "run", quiet=True)
    monkeypatch.setattr(loop, "pick_layout", lambda *_: "channels_last")
    run = fit(recipe, folder=tmp_path / "run", quiet=True)
    assert run.record["environment"]["layout"] == "channels_first"


# ---- on a GPU


@pytest.mark.gpu
def test_a_captured_function_has_its_effect_once_a_call() -> None:
    total = torch.zeros(3, device="cuda")

    def add(x: torch.Tensor) -> None:
        total.add_(x)

    run, expected = Captured(add), torch.zeros(3)
    for call in range(3 * WARM_UP):
        x = torch.full((3,), float(call + 1), device="cuda")
        run(x)
        expected += call + 1
    assert total.cpu().equal(expected)


@pytest.mark.gpu
@pytest.mark.parametrize("changes", [{}, {"precision": "bf16"}, {"ema": 0.9, "clip": 1.0, "accumulate": 2}])
def test_the_captured_step_trains_like_the_plain_one(
    changes: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(MGIC, epochs=2, layout="channels_last", **changes)  # pyright: ignore
    fast = fit(recipe, folder=tmp_path / "fast", device="cuda", quiet=True)
    monkeypatch.setattr("torchmg.train.step.Captured", lambda function: function)
    plain = fit(recipe, folder=tmp_path / "plain", device="cuda", quiet=True)
    for row, other in zip(log(fast.folder), log(plain.folder), strict=True):
        assert float(row["train_loss"]) == pytest.approx(float(other["train_loss"]), rel=0.02)


@pytest.mark.gpu
def test_measuring_the_layout_leaves_no_trace() -> None:
    model, device = create("mgic_resnet20"), torch.device("cuda", 0)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    states = torch.get_rng_state(), torch.cuda.get_rng_state()
    assert pick_layout(replace(MGIC, precision="bf16"), model, (3, 32, 32), device) in layout.FORMATS
    assert all(value.equal(before[key]) for key, value in model.state_dict().items())
    assert torch.get_rng_state().equal(states[0])
    assert torch.cuda.get_rng_state().equal(states[1])
