"""Which lowering is chosen: pins, the static default, and what was measured on this machine."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from torchmg.errors import UnknownNameError, UsageError
from torchmg.kernels import choice, lowerings, measure
from torchmg.kernels.choice import choose, default, may_differ, pinned
from torchmg.kernels.measure import Row, measured, remember, table
from torchmg.kernels.op import grouped_conv
from torchmg.kernels.shape import ConvShape, Lowering, Shape

Patch = pytest.MonkeyPatch


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: Patch, tmp_path: Path) -> Iterator[None]:
    """No pin, and a folder of measurements that is empty."""
    monkeypatch.delenv("TORCHMG_LOWERING", raising=False)
    monkeypatch.setenv("TORCHMG_CACHE", str(tmp_path / "cache"))
    choice.forget()
    yield
    monkeypatch.undo()
    choice.forget()


def native(monkeypatch: Patch, there: bool) -> None:
    """A library that is there, or not, whatever was compiled."""
    monkeypatch.setattr(lowerings.native, "has", lambda *_: there)
    choice.forget()


def conv(size: int, kernel: int = 3, *, groups: int = 4, images: int = 1, stride: int = 1) -> Shape:
    return Shape(images, size * groups, size * groups, groups, 14, 14, kernel, kernel, stride, kernel // 2, kernel // 2)


def pick(shape: Shape, *, threads: int = 1, gradients: bool = False) -> Lowering:
    return choose(shape, threads=threads, gradients=gradients)


def test_defaults_with_the_library(monkeypatch: Patch) -> None:
    native(monkeypatch, True)
    for size in (2, 4, 7, 12):
        for kernel in (1, 3, 5):
            assert pick(conv(size, kernel)) == pick(conv(size, kernel, images=32), threads=2) == "native"
    for size in (8, 16, 32):
        assert pick(conv(size, 1)) == pick(conv(size, 3, images=32)) == "native"
        assert pick(conv(size, 3)) == ("native" if size == 8 else "aten")
    assert pick(conv(16, 5, images=32)) == pick(conv(48, 3, images=32)) == "aten"
    assert pick(conv(33, 1)) == pick(conv(16, groups=1)) == pick(conv(1, 3)) == "aten"


def test_defaults_without_the_library(monkeypatch: Patch) -> None:
    native(monkeypatch, False)
    assert pick(conv(8, 3)) == "aten"
    assert pick(conv(8, 1)) == pick(conv(16, 1, images=15)) == "matmul"
    others = [conv(17, 1), conv(8, 1, images=16), conv(8, 1, stride=2), conv(8, 1, groups=1)]
    assert {pick(shape) for shape in others} == {pick(conv(8, 1), threads=2)} == {"aten"}


def test_a_library_without_gradients_serves_inference_only(monkeypatch: Patch) -> None:
    monkeypatch.setattr(lowerings.native, "has", lambda *names: "tmg_conv_data_gradient" not in names)
    choice.forget()
    assert pick(conv(8, images=32)) == "native"
    assert pick(conv(8, images=32), gradients=True) == "aten"


def test_pins_and_what_they_cannot_serve(monkeypatch: Patch) -> None:
    native(monkeypatch, True)
    monkeypatch.setenv("TORCHMG_LOWERING", "matmul")
    choice.forget()
    assert (pick(conv(64, 1, images=99), threads=2), pick(conv(8, 3))) == ("matmul", "aten")
    with pinned("native"):
        assert pick(conv(64)) == "native"
        with pinned(None):
            assert pick(conv(64)) == "aten"
    assert pick(conv(64, 1)) == "matmul"
    monkeypatch.setenv("TORCHMG_LOWERING", "nativ")
    choice.forget()
    with pytest.raises(UnknownNameError, match=r"TORCHMG_LOWERING=nativ is no lowering\. Did you mean native"):
        grouped_conv(torch.randn(1, 8, 3, 3), torch.randn(8, 2, 3, 3), groups=4)


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("pin", [None, "aten", "matmul", "native"])
def test_compilers_are_told_of_every_shape_that_differs(pin: Lowering | None, there: bool, monkeypatch: Patch) -> None:
    native(monkeypatch, there)
    with pinned(pin):
        for size in (1, 2, 16, 17, 32, 33):
            for kernel in (1, 3):
                for images in (1, 32):
                    if pick(conv(size, kernel, images=images)) != "aten":
                        assert may_differ(size, size, (kernel, kernel))
    with pinned("aten"):
        assert not may_differ(8, 8, (1, 1))


def test_what_was_measured_is_used_here_and_nowhere_else(monkeypatch: Patch) -> None:
    native(monkeypatch, False)
    shape, other = conv(8, 1), conv(4, 1)
    assert (pick(shape), pick(other)) == ("matmul", "matmul")
    remember([Row(shape, 1, False, {"aten": 1.0, "matmul": 2.0}, "matmul")])
    remember([Row(other, 1, False, {"aten": 0.97, "matmul": 1.0}, "matmul")])
    assert (pick(shape), pick(other)) == ("aten", "matmul")
    assert pick(shape, gradients=True) == "matmul"
    with pinned("matmul"):
        assert pick(shape) == "matmul"
    kept = json.loads(choice.cache_file().read_text())
    assert list(kept) == [choice.machine()]
    choice.cache_file().write_text(json.dumps({"another machine": kept[choice.machine()]}))
    choice.forget()
    assert pick(shape) == "matmul"


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"x": 1}', "MINE 3", 'MINE {"a": "b"}'])
def test_a_damaged_file_is_as_none(text: str, monkeypatch: Patch) -> None:
    native(monkeypatch, False)
    choice.cache_folder().mkdir()
    mine = f'{{"{choice.machine()}": {text[5:]}}}'
    choice.cache_file().write_text(mine if text.startswith("MINE") else text)
    assert pick(conv(8, 1)) == "matmul"
    remember([Row(conv(8, 1), 1, False, {"aten": 1.0, "matmul": 2.0}, "matmul")])
    assert pick(conv(8, 1)) == "aten"


@pytest.mark.parametrize("gradients", [False, True])
def test_measuring_times_every_lowering_that_serves(gradients: bool) -> None:
    threads = torch.get_num_threads()
    rows = measured([conv(4, 1), conv(4, 3, stride=2)], 1, gradients=gradients, rounds=3, least=0.0005)
    for row in rows:
        able = {name for name in row.milliseconds if lowerings.serves(name, row.shape, gradients=gradients)}
        assert able == set(row.milliseconds) >= {"aten"}
        assert all(time > 0 for time in row.milliseconds.values())
        assert row.default == default(row.shape, 1, gradients)
        assert row.best in row.milliseconds
        assert row.gflops > 0
    assert "matmul" in rows[0].milliseconds
    assert "matmul" not in rows[1].milliseconds
    shown = str(table(rows))
    assert "3x3/2" in shown
    assert "aten / best" in shown
    assert torch.get_num_threads() == threads


def test_what_cannot_be_measured() -> None:
    with pytest.raises(UsageError, match="one thread and one round"):
        measured([], 0)
    with pytest.raises(UsageError, match="no grouped convolution"):
        measured([conv(4)._replace(out_channels=5)], 1)
    assert measured([], 1) == []
    assert str(measure.table([]))


def test_the_structure_is_the_shape() -> None:
    shape = conv(4, 3, stride=2)
    made = ConvShape(*shape)
    assert [getattr(made, name) for name in Shape._fields] == list(shape)
    assert shape.macs == 7 * 7 * 16 * 4 * 9
