"""MGIC basic blocks against dense ones in their fastest engine: how much of the MACs saved becomes time saved.

    uv run --with openvino python benchmarks/cpu_blocks.py     writes cpu_blocks.json beside this file, or in --out

The coarsest width is the group size. efficiency = (dense time in its fastest engine / MGIC time) / (MAC ratio).
"""

from itertools import product

from torchmg.bench.engines import ENGINES
from torchmg.bench.networks import DEFAULT_ENGINES, Subject, time_networks
from torchmg.bench.script import Target, script
from torchmg.nn.mgic import MGICBlock
from torchmg.nn.relax import Residual

CASES = (
    *((64, 56, 16), (128, 28, 16), (256, 14, 16), (512, 7, 16)),
    *((256, 28, 16), (512, 14, 16), (256, 28, 8), (512, 14, 8)),
)
"""Channels, height and width, group size."""
WANTED = {(512, 14, 16, 32, 1): 0.75, (256, 28, 8, 1, 1): 0.70}
"""Channels, size, group size, batch, threads -> efficiency."""
COMPILED = {case[:3] for case in WANTED}
"""What `torch.compile` runs too, which takes minutes for all of them."""


def main() -> None:
    run = script(__file__, __doc__)
    cases, batches = (CASES[3:4], (1,)) if run.quick else (CASES, (1, 32))
    rows, targets, left_out = [], [], []
    for (width, side, group), threads, batch in product(cases, run.threads, batches):
        blocks = {"dense": Residual(width), "mgic": MGICBlock(width, group_size=group, coarsest=group)}
        engines = tuple(ENGINES) if (width, side, group) in COMPILED and not run.quick else DEFAULT_ENGINES
        subjects = [Subject(name, block, (width, side, side)) for name, block in blocks.items()]
        speeds = time_networks(
            subjects, reference="dense", batch_sizes=(batch,), threads=(threads,), engines=engines, **run.timing
        )
        case = {"channels": width, "size": side, "group_size": group}
        rows += [case | row.row() for row in speeds.rows]
        left_out += [reason for reason in speeds.left_out if reason not in left_out]
        best = speeds.best("mgic", batch, threads)
        assert best.efficiency is not None
        print(
            f"{case}: batch {batch}, threads {threads}: {best.engine} {best.ratio:.1f} x dense, {best.efficiency:.2f}"
        )
        if wanted := WANTED.get((width, side, group, batch, threads)):
            name = f"MGIC block {width} x {side}x{side}, group {group}, batch {batch}: efficiency"
            targets.append(Target(name, wanted, best.efficiency))
    run.write(rows, targets, left_out=left_out)


if __name__ == "__main__":
    main()
