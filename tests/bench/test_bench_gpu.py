"""The timing of GPUs, tried on the CPU: floors, ratios, allowances, records, pages, targets."""

import runpy
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.bench.scripts import CPU, PEAKS, written
from torchmg.bench import gpu_script, gpu_timing
from torchmg.bench.gpu_blocks import Block, floors
from torchmg.bench.gpu_floors import PASSES, block_bytes, floor, layer_bytes
from torchmg.bench.gpu_layers import Layer, Way, measure, random_operands, reached, torch_pass
from torchmg.bench.gpu_layers import targets as layer_targets
from torchmg.bench.gpu_pages import GPU_PAGES
from torchmg.bench.gpu_script import GpuScript
from torchmg.bench.gpu_timing import graphed, rotated, sets_beyond_cache
from torchmg.bench.gpu_training import Candidate, Tower
from torchmg.bench.gpu_training import measure as measure_training
from torchmg.bench.pages import PAGES, all_targets
from torchmg.kernels.shape import Shape
from torchmg.nn.mgic import MGICBlock

Patch = pytest.MonkeyPatch
ROOT = Path(__file__).resolve().parent.parent.parent


# Floors.


def test_floors_are_of_bytes_or_of_operations() -> None:
    assert floor(PEAKS, 4e9, 1e9) == (pytest.approx(1.0), "memory")
    assert floor(PEAKS, 4e9, 1e12) == (pytest.approx(2.0), "arithmetic")


@given(st.integers(1, 5), st.sampled_from([2, 4]), st.integers(1, 4))
def test_a_layer_moves_what_its_tensors_hold(images: int, size: int, groups: int) -> None:
    shape = Shape(images, 4 * groups, 8 * groups, groups, 7, 9, 3, 3, 2, 1, 1)
    x, weight, grad = random_operands(shape, CPU, torch.float32)
    moved = {which: layer_bytes(shape, which, size) for which in PASSES}
    assert moved["forward"] == moved["data gradient"] == size * (x.numel() + weight.numel() + grad.numel())
    assert moved["weight gradient"] == size * (x.numel() + grad.numel()) + 4 * weight.numel()


def test_a_block_of_many_levels_moves_nine_maps_by_level() -> None:
    assert block_bytes(1, 8)["level"] == block_bytes(1, 8)["dense"] == 40
    assert block_bytes(3, 8)["level"] == 4.5 * (8 + 4) + 5 * 2
    assert block_bytes(20, 8)["level"] == pytest.approx(72, rel=1e-3)
    assert block_bytes(3, 8)["whole"] == 16


def test_the_blocks_floors() -> None:
    found = floors(Block(32, 4, 8), 10, 2, PEAKS, dense=10**9, mgic=10)
    image = 2 * 10 * 32 * 16
    assert found["whole"] == pytest.approx(2e-6 * image / 4000)
    assert found["level"] == pytest.approx(1e-6 * block_bytes(3, image)["level"] / 4000)
    assert found["dense"] == pytest.approx(2e10 / 500e9)  # arithmetic
    for subject in Block(32, 4, 8).subjects:
        if isinstance(subject.model, MGICBlock):
            assert len(subject.model.hierarchy.levels) == 3


# Timing.


def test_rotated_inputs_keep_all_that_was_made() -> None:
    made: list[object] = []

    def make(index: int) -> object:
        made.append((index, object()))
        return made[-1]

    call = rotated([partial(make, index) for index in range(3)])
    assert call() is made[0]
    assert call() is made[3]
    assert [entry[0] for entry in made if isinstance(entry, tuple)] == [0, 1, 2, 0, 1, 2]
    assert graphed(call, CPU) is call
    assert sets_beyond_cache(CPU, 1) == 1


class Properties:
    L2_cache_size = 60 << 20


@pytest.mark.parametrize(("mib", "sets"), [(200, 1), (103, 2), (52, 4), (180, 1), (1, 180)])
def test_sets_fill_the_cache_three_times(monkeypatch: Patch, mib: int, sets: int) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: Properties)
    assert sets_beyond_cache(torch.device("cuda"), mib << 20) == sets


def test_what_cannot_be_captured_is_said() -> None:
    def make(index: int) -> Any:
        raise RuntimeError("no\nmore")

    times, refused = gpu_timing.layer_ms(CPU, {"bad": make, "good": lambda _: object}, 1, rounds=1, turn=0.001)
    assert list(times) == ["good"]
    assert refused == ["bad: RuntimeError: no"]


# Scripts.


def test_an_allowance_leaves_cases_out(script: GpuScript, monkeypatch: Patch) -> None:
    now = [0.0]
    monkeypatch.setattr(gpu_script.time, "monotonic", lambda: now[0])
    script.started, script.seconds = 0.0, 10.0
    done = []
    for case in script.cases("abcdef"):
        done.append(case)
        now[0] += 2.0 if case != "b" else 3.0
    assert done == ["a", "b", "c", "d"]  # after 7 s another that takes 3 ends in time, after 9 it does not
    assert script.left_out == ["2 of 6 cases for want of time, from e on."]


def test_the_first_case_runs_whatever_the_allowance(script: GpuScript) -> None:
    script.seconds = 0.0
    assert list(script.cases([1, 2])) == [1]
    script.leave_out("x", "x")
    assert script.left_out == ["1 of 2 cases for want of time, from 2 on.", "x"]


