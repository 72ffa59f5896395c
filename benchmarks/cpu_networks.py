"""Whole networks in every engine, one image and 32: MGIC against dense twins and against small networks.

    uv run --with openvino python benchmarks/cpu_networks.py   writes cpu_networks.json beside this file, or in --out

Images of 224x224. Of the small networks one image on one thread is what Table 8 of the MGIC paper has; both of our
MGIC-MobileNetV3 are timed, the one of its text (`paper`) and the one with Table 7's parameters and MACs (`budget`).
"""

from collections.abc import Sequence
from typing import Any

import torchmg
from torchmg.bench.engines import ENGINES
from torchmg.bench.networks import DEFAULT_ENGINES, Speeds, Subject, time_networks
from torchmg.bench.script import Script, Target, script

RESNETS: dict[str, tuple[str, dict[str, Any]]] = {
    "resnet34": ("resnet34", {}),
    "mgic_resnet34 g16": ("mgic_resnet34", {"group_size": 16, "coarsest": 16}),
    "mgic_resnet34 g8": ("mgic_resnet34", {"group_size": 8, "coarsest": 8}),
}
SMALL: dict[str, tuple[str, dict[str, Any]]] = {
    "mobilenetv3_large": ("mobilenetv3_large", {}),
    "mobilenetv3_large 0.75": ("mobilenetv3_large_075", {}),
    "mobilenetv2": ("mobilenetv2_100", {}),
    "ghostnet": ("ghostnet_100", {}),
    "mgic_mobilenetv3 paper": ("mgic_mobilenetv3_large", {}),
    "mgic_mobilenetv3 budget": ("mgic_mobilenetv3_large", {"preset": "budget_140m"}),
}
RATIOS = {(16, 1): 3.0, (8, 1): 4.5, (16, 32): 2.8, (8, 32): 4.0}
"""Group size, batch -> times as fast as ResNet-34 in its fastest engine, one thread."""


def timed(
    run: Script, networks: dict[str, tuple[str, dict[str, Any]]], reference: str, batches: tuple[int, ...]
) -> Speeds:
    """Networks of the catalogue, with the ratios to one of them; compiled, which takes minutes, on one thread only."""
    shape = (3, 64, 64) if run.quick else (3, 224, 224)
    subjects = [Subject(name, torchmg.create(model, **options), shape) for name, (model, options) in networks.items()]
    parts = [
        time_networks(
            subjects,
            reference=reference,
            batch_sizes=batches,
            threads=(threads,),
            engines=tuple(ENGINES) if threads == 1 and not run.quick else DEFAULT_ENGINES,
            **run.timing,
        )
        for threads in run.threads
    ]
    speeds = joined(parts)
    print(speeds.table(reference))
    return speeds


def joined(parts: Sequence[Speeds]) -> Speeds:
    """All rows; what was left out of several is said once."""
    left_out = dict.fromkeys(reason for part in parts for reason in part.left_out)
    return Speeds([row for part in parts for row in part.rows], list(left_out))


def targets(resnets: Speeds, small: Speeds, batches: tuple[int, ...]) -> list[Target]:
    """The lines of the table of targets that speak of networks."""
    found = []
    for (group, batch), wanted in RATIOS.items():
        if batch in batches:
            ratio = resnets.best(f"mgic_resnet34 g{group}", batch, 1).ratio
            assert ratio is not None
            found.append(Target(f"MGIC-ResNet-34 group {group}, batch {batch}, over ResNet-34", wanted, ratio))
    ours = small.best("mgic_mobilenetv3 budget", 1, 1).ms
    for name, wanted in (("ghostnet", 1.0), ("mobilenetv3_large", 1.1)):
        taken = ours / small.best(name, 1, 1).ms
        found.append(Target(f"MGIC-MobileNetV3's time over {name}'s, one image", wanted, taken, at_least=False))
    return found


def main() -> None:
    run = script(__file__, __doc__)
    batches = (1,) if run.quick else (1, 32)
    small = dict(list(SMALL.items())[::3] + list(SMALL.items())[-1:]) if run.quick else SMALL
    resnets = timed(run, RESNETS, "resnet34", batches)
    mobile = timed(run, small, "ghostnet", (1,))
    both = joined([resnets, mobile])
    run.write([row.row() for row in both.rows], targets(resnets, mobile, batches), left_out=both.left_out)


if __name__ == "__main__":
    main()
