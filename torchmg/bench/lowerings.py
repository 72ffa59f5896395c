"""The lowerings of one grouped convolution side by side, as `torchmg.kernels` measures them."""

from collections.abc import Sequence
from importlib import import_module

from torchmg.errors import UsageError
from torchmg.tables import Table

COLUMNS = ("kernel", "channels", "group size", "size", "batch", "threads", "lowering", "ms", "GFLOP/s", "chosen")


def lowering_table(
    channels: Sequence[int],
    group_sizes: Sequence[int],
    *,
    size: int = 28,
    batch: int = 1,
    threads: int = 1,
    kernels: Sequence[int] = (1, 3),
) -> Table:
    """Time every lowering of shape-keeping convolutions c -> c.

    Args:
        channels: widths c.
        group_sizes: channels of a group; those that do not divide a width are left out.
        size: height and width of the map.
        batch: images.
        threads: of torch.
        kernels: odd kernel sizes.

    Raises:
        UsageError: this version has no `torchmg.kernels`, or no group size divides a width.
    """
    try:
        measure, shapes = import_module("torchmg.kernels.measure"), import_module("torchmg.kernels.shape")
    except ModuleNotFoundError as error:
        raise UsageError("This version has no torchmg.kernels, so there is one lowering only: torch's own.") from error
    rows = []
    for kernel in kernels:
        for width in channels:
            for group in (g for g in group_sizes if width % g == 0):
                shape = shapes.Shape(
                    batch, width, width, width // group, size, size, kernel, kernel, 1, kernel // 2, kernel // 2
                )
                found = measure.measured(shape, threads=threads)
                fastest = min(found, key=found.get)
                rows += [
                    (
                        f"{kernel}x{kernel}",
                        width,
                        group,
                        size,
                        batch,
                        threads,
                        name,
                        ms,
                        2e-6 * shape.macs / ms,
                        "*" if name == fastest else "",
                    )
                    for name, ms in found.items()
                ]
    if not rows:
        raise UsageError(f"No group size of {list(group_sizes)} divides a width of {list(channels)}.")
    return Table(COLUMNS, rows, "Lowerings of a grouped convolution, forward, float32 on the CPU", "* fastest.")
