"""MGIC basic blocks against dense ones in their fastest engine, inference on a GPU.

    uv run python benchmarks/gpu_blocks.py      writes gpu_blocks.json beside this file, or in --out

128 images, bfloat16 or --precision; the coarsest width is the group size. Every engine runs as it is called and as a
CUDA graph. Beside the times are floors: one kernel for each level and direction, the block in one kernel, dense.
"""

from torchmg.bench.gpu_blocks import BATCH, Block, measure, targets
from torchmg.bench.gpu_script import gpu_script

BLOCKS = (Block(256, 28), Block(512, 14), Block(1024, 14), Block(256, 28, 8), Block(512, 14, 8), Block(512, 7))


def main() -> None:
    run = gpu_script(__file__, __doc__)
    if run is None:
        return
    for block in run.cases(BLOCKS[1:2] if run.quick else BLOCKS):
        measure(run, block, 8 if run.quick else BATCH)
        run.write(targets(run.rows))
    run.finish(targets(run.rows))


if __name__ == "__main__":
    main()
