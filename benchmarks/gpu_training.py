"""Training steps on a GPU: multigrid networks against compiled dense twins, MGiaD-18 against stock PyTorch.

    uv run python benchmarks/gpu_training.py    writes gpu_training.json beside this file, or in --out

128 images, parameters in float32 under bfloat16 autocast, or --precision. A step is forward, cross-entropy, backward
and SGD with momentum; every way runs as it is called and as a CUDA graph. `planes`, `channels_last` and `compile` have
torch's own convolutions only. What compiles our networks, a minute each, comes last.
"""

from functools import partial
from itertools import product
from typing import Any

from torch import nn

import torchmg
from torchmg.bench.gpu_script import gpu_script
from torchmg.bench.gpu_training import BATCH, MGIAD, SIZES, Candidate, measure, targets, tower

STOCK = ("planes", "channels_last")
CATALOGUE: dict[str, tuple[str, dict[str, Any]]] = {
    MGIAD: ("mgiad18", {"group_size": 8, "coarsest": 64}),
    "resnet18": ("resnet18_cifar", {}),
}
COMPILED = ("compile", "torchmg compile")
GROUP = 16


def network(name: str) -> nn.Module:
    model, options = CATALOGUE[name]
    return torchmg.create(model, num_classes=10, **options)


def block_network(width: int, group: int | None) -> nn.Module:
    return tower(width, SIZES[width], group).model


def candidates(case: str | int, compiling: bool) -> list[Candidate]:
    """The networks of a case: a width, or MGiaD-18; and the ways that compile ours, or all others."""
    if isinstance(case, str):
        ours, dense = (partial(network, name) for name in CATALOGUE)
        twin = "resnet18"
    else:
        ours, dense = partial(block_network, case, GROUP), partial(block_network, case, None)
        case, twin = f"mgic {case}", f"dense {case}"
    if compiling:
        return [Candidate(case, ours, COMPILED)]
    return [Candidate(case, ours, (*STOCK, "torchmg")), Candidate(twin, dense, (*STOCK, "compile"))]


def main() -> None:
    run = gpu_script(__file__, __doc__)
    cases = [(MGIAD, False)] if run.quick else list(product([MGIAD, *SIZES], (False, True)))
    for case, compiling in run.cases(sorted(cases, key=lambda case: case[1])):
        shape = (3, 32, 32) if isinstance(case, str) else (case, SIZES[case], SIZES[case])
        measure(run, candidates(case, compiling), shape, 8 if run.quick else BATCH)
        run.write(targets(run.rows))
    run.finish(targets(run.rows))


if __name__ == "__main__":
    main()
