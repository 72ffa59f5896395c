"""Single grouped convolutions on a GPU, forward and both gradients: ours, cuDNN in both layouts, torch.compile.

    uv run python benchmarks/gpu_layers.py      writes gpu_layers.json beside this file, or in --out

128 images, bfloat16 or --precision. `copy` copies the layer's input. Every pass runs from a CUDA graph, on inputs that
take turns so that none is in the second-level cache. Beside the times is the floor: bytes over the bandwidth of large
copies or operations over the rate of matrix products, both measured in this run. The targets' cases come first.
"""

from itertools import product

from torchmg.bench.gpu_floors import PASSES
from torchmg.bench.gpu_layers import TARGET_GROUPS, Layer, measure, targets, title
from torchmg.bench.gpu_script import gpu_script

MAPS = ((256, 28), (512, 14), (1024, 14))
"""Channels, height and width."""
OTHERS = (4, 64)
"""Group sizes without a target."""


def main() -> None:
    run = gpu_script(__file__, __doc__)
    if run is None:
        return
    first = [Layer(3, *size, group) for group, size in product(TARGET_GROUPS, MAPS)]
    rest = [Layer(1, *size, group) for group, size in product(TARGET_GROUPS, MAPS)]
    rest += [Layer(kernel, *size, group) for group, kernel, size in product(OTHERS, (3, 1), MAPS)]
    layers = [Layer(3, 512, 14, 16, 8)] if run.quick else first + rest
    for layer in run.cases(layers):
        for which in PASSES:
            row = measure(run, layer, which)
            run.rows.append(row)
            if "bandwidth" in row:
                print(
                    f"{title(layer, which)}: {row.get('speed_up', 0):.2f} x cuDNN, "
                    f"{100 * row['bandwidth']:.0f} % of copy bandwidth",
                    flush=True,
                )
        run.write(targets(run.rows))
    run.finish(targets(run.rows))


if __name__ == "__main__":
    main()
