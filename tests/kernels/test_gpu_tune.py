"""Which launch of a GPU kernel is chosen: without a GPU the default, with one (played here) what is timed."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from torchmg.errors import UsageError
from torchmg.kernels.gpu import tune
from torchmg.kernels.gpu.tune import Config, fastest, tuned

Patch = pytest.MonkeyPatch

CONFIGS = (Config(64), Config(128, 2), Config(32, warps=8))


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: Patch, tmp_path: Path) -> Iterator[None]:
    """A folder of choices that is empty."""
    monkeypatch.setenv("TORCHMG_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TORCHMG_TUNE", raising=False)
    tune.forget()
    yield
    monkeypatch.undo()
    tune.forget()


class Device:
    """A GPU that is played: every launch takes what `costs` says, and is counted."""

    def __init__(self, monkeypatch: Patch, costs: dict[Config, float]) -> None:
        self.costs, self.launched, self.last = costs, 0, 0.0
        monkeypatch.delenv("TRITON_INTERPRET", raising=False)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "played")
        monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
        monkeypatch.setattr(tune, "seconds", self.seconds)

    def run(self, config: Config) -> None:
        self.launched += 1
        if config not in self.costs:
            raise RuntimeError("out of resource: shared memory")
        self.last = self.costs[config]

    def seconds(self, call: Callable[[], object]) -> float:
        call()
        return self.last


def refuse(config: Config) -> None:
    raise AssertionError("nothing may run")


def test_without_a_gpu_the_default(monkeypatch: Patch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert tuned("conv", (1, 2), CONFIGS, refuse) == CONFIGS[0]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for name, value in (("TORCHMG_TUNE", "0"), ("TRITON_INTERPRET", "1")):
        tune.forget()
        with monkeypatch.context() as inner:
            inner.setenv(name, value)
            assert tuned("conv", (1, 2), CONFIGS, refuse) == CONFIGS[0]
    assert not tune.tuned_file().exists()
    with pytest.raises(UsageError, match="conv needs at least one"):
        tuned("conv", (), (), refuse)


def test_the_fastest_is_timed_once_and_remembered(monkeypatch: Patch) -> None:
    device = Device(monkeypatch, {CONFIGS[0]: 3.0, CONFIGS[1]: 2.0, CONFIGS[2]: 9.0})
    assert tuned("conv", (64, "bf16"), CONFIGS, device.run) == CONFIGS[1]
    assert tune.chosen() == {"conv 64 bf16": CONFIGS[1]}
    launched = device.launched
    assert tuned("conv", (64, "bf16"), CONFIGS, refuse) == CONFIGS[1]
    tune.forget()  # another process
    assert tuned("conv", (64, "bf16"), CONFIGS, refuse) == CONFIGS[1]
    assert device.launched == launched
    assert tuned("conv", (64, "fp16"), CONFIGS[::2], device.run) == CONFIGS[0]  # another key
    tune.forget()
    assert tuned("conv", (64, "bf16"), CONFIGS[::2], device.run) == CONFIGS[0]  # what is remembered is no candidate now


def test_what_cannot_be_launched_is_no_candidate(monkeypatch: Patch) -> None:
    device = Device(monkeypatch, {CONFIGS[2]: 9.0})
    assert tuned("conv", (1,), CONFIGS, device.run) == CONFIGS[2]
    with pytest.raises(RuntimeError, match="shared memory"):
        tuned("conv", (2,), CONFIGS[:2], device.run)


def test_nothing_is_timed_during_capture_or_where_runs_must_repeat(monkeypatch: Patch) -> None:
    device = Device(monkeypatch, {CONFIGS[0]: 3.0, CONFIGS[1]: 2.0})
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    assert tuned("conv", (1,), CONFIGS, refuse) == CONFIGS[0]
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: True)
    assert tuned("conv", (1,), CONFIGS, refuse) == CONFIGS[0]
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: False)
    assert tuned("conv", (1,), CONFIGS, device.run) == CONFIGS[1]  # neither is remembered
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    assert tuned("conv", (1,), CONFIGS, refuse) == CONFIGS[1]


def test_all_are_compiled_and_none_is_chosen(monkeypatch: Patch) -> None:
    device = Device(monkeypatch, {CONFIGS[0]: 3.0, CONFIGS[1]: 2.0})
    monkeypatch.setenv("TORCHMG_TUNE", "compile")
    assert tuned("conv", (1,), CONFIGS, device.run) == CONFIGS[0]
    assert device.launched == 3
    assert tuned("conv", (1,), CONFIGS, refuse) == CONFIGS[0]
    assert not tune.tuned_file().exists()


def test_the_file_keeps_what_others_wrote(monkeypatch: Patch) -> None:
    device = Device(monkeypatch, {CONFIGS[0]: 3.0, CONFIGS[1]: 2.0})
    tuned("conv", (1,), CONFIGS, device.run)
    tune.remember("another", "conv", (1,), CONFIGS[2])
    tune.remember(tune.machine(), "sum", (7,), CONFIGS[0])
    tuned("conv", (2,), CONFIGS, device.run)
    kept = json.loads(tune.tuned_file().read_text())
    assert kept == {
        "another": {"conv 1": list(CONFIGS[2])},
        tune.machine(): {"conv 1": list(CONFIGS[1]), "conv 2": list(CONFIGS[1]), "sum 7": list(CONFIGS[0])},
    }
    assert [path.name for path in tune.tuned_file().parent.iterdir()] == ["gpu.json"]


@pytest.mark.parametrize("text", ["", "[]", "no json", '{"played": 3}', '{"MACHINE": {"conv 1": [1, "a"]}}'])
def test_a_file_that_cannot_be_read_is_as_none(monkeypatch: Patch, text: str) -> None:
    device = Device(monkeypatch, {CONFIGS[0]: 3.0, CONFIGS[1]: 2.0})
    tune.tuned_file().parent.mkdir(parents=True)
    tune.tuned_file().write_text(text.replace("MACHINE", tune.machine()))
    assert tuned("conv", (1,), CONFIGS, device.run) == CONFIGS[1]


def test_a_folder_that_takes_no_file(monkeypatch: Patch, tmp_path: Path) -> None:
    device = Device(monkeypatch, {CONFIGS[0]: 3.0, CONFIGS[1]: 2.0})
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TORCHMG_CACHE", str(tmp_path / "file"))
    assert tuned("conv", (1,), CONFIGS, device.run) == CONFIGS[1]


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=6))
def test_the_choice_is_no_slower_than_any_to_the_margin(costs: list[float]) -> None:
    by_config = {Config(16 << index): cost for index, cost in enumerate(costs)}
    last: list[Config] = []

    def clock(call: Callable[[], object]) -> float:
        call()
        return by_config[last[-1]]

    best = fastest(list(by_config), last.append, clock)
    assert tune.MARGIN * by_config[best] <= min(costs)
    if by_config[best] == costs[0]:
        assert best == Config(16)


@pytest.mark.gpu
def test_on_a_gpu() -> None:
    x = torch.randn(1 << 22, device="cuda")

    def run(config: Config) -> None:
        for _ in range(config.splits):
            x.mul_(1.0)

    configs = (Config(64, splits=20), Config(64, splits=2))
    assert tuned("mul", (1,), configs, run) == configs[1]
    assert tune.seconds(lambda: run(configs[1])) < tune.seconds(lambda: run(configs[0]))
