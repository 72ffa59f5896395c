"""Training steps on a GPU: forward, cross-entropy, backward, SGD with momentum; as called and as a CUDA graph."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchmg.bench.gpu_engines import GRAPH
from torchmg.bench.gpu_script import GpuScript
from torchmg.bench.gpu_timing import graphed, interleaved_on, refusal
from torchmg.bench.networks import Subject
from torchmg.bench.script import Target
from torchmg.bench.timing import Call
from torchmg.bench.training import plain_sgd, training_step
from torchmg.kernels.choice import pinned
from torchmg.nn.mgic import MGICBlock
from torchmg.nn.relax import Residual
from torchmg.train.evaluate import autocast

BATCH, CLASSES, DEPTH = 128, 10, 4
WANTED = {256: 1.2, 512: 2.4, 1024: 4.5}
"""Width -> times as many steps a second as the compiled dense twin."""
MGIAD, MGIAD_WANTED = "mgiad18 (64,8,1)", 6.0
"""The network, and times as many images a second as stock PyTorch in its better layout."""
SIZES = {256: 28, 512: 14, 1024: 14}
"""Width -> height and width of the maps."""

WAYS: Mapping[str, tuple[torch.memory_format, bool, bool]] = {
    "planes": (torch.contiguous_format, True, False),
    "channels_last": (torch.channels_last, True, False),
    "compile": (torch.channels_last, True, True),
    "torchmg": (torch.channels_last, False, False),
    "torchmg compile": (torch.channels_last, False, True),
}
"""Layout, whether only torch's own convolutions are used (stock PyTorch), whether it is compiled."""


class Tower(nn.Module):
    """Some blocks of one width, the mean over pixels, and a linear classifier; images -> class scores.

    Args:
        blocks: each keeps its input's shape.
        channels: of the images and blocks.
    """

    def __init__(self, blocks: list[nn.Module], channels: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(channels, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) -> (batch, classes)."""
        return self.head(self.blocks(x).mean((2, 3)))


def tower(width: int, size: int, group: int | None = None, depth: int = DEPTH) -> Subject:
    """A dense network of basic blocks, or an MGIC one whose coarsest width is the group size."""
    if group is None:
        blocks: list[nn.Module] = [Residual(width) for _ in range(depth)]
    else:
        blocks = [MGICBlock(width, group_size=group, coarsest=group) for _ in range(depth)]
    name = f"{'dense' if group is None else 'mgic'} {width}"
    return Subject(name, Tower(blocks, width), (width, size, size))


def step_of(
    build: Callable[[], nn.Module], shape: tuple[int, ...], batch: int, way: str, script: GpuScript
) -> Callable[[], Tensor]:
    """One training step of a network of its own, on images that stay the same; it returns the loss.

    Args:
        build: makes the network.
        shape: of one image.
        batch: images.
        way: a name in `WAYS`.
        script: device and precision.
    """
    layout, stock, compiling = WAYS[way]
    torch.manual_seed(0)
    model = build().to(script.device).train()
    model = model.to(memory_format=layout)  # pyright: ignore[reportCallIssue]
    # Random numbers of the host: a capture that failed can have spoilt the device's.
    x = torch.randn(batch, *shape).to(script.device).contiguous(memory_format=layout)
    y = torch.randint(0, CLASSES, (batch,)).to(script.device)
    run = torch.compile(model, dynamic=False) if compiling else model

    def loss() -> Tensor:
        with autocast(script.precision, script.device):
            return F.cross_entropy(run(x), y)

    step = training_step(loss, plain_sgd(model))
    return pinned("aten" if stock else None)(step)


class Candidate(NamedTuple):
    """A network and the ways in which it is timed."""

    name: str
    build: Callable[[], nn.Module]
    ways: Sequence[str] = tuple(WAYS)


def measure(script: GpuScript, candidates: Sequence[Candidate], shape: tuple[int, ...], batch: int = BATCH) -> None:
    """Time steps of networks, all in turns, and add their rows to the script's.

    Args:
        script: device, precision and timing.
        candidates: networks and ways.
        shape: of one image.
        batch: images.
    """
    torch.compiler.reset()  # or after some cases nothing is compiled
    calls: dict[tuple[str, str], Call] = {}
    for name, build, ways in candidates:
        for way in script.ways(ways):
            try:
                step = step_of(build, shape, batch, way, script)
                if not bool(torch.isfinite(step())):
                    script.leave_out(f"{name}, {way}: the loss is not finite.")
                    continue
            except Exception as failure:  # compilers may raise whatever they like
                script.leave_out(f"{name}, {refusal(way, failure)}")
                continue
            calls[name, way] = step
            if script.device.type == "cuda":
                try:
                    calls[name, way + GRAPH] = graphed(step, script.device)
                except Exception as failure:
                    script.leave_out(f"{name}, {refusal(way + GRAPH, failure)}")
    names = {f"{name}\n{way}": call for (name, way), call in calls.items()}
    times = interleaved_on(script.device, names, **script.timing)
    macs = {name: Subject(name, build(), shape).macs for name, build, _ in candidates}
    for name, way in calls:
        time = times[f"{name}\n{way}"]
        speed = {"ms": time.median, "low": time.low, "high": time.high, "images_per_second": 1000 * batch / time.median}
        script.rows.append({"model": name, "way": way, "batch": batch, "macs": macs[name]} | speed)
        print(f"{name}, {way}: {time.median:.3g} ms a step", flush=True)


def fastest(rows: list[dict[str, Any]], model: str, *ways: str) -> float | None:
    """Least milliseconds of a network in some ways, also as graphs; None where none was timed."""
    names = {*ways, *(way + GRAPH for way in ways)}
    return min((row["ms"] for row in rows if row["model"] == model and row["way"] in names), default=None)


def targets(rows: list[dict[str, Any]]) -> list[Target]:
    """Ours at its best over the compiled dense twin at its best, and over stock PyTorch as it is called."""
    found = []
    for width, wanted in WANTED.items():
        ours = fastest(rows, f"mgic {width}", "torchmg", "torchmg compile")
        dense = fastest(rows, f"dense {width}", "compile")
        if ours and dense:
            case = f"GPU training, MGIC basic-block network of width {width}, over its compiled dense twin"
            found.append(Target(case, wanted, dense / ours))
    ours = fastest(rows, MGIAD, "torchmg", "torchmg compile")
    stock = [row["ms"] for row in rows if row["model"] == MGIAD and row["way"] in ("planes", "channels_last")]
    if ours and stock:
        case = f"GPU training, {MGIAD} on CIFAR's images, over stock PyTorch eager in its better layout"
        found.append(Target(case, MGIAD_WANTED, min(stock) / ours))
    return found
