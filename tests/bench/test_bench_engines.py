"""Engines compute what eager computes, timing is fair, and ratios are what they are called."""

import importlib.util
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import torchmg
from torchmg.bench import engines, timing
from torchmg.bench.engines import ENGINES, engine
from torchmg.bench.fold import folded
from torchmg.bench.networks import Speed, Speeds, Subject, compared, time_networks
from torchmg.bench.pages import PAGES, all_targets, checked
from torchmg.bench.peaks import measure_peaks
from torchmg.bench.record import write_record
from torchmg.bench.script import Target
from torchmg.bench.timing import interleaved, keep_freed_memory
from torchmg.errors import DataError, UnknownNameError, UsageError
from torchmg.kernels import choice
from torchmg.nn import MGICBlock

QUICK: dict[str, Any] = {"rounds": 1, "turn": 0.001}


def block() -> nn.Module:
    """A block whose norms have seen something."""
    torch.manual_seed(0)
    net = MGICBlock(16, group_size=4, coarsest=8)
    for _ in range(3):
        net(torch.randn(4, 16, 6, 6))
    return net


@pytest.mark.parametrize("name", [name for name in ENGINES if name != "compile"])
def test_every_engine_computes_what_the_network_does(name: str) -> None:
    if reason := engine(name).available():
        pytest.skip(reason)
    net, x = block(), torch.randn(2, 16, 5, 7)
    state = {key: value.clone() for key, value in net.state_dict().items()}
    with torch.no_grad():
        wanted = net.eval()(x)
    net.train()
    found = torch.from_numpy(np.asarray(engine(name).prepare(net, x)()))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    assert net.training
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())


def test_norms_are_folded_where_they_follow_one_convolution() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.shared = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
            self.norms = nn.ModuleList(nn.BatchNorm2d(3) for _ in range(4))

        def forward(self, x: Tensor) -> Tensor:
            x = self.norms[0](self.a(x))
            x = self.norms[1](self.b(x).relu())  # something between
            return self.norms[3](self.shared(self.norms[2](self.shared(x))))  # two uses of one convolution

    torch.manual_seed(0)
    net = Net()
    for _ in range(3):
        net(torch.randn(4, 3, 5, 5))
    x = torch.randn(2, 3, 5, 5)
    twin = folded(net.eval(), x)
    assert [type(norm) for norm in twin.get_submodule("norms").children()] == [nn.Identity, *[nn.BatchNorm2d] * 3]
    torch.testing.assert_close(twin(x), net(x))


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    gone = {"openvino", "onnxruntime"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in gone else found(name))
    assert engine("openvino").available() == "openvino: openvino missing; install with: pip install 'openvino'."
    reason = engine("onnxruntime").available()
    assert reason == "onnxruntime: onnxruntime missing; install with: pip install 'torchmg[export]'."
    monkeypatch.setattr(engines.shutil, "which", lambda _: None)
    assert "needs a C++ compiler" in str(engine("compile").available())
    with pytest.raises(UnknownNameError, match="openvino"):
        engine("opnvino")
    wanted = [Subject("a", block(), (16, 4, 4))]
    assert time_networks(wanted, engines=("eager", "openvino"), **QUICK).left_out == [engine("openvino").available()]
    with pytest.raises(UsageError, match="No engine is left"):
        time_networks(wanted, engines=("openvino",), **QUICK)


class Wrong:
    """An engine that computes something else, or nothing."""

    name = "wrong"

    def __init__(self, prepare: Callable[[nn.Module, Tensor], Callable[[], Any]]) -> None:
        self.prepare = prepare

    def available(self) -> str | None:
        return None


def refuse(model: nn.Module, x: Tensor) -> Callable[[], Any]:
    raise RuntimeError("no such operator\nand more")


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (
            lambda model, x: lambda: 1.01 * model.eval()(x).detach(),
            "wrong computes something else than eager for a: off by",
        ),
        (lambda model, x: lambda: model.eval()(x).detach() * float("nan"), "off by nan"),
        (refuse, "wrong cannot run a: RuntimeError: no such operator"),
    ],
)
def test_an_engine_that_is_wrong_is_left_out(
    monkeypatch: pytest.MonkeyPatch, prepare: Callable[[nn.Module, Tensor], Callable[[], Any]], said: str
) -> None:
    monkeypatch.setitem(ENGINES, "wrong", Wrong(prepare))
    found = time_networks([Subject("a", block(), (16, 4, 4))], engines=("eager", "wrong"), **QUICK)
    assert [row.engine for row in found.rows] == ["eager"]
    (reason,) = found.left_out
    assert said in reason
    assert "and more" not in reason


def test_turns_alternate_and_the_median_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(timing.time, "process_time", lambda: now[0])
    turns: list[str] = []

    def takes(name: str, seconds: list[float]) -> Callable[[], None]:
        left = iter(seconds)

        def call() -> None:
            turns.append(name)
            now[0] += next(left)

        return call

    calls = {"a": takes("a", [9, 1, 2, 7, 3]), "b": takes("b", [9, 2, 4, 4, 5])}
    assert interleaved(calls, rounds=3) == {"a": (3000, 2000, 7000), "b": (4000, 4000, 5000)}
    assert "".join(turns) == "aabb" + 3 * "ab"


