"""What a GPU can do at most, measured, and how long a layer or block takes at least by its bytes and operations."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import prod
from typing import Any, Literal, NamedTuple

import torch

from torchmg.bench.gpu_timing import ROUNDS, SMALL_TURN, graphed, interleaved_on
from torchmg.bench.peaks import products_and_copies
from torchmg.kernels.shape import Shape

MATRICES = (4096, 8192)
"""Sizes of the square products; the better counts."""
COPIES = (256, 1024)
"""MiB that are copied, beyond any cache; the better counts."""

Pass = Literal["forward", "data gradient", "weight gradient"]
PASSES: tuple[Pass, ...] = ("forward", "data gradient", "weight gradient")


@dataclass(frozen=True)
class GpuPeaks:
    """Ceilings of one device.

    Attributes:
        dtype: of the matrix products.
        tflops: of them, in 10^12 operations a second, sums in float32.
        gbytes: of copies, in 10^9 bytes a second, read and written added.
        launch_us: of one small kernel in a CUDA graph, in microseconds: no step of a chain takes less.
    """

    dtype: str
    tflops: float
    gbytes: float
    launch_us: float

    def row(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


class Floor(NamedTuple):
    """The least time that bytes and operations leave.

    Attributes:
        ms: milliseconds.
        bound: which of the two it is.
    """

    ms: float
    bound: Literal["memory", "arithmetic"]


def floor(peaks: GpuPeaks, moved: float, operations: float) -> Floor:
    """The larger of the time to move so many bytes and the time to do so many operations.

    Args:
        peaks: of this device.
        moved: bytes read and written.
        operations: two for each MAC.
    """
    memory, arithmetic = 1e-6 * moved / peaks.gbytes, 1e-9 * operations / peaks.tflops
    return Floor(memory, "memory") if memory >= arithmetic else Floor(arithmetic, "arithmetic")


def layer_bytes(shape: Shape, which: Pass, size: int) -> int:
    """Bytes that one pass of a convolution reads and writes at least: both maps, and the weight.

    Args:
        shape: its sizes.
        which: the passes differ only in what they write; the gradient of the weight is in float32.
        size: bytes of a value.
    """
    maps = prod(shape.inputs) + prod(shape.outputs)
    return size * maps + (4 if which == "weight gradient" else size) * prod(shape.weights)


def block_bytes(levels: int, image: int) -> dict[str, float]:
    """Bytes of the activations of a basic MGIC block and of a dense one, by how much is fused; weights are small.

    A level reads its map to restrict it and writes half as many channels (1.5 maps of its size); on the way up it
    reads its map, the coarser one before and after relaxation, and writes its own (3 maps). The coarsest reads and
    writes its map for each of its two convolutions and reads its input again for the sum (5 maps).

    Args:
        levels: of the hierarchy, 1 or more; each has half the channels of the one above.
        image: bytes of the block's input.

    Returns:
        `"level"`: one kernel for each level and direction; `"whole"`: the block in one kernel; `"dense"`: a dense
        block, two convolutions with all else fused.
    """
    finer = sum(4.5 * image / 2**level for level in range(levels - 1))
    return {"level": finer + 5 * image / 2 ** (levels - 1), "whole": 2.0 * image, "dense": 5.0 * image}


def measure_gpu_peaks(
    device: torch.device,
    dtype: torch.dtype,
    *,
    matrices: Sequence[int] = MATRICES,
    copies: Sequence[int] = COPIES,
    rounds: int = ROUNDS,
    turn: float = SMALL_TURN,
) -> GpuPeaks:
    """Time matrix products, copies and small kernels.

    Args:
        device: which one.
        dtype: of the matrices.
        matrices: sizes n of products n x n by n x n.
        copies: MiB of one copied tensor.
        rounds: turns of each, see `interleaved_on`.
        turn: seconds of each turn.
    """
    with torch.inference_mode():
        products, moved = products_and_copies(matrices, copies, device, dtype)
        value = torch.zeros(1, device=device)

        def chain() -> None:
            for _ in range(CHAIN):
                value.add_(1)

        times = interleaved_on(device, products | moved | {"launch": graphed(chain, device)}, rounds=rounds, turn=turn)
    tflops = max(2e-9 * int(n) ** 3 / times[n].median for n in products)
    gbytes = max(2e-6 * (mib << 20) / times[f"{mib:g} MiB"].median for mib in copies)
    return GpuPeaks(str(dtype).removeprefix("torch."), tflops, gbytes, 1000 * times["launch"].median / CHAIN)


CHAIN = 100
"""Small kernels in a row, of which one's time is taken."""
