"""Peaks of memory against closed forms, and measured ones against tensors of known size."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from torchmg.bench.memory import MIB, counted, measured, memory_table
from torchmg.errors import DataError
from torchmg.nn import MGICBlock
from torchmg.nn.relax import Residual

SIDE, BATCH = 6, 3


@pytest.mark.parametrize("channels", [32, 128])
def test_inference_of_blocks_has_the_closed_form(channels: int) -> None:
    value = 4 * channels * SIDE**2 * BATCH  # bytes of the finest map
    # The largest moments of a dense block: two maps of the relaxation and one that is being made, beyond the input.
    assert value * 3 <= counted(Residual(channels), (channels, SIDE, SIDE), BATCH, training=False)[0] < value * 3.1
    # An MGIC block has the corrected map besides, and none of the coarser levels any more.
    block = MGICBlock(channels, group_size=8, coarsest=16)
    assert value * 4 <= counted(block, (channels, SIDE, SIDE), BATCH, training=False)[0] < value * 4.1


def test_tensors_are_counted_while_they_live() -> None:
    class Chain(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = x + 1  # 1
            z = torch.cat([y, y, y])  # 1 + 3
            del y
            w = z + 1  # 3 + 3
            del z
            return w.view(-1)[:2] + 1  # 3 and two numbers

    x = 4 * 2 * 5
    assert counted(Chain(), (5,), 2, training=False) == (6 * x, 0)


def test_training_keeps_what_autograd_says() -> None:
    linear = nn.Linear(5, 7)
    peak, kept = counted(nn.Sequential(linear, nn.Sigmoid()), (5,), 4, training=True)
    assert kept == 4 * 4 * 7  # the sigmoid's output; the input and the weight are given
    assert peak >= kept + 4 * sum(p.numel() for p in linear.parameters())


def test_recomputing_keeps_one_map_more_than_a_dense_block() -> None:
    blocks, shape, batch = 4, (64, 48, 48), 4  # maps so large that weights and statistics do not show
    value = 4 * batch * 64 * 48 * 48

    def maps(block: Callable[[], nn.Module]) -> tuple[float, float]:
        peak, kept = counted(nn.Sequential(*(block() for _ in range(blocks))), shape, batch, training=True)
        return peak / value / blocks, kept / value / blocks

    dense, plain, again = (
        maps(block) for block in (lambda: Residual(64), lambda: MGICBlock(64), lambda: MGICBlock(64, recompute=True))
    )
    # Both convolutions' results, the first ReLU's and the sum's; with recomputing also the corrected map.
    assert (dense[1], again[1]) == pytest.approx((4, 5), rel=0.01)
    assert plain[1] > 11
    # The peak is one block's coarser levels on top, not every block's.
    assert again[0] < again[1] + 4 / blocks < plain[0] / 1.9


@pytest.mark.slow  # a process that imports torch
@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep no peak that can be reset")
def test_a_process_is_measured(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "import torch\n"
        "class Big(torch.nn.Module):\n"
        "    def forward(self, x):\n"
        "        y = x.repeat(1, 1000)\n"
        "        return (y + 1).sum() + self.w\n"
        "def build(num_classes=1):\n"
        "    net = Big()\n"
        "    net.w = torch.nn.Parameter(torch.ones(()))\n"
        "    return net\n"
    )
    grown = measured(f"{tmp_path / 'net.py'}:build", {}, (1000,), 8, training=False)
    expected = 2 * 8 * 1000 * 1000 * 4
    assert 0.8 * expected < grown < 1.3 * expected + 4 * MIB


def test_a_process_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = subprocess.CompletedProcess([], 1, "", "Traceback\n  somewhere\nValueError: because\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(DataError, match=r"process that measures memory failed: ValueError: because"):
        measured("resnet20", {}, (3, 8, 8), 1, training=False)


def test_the_table_has_mebibytes() -> None:
    from torchmg.bench.memory import Memory

    table = memory_table([Memory("a", False, 2, MIB, 3 * MIB, 0), Memory("a", True, 2, MIB, 5 * MIB, 2 * MIB, 6 * MIB)])
    assert table.rows[0][1:] == ("inference", 2, 1.0, 3.0, None, None)
    assert table.rows[1][1:] == ("training", 2, 1.0, 5.0, 2.0, 6.0)
