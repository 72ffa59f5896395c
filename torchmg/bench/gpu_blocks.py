"""MGIC basic blocks on a GPU: inference in every engine, against dense ones, beside floors."""

from typing import Any, NamedTuple

from torchmg.bench.gpu_engines import time_on_gpu
from torchmg.bench.gpu_floors import GpuPeaks, block_bytes, floor
from torchmg.bench.gpu_script import GpuScript
from torchmg.bench.networks import Subject
from torchmg.bench.script import Target
from torchmg.nn.mgic import MGICBlock
from torchmg.nn.relax import Residual

BATCH = 128
WANTED = {(256, 28, 16): 2.5, (512, 14, 16): 5.0, (1024, 14, 16): 9.0}
"""Channels, size, group size -> times as fast as the compiled dense block."""


class Block(NamedTuple):
    """One case: channels, height and width of the map, and group size, which is the coarsest width too."""

    channels: int
    size: int
    group_size: int = 16

    @property
    def subjects(self) -> list[Subject]:
        """The dense block and the MGIC block."""
        shape = (self.channels, self.size, self.size)
        ours = MGICBlock(self.channels, group_size=self.group_size, coarsest=self.group_size)
        return [Subject("dense", Residual(self.channels), shape), Subject("mgic", ours, shape)]


def measure(script: GpuScript, block: Block, batch: int = BATCH) -> None:
    """Time one case in all engines, and add its rows to the script's."""
    subjects = block.subjects
    speeds = time_on_gpu(script, subjects, batch, reference="dense")
    least = floors(block, batch, script.dtype.itemsize, script.peaks, *(subject.macs for subject in subjects))
    case = block._asdict() | {"floors_ms": least}
    script.rows += [case | row.row() for row in speeds.rows]
    best = speeds.best("mgic", batch, 1)
    print(f"{block}: {best.engine} {best.ratio or 0:.2f} x dense in its fastest engine", flush=True)


def floors(block: Block, batch: int, size: int, peaks: GpuPeaks, dense: int, mgic: int) -> dict[str, float]:
    """Least milliseconds by how much is fused, see `torchmg.bench.gpu_floors.block_bytes`.

    Args:
        block: the case.
        batch: images.
        size: bytes of a value.
        peaks: of the device.
        dense: MACs of one image in the dense block.
        mgic: MACs of one image in the MGIC block.
    """
    levels, width = 1, block.channels
    while width > block.group_size:
        levels, width = levels + 1, width // 2
    moved = block_bytes(levels, size * batch * block.channels * block.size**2)
    macs = {"dense": dense, "level": mgic, "whole": mgic}
    return {name: floor(peaks, moved[name], 2 * batch * macs[name]).ms for name in moved}


def targets(rows: list[dict[str, Any]]) -> list[Target]:
    """Our fastest engine against the compiled dense block, as it is called or as a graph, whichever is faster."""
    found = []
    for (width, side, group), wanted in WANTED.items():
        of_case = [r for r in rows if (r["channels"], r["size"], r["group_size"]) == (width, side, group)]
        ours = [r["ms"] for r in of_case if r["model"] == "mgic" and r["engine"].startswith("torchmg")]
        dense = [r["ms"] for r in of_case if r["model"] == "dense" and r["engine"].startswith("compile")]
        if ours and dense:
            case = f"GPU inference, MGIC block {width} x {side}x{side}, group {group}, over the compiled dense block"
            found.append(Target(case, wanted, min(dense) / min(ours)))
    return found
