"""Timing takes turns, ends in milliseconds per image, and leaves out the first rounds."""

import time
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from torchmg.bench import latency
from torchmg.bench.latency import latencies


class Sleeper(nn.Module):
    """Takes a known time, and writes down who ran."""

    def __init__(self, name: str, seconds: list[float], turns: list[tuple[str, tuple[int, ...], bool]]) -> None:
        super().__init__()
        self.name, self.seconds, self.turns = name, iter(seconds), turns

    def forward(self, x: Tensor) -> Tensor:
        self.turns.append((self.name, tuple(x.shape), self.training))
        self.clock[0] += next(self.seconds)
        return x

    clock: ClassVar = [0.0]


def test_medians_and_extremes_of_the_rounds_that_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency.time, "perf_counter", lambda: Sleeper.clock[0])
    turns: list[tuple[str, tuple[int, ...], bool]] = []
    models = {
        "slow": Sleeper("slow", [50, 60, 4, 8, 6], turns).train(),
        "fast": Sleeper("fast", [70, 80, 1, 3, 1], turns).train(),
    }
    found = latencies(models, (3, 4, 4), batch_size=2, rounds=3)
    assert found["slow"] == pytest.approx((3000, 2000, 4000))
    assert found["fast"] == pytest.approx((500, 500, 1500))
    assert [name for name, _, _ in turns] == ["slow", "fast"] * 5
    assert {shape for _, shape, _ in turns} == {(2, 3, 4, 4)}
    assert not any(training for _, _, training in turns)


def test_real_time_is_in_milliseconds_per_image() -> None:
    class Wait(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            time.sleep(0.02)
            return x

    (found,) = latencies({"wait": Wait()}, (1, 2, 2), batch_size=4, rounds=3).values()
    assert 5 <= found.low <= found.median <= found.high
    assert found.low < 50


@pytest.mark.parametrize("last", [True, False])
def test_layout_and_mode(last: bool) -> None:
    seen: list[tuple[bool, bool]] = []

    class Look(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            seen.append((x.is_contiguous(), self.conv.weight.is_contiguous()))
            assert not torch.is_grad_enabled()
            return self.conv(x)

    latencies({"look": Look()}, (3, 8, 8), batch_size=2, rounds=1, channels_last=last)
    assert set(seen) == {(not last, not last)}
