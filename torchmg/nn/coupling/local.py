"""Couplings of channels that lie on a path, ring or lattice, each with its neighbours there.

Every pair of coupled channels has a stencil of its own. The weights are one tensor for each offset between neighbours,
and the map is the sum over offsets of a grouped convolution of what lies at that offset. MGIC's introduction says that
such couplings would suit it as well as groups; it gives no formula, the definitions are ours (lowcost spec 1.6).

Each offset is one depthwise or grouped convolution, added where it belongs: of the ways to evaluate such a map that
needs the least memory and computes nothing that is not there, so that counted MACs are the closed form. The others, a
convolution of as many outputs as neighbours with shifted additions, and gathered neighbours, keep a copy a neighbour.
"""

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from torchmg.errors import UsageError
from torchmg.nn.coupling.base import ChannelCoupling, Growth
from torchmg.nn.coupling.stencil import correlate, correlate_adjoint

Offset = tuple[int, ...]


class LocalCoupling(ChannelCoupling):
    """A coupling of nodes on a grid of channels with the nodes at fixed offsets.

    Args:
        in_channels, out_channels, kernel_size: as in `ChannelCoupling`; the widths must agree.
        grid: nodes along each axis of the grid; each has in_channels / prod(grid) channels, which are coupled fully,
            as are those of two neighbours. Channels are in the order of the nodes, row by row.
        offsets: those of the neighbours of a node, itself (zeros) first.
        periodic: whether the grid wraps around. Else nodes outside are dropped and have no weights.
        **options: those of `ChannelCoupling`.

    Raises:
        UsageError: different widths, or a periodic axis too short for its neighbours to be different nodes.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        *,
        grid: tuple[int, ...],
        offsets: Sequence[Offset],
        periodic: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, **options)
        self.grid, self.periodic = grid, periodic
        self.block = in_channels // prod(grid)
        """Channels of a node."""
        for axis, nodes in enumerate(grid):
            needed = 2 * max(offset[axis] for offset in offsets) + 1
            if periodic and nodes < needed:
                raise UsageError(
                    f"A periodic {self.name} coupling needs {needed} {'blocks' if self.block > 1 else 'channels'} "
                    f"along each axis for its neighbours to differ; {in_channels} channels have {nodes}. Use more "
                    "channels, nearer neighbours or periodic=False."
                )
        self.offsets = tuple(offset for offset in offsets if self._count(offset))
        """Offset of each weight tensor."""
        kernel = (self.kernel_size,) * self.dims
        self.weights = nn.ParameterList(
            torch.empty(self._count(offset) * self.block, self.block, *kernel) for offset in self.offsets
        )
        self.reset_parameters()

    @property
    def growth(self) -> Growth:
        """Linear: the neighbours of a channel are as many at every width."""
        return "linear"

    def num_weights(self) -> int:
        """k^dims s^2 for each node and neighbour, with s channels a node."""
        return self.taps * self.block**2 * sum(map(self._count, self.offsets))

    def variances(self) -> Iterator[tuple[nn.Parameter, float]]:
        """2 / (k^dims s neighbours); where border nodes have fewer, their mean, so that outputs have 2 in the mean."""
        variance = 2 * self.out_channels / self.num_weights()
        return ((weight, variance) for weight in self.weights)

    def dense_weight(self) -> Tensor:
        """Each pair's stencil in its place."""
        nodes = torch.arange(prod(self.grid), device=self.weights[0].device).view(1, *self.grid)
        rows = [self._outputs(nodes, offset).flatten() for offset in self.offsets]
        columns = [self._inputs(nodes, offset).flatten() for offset in self.offsets]
        values = torch.cat([weight.unflatten(0, (-1, self.block)) for weight in self.weights])
        dense = values.new_zeros(nodes.numel(), nodes.numel(), *values.shape[1:])
        dense = dense.index_put((torch.cat(rows), torch.cat(columns)), values)
        return dense.transpose(1, 2).flatten(2, 3).flatten(0, 1)

    def _map(self, x: Tensor) -> Tensor:
        own, *others = zip(self.offsets, self.weights, strict=True)
        nodes = self._to_nodes(x)
        y = self._correlate(x, own[1])
        for offset, weight in others:
            part = self._correlate(self._to_channels(self._inputs(nodes, offset)), weight)
            outputs = self._outputs(self._to_nodes(y), offset)
            outputs.add_(part.view_as(outputs))
        return y

    def _map_adjoint(self, z: Tensor, size: tuple[int, ...]) -> Tensor:
        own, *others = zip(self.offsets, self.weights, strict=True)
        nodes = self._to_nodes(z)
        x = self._transpose(z, own[1], size)
        for offset, weight in others:
            part = self._transpose(self._to_channels(self._outputs(nodes, offset)), weight, size)
            if self.periodic:
                part = self._to_nodes(part).roll(offset, self._axes).flatten(1, len(self.grid) + 1)
                x = x + part
            else:
                inputs = self._inputs(self._to_nodes(x), offset)
                inputs.add_(part.view_as(inputs))
        return x

    def _correlate(self, x: Tensor, weight: Tensor) -> Tensor:
        groups = len(weight) // self.block
        return correlate(x, weight, groups=groups, stride=self.stride, padding=self.padding)

    def _transpose(self, z: Tensor, weight: Tensor, size: tuple[int, ...]) -> Tensor:
        groups = len(weight) // self.block
        return correlate_adjoint(z, weight, size, groups=groups, stride=self.stride, padding=self.padding)

    @property
    def _axes(self) -> tuple[int, ...]:
        return tuple(range(1, len(self.grid) + 1))

    def _to_nodes(self, x: Tensor) -> Tensor:
        """(batch, channels, ...) as (batch, *grid, channels of a node, ...), a view."""
        return x.unflatten(1, (*self.grid, self.block))

    def _to_channels(self, nodes: Tensor) -> Tensor:
        return nodes.flatten(1, len(self.grid) + 1)

    def _count(self, offset: Offset) -> int:
        """Nodes that have a neighbour at that offset."""
        return prod(n if self.periodic else max(n - abs(d), 0) for n, d in zip(self.grid, offset, strict=True))

    def _outputs(self, nodes: Tensor, offset: Offset) -> Tensor:
        """The nodes (batch, *grid, ...) that have a neighbour at that offset, a view."""
        return self._window(nodes, tuple(-d for d in offset))

    def _inputs(self, nodes: Tensor, offset: Offset) -> Tensor:
        """These neighbours, in the same order; a view unless the grid is periodic."""
        if self.periodic:
            return nodes.roll(tuple(-d for d in offset), self._axes)
        return self._window(nodes, offset)

    def _window(self, nodes: Tensor, offset: Offset) -> Tensor:
        if self.periodic:
            return nodes
        for axis, (n, d) in enumerate(zip(self.grid, offset, strict=True), start=1):
            nodes = nodes.narrow(axis, max(d, 0), n - abs(d))
        return nodes


def check_square(name: str, in_channels: int, out_channels: int) -> None:
    """Raise `UsageError` unless a coupling on a grid of channels has as many of them before as after."""
    if in_channels != out_channels:
        raise UsageError(
            f"A {name} coupling lays its channels on one grid, so it keeps their number; got {in_channels} -> "
            f"{out_channels}. Use full, pointwise or grouped where the width changes."
        )


def check_radius(name: str, radius: int) -> None:
    """Raise `UsageError` unless `radius` is a whole number from 0."""
    if not isinstance(radius, int) or radius < 0:
        raise UsageError(f"radius of a {name} coupling must be a whole number from 0; got {radius!r}.")


def path_offsets(radius: int) -> list[Offset]:
    """0, -1, 1, -2, 2, ... up to the radius."""
    return [(0,), *((sign * d,) for d in range(1, radius + 1) for sign in (-1, 1))]
