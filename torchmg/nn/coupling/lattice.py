"""Channels on a two-dimensional lattice or a torus."""

from itertools import product
from typing import Any, ClassVar, Literal

from torchmg.errors import UsageError
from torchmg.hierarchy import divisors, lattice_shape
from torchmg.nn.coupling.local import LocalCoupling, check_square

Neighbours = Literal[1, 5, 9]
"""Channels that a channel of a lattice is coupled with, itself counted: with the four beside it, or the eight around;
1 is the depthwise convolution."""


class Lattice(LocalCoupling):
    """Each channel with its neighbours on an a x b lattice, every pair by a stencil of its own.

    Weights: k^dims m c on a torus for m neighbours; the open lattice has k^dims (5 a b - 2 a - 2 b) for five and
    k^dims (3 a - 2) (3 b - 2) for nine. Reaches all channels after a + b - 2 layers for five neighbours and
    max(a, b) - 1 for nine, about half as many on a torus. Source: lowcost spec 1.6 (definition ours).

    Args:
        in_channels, out_channels, kernel_size: as in `ChannelCoupling`; the widths must agree.
        neighbours: see `Neighbours`; 5 by default, the cheaper.
        periodic: a torus, which needs three rows and columns.
        rows: rows of the lattice, a divisor of the width; by default as `lattice_shape` says, nearly square.
        **options: those of `ChannelCoupling`.

    Raises:
        UsageError: different widths, another number of neighbours, rows that do not divide the width, or a torus with
            fewer than three rows or columns.
    """

    name: ClassVar[str] = "lattice"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        *,
        neighbours: Neighbours = 5,
        periodic: bool = False,
        rows: int | None = None,
        **options: Any,
    ) -> None:
        check_square(self.name, in_channels, out_channels)
        if neighbours not in (1, 5, 9):
            raise UsageError(
                f"A lattice coupling has 5 or 9 neighbours (1: none but itself), itself counted; got {neighbours!r}."
            )
        if rows is not None and (not isinstance(rows, int) or rows < 1 or in_channels % rows):
            near = min(divisors(in_channels), key=lambda d: abs(d - rows)) if isinstance(rows, int) else "8"
            raise UsageError(
                f"rows of a lattice coupling must divide its {in_channels} channels; got {rows!r}. Nearest: {near}."
            )
        grid = lattice_shape(in_channels) if rows is None else (rows, in_channels // rows)
        steps = {1: 0, 5: 1, 9: 2}[neighbours]
        around = sorted(product((-1, 0, 1), repeat=2), key=lambda offset: (abs(offset[0]) + abs(offset[1]), offset))
        offsets = [offset for offset in around if abs(offset[0]) + abs(offset[1]) <= steps]
        super().__init__(
            in_channels, out_channels, kernel_size, grid=grid, offsets=offsets, periodic=periodic, **options
        )
        self.neighbours: Neighbours = neighbours
