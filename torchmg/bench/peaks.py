"""What the machine can do at most: arithmetic in matrix products, bytes a second in copies of any size."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field

import torch

from torchmg.bench.networks import torch_threads
from torchmg.bench.timing import ROUNDS, TURN, interleaved

MATRICES = (1024, 2048)
"""Sizes of the square products; the better counts."""
COPIES = (0.25, 4.0, 64.0)
"""MiB that are copied: from and to the second-level cache, the last one, and memory."""


@dataclass(frozen=True)
class Peaks:
    """Ceilings of one machine with so many threads."""

    threads: int
    gflops: float
    """Of a float32 matrix product."""
    copy: dict[str, float] = field(default_factory=dict)
    """MiB copied -> GB/s, bytes read and written added."""

    def row(self) -> dict[str, object]:
        """As plain values."""
        return asdict(self)


def products_and_copies(
    matrices: Sequence[int], copies: Sequence[float], device: torch.device, dtype: torch.dtype
) -> tuple[dict[str, Callable[[], object]], dict[str, Callable[[], object]]]:
    """What is timed: products of square matrices by their size, and copies of float32 by MiB."""
    products: dict[str, Callable[[], object]] = {}
    moved: dict[str, Callable[[], object]] = {}
    for n in matrices:
        a, b, c = (torch.randn(n, n, device=device).to(dtype) for _ in range(3))
        products[str(n)] = lambda a=a, b=b, c=c: torch.mm(a, b, out=c)
    for mib in copies:
        source, target = (torch.zeros(int(mib * 2**18), device=device) for _ in range(2))
        moved[f"{mib:g} MiB"] = lambda s=source, t=target: t.copy_(s)
    return products, moved


def measure_peaks(
    threads: int = 1,
    *,
    matrices: Sequence[int] = MATRICES,
    copies: Sequence[float] = COPIES,
    rounds: int = ROUNDS,
    turn: float = TURN,
) -> Peaks:
    """Time matrix products and copies.

    Args:
        threads: of torch.
        matrices: sizes n of products n x n by n x n.
        copies: MiB of one copied tensor.
        rounds: turns of each, see `torchmg.bench.timing.interleaved`.
        turn: seconds of each turn.
    """
    with torch_threads(threads), torch.inference_mode():
        products, moved = products_and_copies(matrices, copies, torch.device("cpu"), torch.float32)
        times = interleaved(products | moved, threads=threads, rounds=rounds, turn=turn)
    gflops = max(2e-6 * int(n) ** 3 / times[n].median for n in products)
    gbytes = {f"{mib:g}": 2 * mib * 2**20 * 1e-6 / times[f"{mib:g} MiB"].median for mib in copies}
    return Peaks(threads, gflops, gbytes)
