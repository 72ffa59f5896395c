"""Channels laid out on a two-dimensional lattice, row by row, and how such a lattice is halved. No torch."""

from torchmg.errors import UsageError


def lattice_shape(channels: int) -> tuple[int, int]:
    """Rows and columns of the lattice of so many channels, rows >= columns, as near a square as divisors allow.

    Rows are the smallest divisor whose square is at least `channels`: 64 = 8 x 8, 112 = 14 x 8, 128 = 16 x 8. A prime
    number of channels is a path. Channel o is at (o // columns, o % columns). Source: lowcost spec 1.6.

    Raises:
        UsageError: less than one channel.
    """
    if not isinstance(channels, int) or channels < 1:
        raise UsageError(f"A lattice has at least one channel; got {channels!r}.")
    rows = next(d for d in range(1, channels + 1) if channels % d == 0 and d * d >= channels)
    return rows, channels // rows


def halved_axis(shape: tuple[int, int]) -> int:
    """The axis along which semi-coarsening joins pairs: the rows' (0), which is the longer, or if odd the other (1).

    Raises:
        UsageError: neither is even.
    """
    rows, columns = shape
    if rows % 2 and columns % 2:
        raise UsageError(f"A lattice of {rows} x {columns} channels has no half: both are odd.")
    return 0 if rows % 2 == 0 else 1


def coarse_lattice(shape: tuple[int, int]) -> tuple[int, int]:
    """The lattice after semi-coarsening, turned so that its rows are not fewer than its columns.

    It is `lattice_shape` of half the channels for every width m 2^n with m = 1 or a prime, and for all but 26 of the
    even widths to 1024. Not for some whose longer axis is odd: 72 channels, 9 x 8, become 9 x 4, but 36 are 6 x 6.
    """
    rows, columns = shape
    halved = (rows // 2, columns) if halved_axis(shape) == 0 else (rows, columns // 2)
    return max(halved), min(halved)
