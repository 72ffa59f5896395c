"""Images a second of whole networks on a GPU, one image and 128: multigrid networks against their dense twins.

    uv run python benchmarks/gpu_networks.py    writes gpu_networks.json beside this file, or in --out

Images of 224x224, of CIFAR's size for MGiaD; bfloat16 or --precision; every engine as it is called and as a CUDA graph.
"""

from collections.abc import Mapping
from itertools import product
from typing import Any

import torchmg
from torchmg.bench.gpu_engines import time_on_gpu
from torchmg.bench.gpu_script import gpu_script
from torchmg.bench.networks import Subject

Networks = Mapping[str, tuple[str, dict[str, Any]]]

FAMILIES: Mapping[str, tuple[Networks, int]] = {
    "resnet34": (
        {
            "resnet34": ("resnet34", {}),
            "mgic_resnet34 g16": ("mgic_resnet34", {"group_size": 16, "coarsest": 16}),
            "mgic_resnet34 g8": ("mgic_resnet34", {"group_size": 8, "coarsest": 8}),
        },
        224,
    ),
    "mobilenetv3_large": (
        {
            "mobilenetv3_large": ("mobilenetv3_large", {}),
            "mgic_mobilenetv3 paper": ("mgic_mobilenetv3_large", {}),
            "mgic_mobilenetv3 budget": ("mgic_mobilenetv3_large", {"preset": "budget_140m"}),
        },
        224,
    ),
    "resnet18": (
        {
            "resnet18": ("resnet18_cifar", {}),
            "mgiad18 (64,8,1)": ("mgiad18", {"group_size": 8, "coarsest": 64}),
            "mgic_resnet18 g16": ("mgic_resnet18_cifar", {"group_size": 16, "coarsest": 16}),
        },
        32,
    ),
}
"""By the dense twin that the others are compared with; and the height and width of images."""


def main() -> None:
    run = gpu_script(__file__, __doc__)
    if run is None:
        return
    for family, batch in run.cases(list(product(["resnet18"] if run.quick else FAMILIES, (1, 128)))):
        networks, side = FAMILIES[family]
        subjects = [
            Subject(name, torchmg.create(model, **options), (3, side, side))
            for name, (model, options) in networks.items()
        ]
        speeds = time_on_gpu(run, subjects, batch, reference=family)
        run.rows += [{"family": family} | row.row() for row in speeds.rows]
        for subject in subjects:
            best = speeds.best(subject.name, batch, 1)
            print(f"{subject.name}, batch {batch}: {best.images_per_second:,.0f} images/s ({best.engine})", flush=True)
        run.write()
    run.finish()


if __name__ == "__main__":
    main()
