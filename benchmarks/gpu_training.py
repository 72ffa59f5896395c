"""Training steps on a GPU: multigrid networks against compiled dense twins, MGiaD-18 against stock PyTorch.

    uv run python benchmarks/gpu_training.py    writes gpu_training.json beside this file, or in --out

128 images, parameters in float32 under bfloat16 autocast, or --precision. A step is forward, cross-entropy, backward
and SGD with momentum; every way runs as it is called and as a CUDA graph. `planes`, `channels_last` and `compile` have
torch's own convolutions only.
"""

from collections.abc import Callable
from functools import partial

import torchmg
from torch import nn
from torchmg.bench.gpu_script import gpu_script
from torchmg.bench.gpu_training import BATCH, MGIAD, SIZES, measure, targets, towers


def main() -> None:
    run = gpu_script(__file__, __doc__)
    if run is None:
        return
    cases = [MGIAD] if run.quick else [MGIAD, *SIZES]
    for case in run.cases(cases):
        if isinstance(case, str):
            options = {"num_classes": 10}
            builds: dict[str, Callable[[], nn.Module]] = {
                case: partial(torchmg.create, "mgiad18", group_size=8, coarsest=64, **options),
                "resnet18": partial(torchmg.create, "resnet18_cifar", **options),
            }
            shape = (3, 32, 32)
        else:
            named = [subject.name for subject in towers(case, SIZES[case])]
            builds = {
                name: partial(lambda index, width: towers(width, SIZES[width])[index].model, index, case)
                for index, name in enumerate(named)
            }
            shape = (case, SIZES[case], SIZES[case])
        measure(run, builds, shape, 8 if run.quick else BATCH)
        run.write(targets(run.rows))
    run.finish(targets(run.rows))


if __name__ == "__main__":
    main()
