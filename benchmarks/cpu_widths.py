"""Time of one block against its width, dense and MGIC, with fitted exponents and a picture.

    uv run --with openvino --extra plot python benchmarks/cpu_widths.py

Writes cpu_widths.json beside this file, or in --out, and the picture cpu_widths.png in docs/images, or in --out. Map
and batch stay the same. Every block in its fastest engine; the exponent is fitted where the time is above five times
that of the narrowest block, so that what every call costs does not look like a small exponent.
"""

from collections.abc import Sequence
from math import log
from pathlib import Path
from statistics import linear_regression

from torchmg.bench.networks import Subject, time_networks
from torchmg.bench.script import Target, script
from torchmg.nn.mgic import MGICBlock
from torchmg.nn.relax import Residual

WIDTHS = (64, 128, 256, 512, 1024, 2048)
SIDE, BATCH, GROUP = 14, 8, 16
ABOVE = 5
"""Times the narrowest block's time from where on the exponent is fitted."""
ENGINES = ("channels_last", "folded", "onnxruntime", "openvino", "torchmg")


def exponent(widths: Sequence[int], ms: Sequence[float]) -> float | None:
    """Least-squares slope of log(time) over log(width) on the wide blocks; None where fewer than two are."""
    wide = [(log(c), log(t)) for c, t in zip(widths, ms, strict=True) if t > ABOVE * ms[0]]
    return linear_regression(*zip(*wide, strict=True)).slope if len(wide) > 1 else None


def draw(path: Path, widths: Sequence[int], ms: dict[str, list[float]], slopes: dict[str, float | None]) -> None:
    """Time over width, both axes logarithmic."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(5.5, 3.8), layout="constrained")
    for name, times in ms.items():
        slope = slopes[name]
        axes.loglog(widths, times, "o-", label=name if slope is None else f"{name}: width^{slope:.2f}")
    axes.set(xlabel="channels", ylabel="ms of one block", xticks=widths, xticklabels=list(map(str, widths)))
    axes.minorticks_off()
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main() -> None:
    run = script(__file__, __doc__)
    widths = (64, 256, 512) if run.quick else WIDTHS
    rows, targets = [], []
    for threads in run.threads:
        ms: dict[str, list[float]] = {"dense": [], f"MGIC, groups of {GROUP}": []}
        for width in widths:
            blocks = zip(ms, (Residual(width), MGICBlock(width, group_size=GROUP, coarsest=GROUP)), strict=True)
            subjects = [Subject(name, block, (width, SIDE, SIDE)) for name, block in blocks]
            speeds = time_networks(
                subjects, reference="dense", batch_sizes=(BATCH,), threads=(threads,), engines=ENGINES, **run.timing
            )
            rows += [{"channels": width, "size": SIDE} | row.row() for row in speeds.rows]
            for name, times in ms.items():
                times.append(speeds.best(name, BATCH, threads).ms)
            print(width, {name: f"{times[-1]:.3g} ms" for name, times in ms.items()})
        slopes = {name: exponent(widths, times) for name, times in ms.items()}
        for name, slope in slopes.items():
            if name != "dense" and slope is not None:
                case = f"exponent of the width, {name}, {threads} thread{'s' * (threads > 1)}"
                targets.append(Target(case, 1.15, slope, at_least=False))
        if threads == run.threads[0]:
            beside = run.path.parent == Path(__file__).parent
            folder = Path(__file__).parent.parent / "docs" / "images" if beside else run.path.parent
            draw(folder / f"{run.path.stem}.png", widths, ms, slopes)
    run.write(rows, targets)


if __name__ == "__main__":
    main()
