"""All launches of GPU kernels compile for an H100 or H200 without spills to speak of, in the shared memory there is."""

import importlib
import os
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

pytest.importorskip("triton")

from compiled import SHARED, Built, Launch, built, recording

FAST = ("3x3/1 of groups of 16, forward, torch.bfloat16", "weight gradient of groups of 16, torch.bfloat16")
"""What is compiled in every run of the tests."""
SPILLS = 200 if version("triton").startswith("3.6.") else 0
"""Bytes that a thread may spill. The Triton of the oldest torch spills up to 184 in a few launches in which later ones
spill none; which launch runs is decided by time."""
WIDE = ("rows_kernel", "taps_kernel", "_affine", "_affine_backward", "_moments")
"""Kernels that have to read maps 16 bytes at a time, as nothing but reading bounds them."""
LIGHT = ("_affine", "_affine_backward", "_moments")
"""Kernels of which a multiprocessor has to hold two programs, for as many reads under way: 128 registers a thread."""
interpreting = os.environ.get("TRITON_INTERPRET") == "1"
pytestmark = pytest.mark.skipif(interpreting, reason="nothing is compiled in a process that interprets")


def _calls() -> Iterator[tuple[str, Callable[[], object]]]:
    for path in sorted(Path(__file__).parent.glob("gpu_launches_*.py")):
        for name, function in importlib.import_module(path.stem).CALLS:
            yield f"{path.stem.removeprefix('gpu_launches_')}: {name}", function


CALLS = {} if interpreting else dict(_calls())


def _every_launch(function: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> list[Launch]:
    """Those of all candidates, each once."""
    from torchmg.kernels.gpu import tune

    def all_of(_name: str, _key: object, configs: list[tune.Config], run: Callable[[tune.Config], object]) -> object:
        for config in configs:
            run(config)
        return configs[0]

    with recording() as found:
        for module in list(_modules()):
            if hasattr(module, "tuned"):
                monkeypatch.setattr(module, "tuned", all_of)
        function()
    return list({str((x.kernel, sorted(_plain(x.arguments).items()), x.warps, x.stages)): x for x in found}.values())


def _modules() -> Iterator[object]:
    import sys

    return (module for name, module in sys.modules.items() if name.startswith("torchmg.") and ".gpu" in name)


def _plain(arguments: dict[str, object]) -> dict[str, str]:
    return {key: str(getattr(value, "dtype", value)) for key, value in arguments.items()}


def _check(launch: Launch) -> Built:
    found = built(launch)
    what = launch.kernel.__name__, launch.warps, launch.stages, _plain(launch.arguments), found[:3]
    assert found.stack <= SPILLS, what
    assert found.shared <= SHARED, what
    assert found.wide or launch.kernel.__name__ not in WIDE, what
    assert found.registers <= 128 or launch.kernel.__name__ not in LIGHT, what
    return found


def test_the_main_kernels_compile() -> None:
    names = [name for name in CALLS if name.split(": ", 1)[1] in FAST]
    assert names
    for name in names:
        with recording() as launches:
            CALLS[name]()
        for launch in launches:
            assert _check(launch).tensor_cores


@pytest.mark.slow
@pytest.mark.parametrize("name", list(CALLS))
def test_every_launch_compiles(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    launches = _every_launch(CALLS[name], monkeypatch)
    assert launches
    for launch in launches:
        print(launch.kernel.__name__, launch.arguments.get("BLOCK"), launch.warps, launch.stages, _check(launch)[:4])
