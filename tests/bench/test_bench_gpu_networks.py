"""The timing of blocks and of training on GPUs, tried on the CPU: what runs, what is left out, pages, targets."""

import copy
from functools import partial
from itertools import product
from math import prod
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.bench.scripts import written
from torchmg.bench import gpu_engines
from torchmg.bench.gpu_blocks import Block
from torchmg.bench.gpu_blocks import measure as measure_block
from torchmg.bench.gpu_blocks import targets as block_targets
from torchmg.bench.gpu_engines import time_on_gpu
from torchmg.bench.gpu_pages import GPU_PAGES
from torchmg.bench.gpu_script import GpuScript
from torchmg.bench.gpu_training import MGIAD, Candidate, Tower, fastest, tower
from torchmg.bench.gpu_training import measure as measure_training
from torchmg.bench.gpu_training import targets as training_targets
from torchmg.bench.networks import Subject
from torchmg.nn.relax import Residual

Patch = pytest.MonkeyPatch


def test_blocks_are_timed_and_written(script: GpuScript, monkeypatch: Patch) -> None:
    engines = {name: gpu_engines.ENGINES[name] for name in ("eager", "channels_last", "torchmg")}
    monkeypatch.setattr(gpu_engines, "ENGINES", engines | {"compile": gpu_engines.channels_last})
    measure_block(script, Block(16, 5, 8), 2)
    script.finish(block_targets(script.rows))
    record = written(script)
    assert {(r["model"], r["engine"]) for r in record["rows"]} == {
        (model, engine) for model in ("dense", "mgic") for engine in gpu_engines.ENGINES
    }
    assert not record["left_out"]
    assert list(record["told"]) == ["dense, 2x16x5x5", "mgic, 2x16x5x5"]
    assert all(lines and "16x5x5" in lines[-1] for lines in record["told"].values())
    text = GPU_PAGES["gpu_blocks"](record)
    assert "| 16, 5x5 | 8 | 2 |" in text
    networks = [{"family": "dense"} | row for row in record["rows"]]
    assert "| dense |" in GPU_PAGES["gpu_networks"](record | {"rows": networks})


def test_targets_of_blocks_are_against_the_compiled_dense_block() -> None:
    case = {"channels": 512, "size": 14, "group_size": 16}
    times = {("dense", "eager"): 1.0, ("dense", "compile + graph"): 10.0, ("mgic", "torchmg + graph"): 4.0}
    times |= {("dense", "compile"): 12.0, ("mgic", "torchmg"): 5.0, ("mgic", "compile"): 0.1}
    rows = [case | {"model": model, "engine": engine, "ms": ms} for (model, engine), ms in times.items()]
    (target,) = block_targets(rows)
    assert (target.target, target.reached) == (5.0, 2.5)
    assert block_targets(rows[:1]) == []


def test_what_cannot_run_or_is_wrong_is_left_out(script: GpuScript, monkeypatch: Patch) -> None:
    def refuse(model: nn.Module, x: Tensor) -> Any:
        raise RuntimeError("no such device")

    wrong = {"bad": refuse, "wrong": lambda model, x: lambda: model(x) + 1, "none": lambda model, x: lambda: None}
    monkeypatch.setattr(gpu_engines, "ENGINES", {"eager": gpu_engines.eager} | wrong)
    speeds = time_on_gpu(script, [Subject("a", Residual(8), (8, 4, 4))], 2, engines=tuple(gpu_engines.ENGINES))
    assert [row.engine for row in speeds.rows] == ["eager"]
    assert [sentence.partition(":")[0] for sentence in script.left_out] == [
        "a, bad",
        "wrong computes something else than a in float32",
        "a, none",
    ]


def test_steps_are_timed_and_written(script: GpuScript) -> None:
    networks = {MGIAD: tower(32, 4, 8, 1).model, "dense": tower(32, 4, None, 1).model}
    ways = ("planes", "torchmg")
    found = [Candidate(name, partial(copy.deepcopy, network), ways) for name, network in networks.items()]
    measure_training(script, found, (32, 4, 4), 2)
    script.finish(training_targets(script.rows))
    record = written(script)
    assert [(row["model"], row["way"]) for row in record["rows"]] == list(product(networks, ways))
    (target,) = record["targets"]
    assert target["reached"] == pytest.approx(record["rows"][0]["ms"] / record["rows"][1]["ms"], rel=1e-2)
    assert f"| {MGIAD} |" in GPU_PAGES["gpu_training"](record)


def test_a_step_that_diverges_is_left_out(script: GpuScript) -> None:
    class Infinite(Tower):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * float("inf")

    found = [Candidate("b", partial(Infinite, [], 4), ["planes"])]
    measure_training(script, found, (4, 2, 2), 2)
    assert script.left_out == ["b, planes: the loss is not finite."]


def test_the_towers_have_equal_ends() -> None:
    dense, ours = (tower(32, 4, group, 2).model for group in (None, 8))
    assert isinstance(dense, Tower)
    assert isinstance(ours, Tower)
    assert dense.head.weight.shape == ours.head.weight.shape
    assert ours(torch.randn(2, 32, 4, 4)).shape == (2, 10)
    assert sum(prod(p.shape) for p in ours.parameters()) < sum(prod(p.shape) for p in dense.parameters())


def test_targets_of_training() -> None:
    times = {("mgic 512", "torchmg + graph"): 2.0, ("dense 512", "compile"): 6.0, ("dense 512", "planes"): 1.0}
    times |= {(MGIAD, "planes"): 14.0, (MGIAD, "channels_last"): 12.0, (MGIAD, "channels_last + graph"): 1.0}
    times |= {(MGIAD, "torchmg"): 2.0}
    rows = [{"model": model, "way": way, "ms": ms} for (model, way), ms in times.items()]
    assert [(target.target, target.reached) for target in training_targets(rows)] == [(2.4, 3.0), (6.0, 6.0)]
    assert fastest(rows, MGIAD, "channels_last") == 1.0
    assert fastest(rows, "none", "planes") is None