def test_clocks() -> None:
    assert timing.clock_for(1) is time.process_time
    assert timing.clock_for(2) is time.perf_counter
    assert isinstance(keep_freed_memory(), bool)
    sleep = {"sleep": lambda: time.sleep(0.02)}
    assert interleaved(sleep, threads=2, rounds=1, turn=0.01)["sleep"].median > 19


def test_ratios_are_to_the_reference_in_its_fastest_engine() -> None:
    rows = [
        Speed("dense", "slow", 2, 1, 40.0, 40, 40, macs=600),
        Speed("dense", "fast", 2, 1, 20.0, 20, 20, macs=600),
        Speed("ours", "slow", 2, 1, 10.0, 10, 10, macs=100),
    ]
    speeds = compared(Speeds(rows), "dense")
    assert [row.ratio for row in speeds.rows] == [0.5, 1, 2]
    assert [row.efficiency for row in speeds.rows] == [0.5, 1, pytest.approx(1 / 3)]
    assert speeds.best("dense", 2, 1).engine == "fast"
    assert speeds.rows[2].images_per_second == 200
    assert speeds.rows[2].gflops == pytest.approx(2 * 100 * 200 / 1e9)
    with pytest.raises(UsageError, match="No engine ran dense"):
        speeds.best("dense", 3, 1)


def test_sizes_and_references_are_checked() -> None:
    subject = [Subject("a", block(), (16, 4, 4))]
    for wrong in ({"batch_sizes": (0,)}, {"threads": (0,)}, {"rounds": 0}):
        with pytest.raises(UsageError, match="start at 1"):
            time_networks(subject, engines=("eager",), **wrong)
    with pytest.raises(UsageError, match="reference b is not timed"):
        time_networks(subject, reference="b")


def test_peaks_are_of_this_machine() -> None:
    peaks = measure_peaks(1, matrices=(64,), copies=(0.5,), **QUICK)
    assert peaks.gflops > 0.1
    assert list(peaks.copy) == ["0.5"]
    assert peaks.copy["0.5"] > 0.1


@pytest.fixture
def quick_record(tmp_path: Path) -> dict[str, Any]:
    """A record of blocks as a script writes it."""
    blocks = [Subject("dense", nn.Conv2d(16, 16, 3, padding=1), (16, 5, 5)), Subject("mgic", block(), (16, 5, 5))]
    speeds = time_networks(blocks, reference="dense", engines=("eager", "folded"), **QUICK)
    rows = [{"channels": 16, "size": 5, "group_size": 4} | row.row() for row in speeds.rows]
    more = {"quick": False, "targets": [Target("a", 2.0, 1.987654).row()], "peaks": [], "left_out": speeds.left_out}
    write_record(tmp_path / "r.json", rows, "made by", **more)
    return json.loads((tmp_path / "r.json").read_text())


def test_a_record_makes_tables(quick_record: dict[str, Any]) -> None:
    assert quick_record["environment"]["torch"] == torch.__version__
    assert quick_record["targets"][0]["reached"] == 1.988
    text = PAGES["cpu_blocks"](quick_record)
    assert "| 16, 5x5 | 4 | 1 | 1 |" in text
    assert "`made by`" in text
    assert "| dense |" in PAGES["cpu_networks"](quick_record)
    assert "(eager)" in PAGES["cpu_widths"](quick_record) or "(folded)" in PAGES["cpu_widths"](quick_record)
    assert "| a | >= 2 | 1.99 | no |" in all_targets([quick_record])
    with pytest.raises(DataError, match="--quick"):
        checked(quick_record | {"quick": True}, "cpu_blocks")


def test_targets() -> None:
    assert Target("", 2, 2).met
    assert not Target("", 2, 2.1, at_least=False).met


def test_a_record_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be written"):
        write_record(tmp_path / "no" / "r.json", [])


@pytest.mark.slow
def test_compiled() -> None:
    if reason := engine("compile").available():
        pytest.skip(reason)
    x = torch.randn(1, 3, 8, 8)
    net = torchmg.create("mgic_resnet20").eval()
    with torch.no_grad():
        torch.testing.assert_close(engine("compile").prepare(net, x)(), net(x), rtol=1e-3, atol=1e-3)


def test_stock_uses_no_lowering_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    pins: list[object] = []

    class Look(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            pins.append(choice.pin())
            return x

    monkeypatch.delenv("TORCHMG_LOWERING", raising=False)
    for name in ("stock", "eager"):
        engine(name).prepare(Look(), torch.randn(1, 2, 3, 3))()
    assert pins[0] == "aten" != pins[1]


def test_every_table_has_a_place_on_the_page() -> None:
    root = Path(__file__).parent.parent.parent
    page = (root / "docs" / "performance.md").read_text()
    for name in [*PAGES, "targets"]:
        assert page.count(f"<!-- benchmarks/{name}: written by tools/results.py -->") == 1
    assert {path.stem for path in (root / "benchmarks").glob("[cg]pu_*.py")} | {"peaks"} == set(PAGES)