@pytest.mark.parametrize("name", sorted(GPU_PAGES))
def test_without_a_gpu_a_sentence_and_no_record(name: str, monkeypatch: Patch, tmp_path: Path) -> None:
    file = ROOT / "benchmarks" / f"{name}.py"
    monkeypatch.setattr(sys, "argv", [str(file), "--out", str(tmp_path)])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="There is no GPU here"):
        runpy.run_path(str(file), run_name="__main__")
    assert not list(tmp_path.iterdir())


def test_a_share_of_the_cases_is_only_compiled(script: GpuScript) -> None:
    script.share = (1, 3)
    assert list(script.cases(range(8))) == [1, 4, 7]
    assert script.ways(("planes", "torchmg", "torchmg compile")) == ("torchmg",)
    way = Way(torch_pass("forward"))
    assert set(measure(script, Layer(3, 16, 5, 8, 2), "forward", {"planes": way, "torchmg": way})["ms"]) == {
        "torchmg",
        "copy",
    }
    measure_training(script, [Candidate("a", partial(Tower, [], 4))], (4, 2, 2), 2)
    assert [row["way"] for row in script.rows] == ["torchmg"]
    script.finish()
    assert not script.path.exists()


def test_peaks_of_a_device() -> None:
    quick = GpuScript(Path("r.json"), quick=True, precision="fp32", device=CPU)
    assert quick.peaks.dtype == "float32"
    assert min(quick.peaks.tflops, quick.peaks.gbytes, quick.peaks.launch_us) > 0
    assert quick.peaks is quick.peaks


# Layers.


@pytest.mark.parametrize("which", PASSES)
def test_torchs_passes_are_autograds(which: Any) -> None:
    shape = Layer(3, 8, 5, 4, 2).shape
    x, weight, grad = (t.double() for t in random_operands(shape, CPU, torch.float32))
    x.requires_grad_()
    weight.requires_grad_()
    y = nn.functional.conv2d(x, weight, padding=1, groups=shape.groups)
    wanted = (y, *torch.autograd.grad(y, (x, weight), grad))[PASSES.index(which)]
    torch.testing.assert_close(torch_pass(which)(x.detach(), weight.detach(), grad, shape), wanted.detach())


def zeros(x: Tensor, weight: Tensor, grad: Tensor, shape: Shape) -> Tensor:
    return torch.zeros_like(x)


def test_layers_are_timed_checked_and_written(script: GpuScript) -> None:
    layer = Layer(3, 32, 5, 8, 2)
    for which in PASSES:
        ways = {"planes": Way(torch_pass(which), torch.contiguous_format), "torchmg": Way(torch_pass(which))}
        if which == "forward":
            ways["compile"] = Way(zeros)
        script.rows.append(measure(script, layer, which, ways))
    assert script.left_out == [
        "3x3, 32 channels, 5x5, group 8, forward: compile computes something else; off by 1.0e+00."
    ]
    for row in script.rows:
        assert set(row["ms"]) == {"planes", "torchmg", "copy"}
        assert row["speed_up"] == pytest.approx(row["ms"]["planes"] / row["ms"]["torchmg"])
    script.finish(layer_targets(script.rows))
    record = written(script)
    assert len(record["targets"]) == 6
    assert record["environment"]["device"] == "cpu"
    text = GPU_PAGES["gpu_layers"](record)
    assert text.count("| 3x3 | 32, 5x5 | 8 |") == 3
    assert "copies 4,000 GB/s" in text
    assert "computes something else" in text
    assert "over cuDNN's better layout" in all_targets([record])


def test_what_a_layer_reaches() -> None:
    shape = Layer(3, 32, 10, 8, 4).shape
    found = reached({"torchmg": 2.0, "planes": 6.0, "channels_last": 5.0}, 4e9, shape, 4000.0)
    assert found == {"bandwidth": pytest.approx(0.5), "speed_up": 2.5, "tflops": pytest.approx(1e-9 * shape.macs)}
    assert reached({"planes": 1.0}, 1.0, shape, 1.0) == {}
    assert set(reached({"torchmg": 1.0}, 1.0, shape, 1.0)) == {"bandwidth", "tflops"}


def test_targets_of_layers_are_of_the_worst_map() -> None:
    rows = [
        {"kernel": 3, "group": 16, "pass": "forward", "bandwidth": share, "speed_up": 3.0} for share in (0.9, 0.6, 0.8)
    ]
    rows += [{"kernel": 1, "group": 16, "pass": "forward", "bandwidth": 0.1, "speed_up": 0.1}]
    assert [(target.reached, target.met) for target in layer_targets(rows)] == [(0.6, False), (3.0, True)]


# On the device.


def test_every_gpu_script_has_a_table() -> None:
    assert {path.stem for path in (ROOT / "benchmarks").glob("gpu_*.py")} == set(GPU_PAGES)
    assert set(GPU_PAGES) < set(PAGES)


@pytest.mark.gpu
def test_on_a_gpu_the_clock_is_the_devices() -> None:
    device = torch.device("cuda")
    x = torch.randn(1 << 24, device=device)
    calls = {"once": lambda: x.mul_(1.0), "twice": lambda: x.mul_(1.0).mul_(1.0)}
    found = gpu_timing.interleaved_on(device, calls | {"graph": graphed(calls["once"], device)})
    assert found["twice"].median > 1.5 * found["once"].median
    assert found["graph"].median == pytest.approx(found["once"].median, rel=0.3)
    began = time.monotonic()
    assert gpu_timing.interleaved_on(device, calls, rounds=2, turn=0.001)
    assert time.monotonic() - began < 5
