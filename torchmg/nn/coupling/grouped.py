"""Couplings that are one convolution: full, pointwise, and cut into groups down to single channels."""

from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from torchmg.hierarchy import check_groups
from torchmg.nn.coupling.base import ChannelCoupling, Growth, check_group_size
from torchmg.nn.coupling.stencil import block_diagonal, correlate, correlate_adjoint, grouped_bound, symbol


class Grouped(ChannelCoupling):
    """The grouped convolution: channels are coupled within contiguous groups only.

    Weights: k^dims s out, with s input channels a group. Never reaches other groups.

    Args:
        in_channels, out_channels, kernel_size: as in `ChannelCoupling`.
        group_size: input channels of a group; must divide `in_channels`, and the groups must divide `out_channels`.
        **options: those of `ChannelCoupling`.

    Raises:
        GroupError: sizes that do not divide.
    """

    name: ClassVar[str] = "grouped"

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int = 3, *, group_size: int = 8, **options: Any
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, **options)
        check_group_size(in_channels, group_size)
        self.group_size, self.groups = group_size, in_channels // group_size
        check_groups(out_channels, self.groups, f"a {self.name} coupling {in_channels} -> {out_channels}")
        self.weight = nn.Parameter(torch.empty(out_channels, group_size, *(self.kernel_size,) * self.dims))
        self.reset_parameters()

    @property
    def growth(self) -> Growth:
        """Linear: the group size is fixed."""
        return "linear"

    def num_weights(self) -> int:
        """k^dims s out."""
        return self.taps * self.group_size * self.out_channels

    def variances(self) -> Iterator[tuple[nn.Parameter, float]]:
        """2 / (k^dims s)."""
        yield self.weight, 2 / (self.taps * self.group_size)

    def dense_weight(self) -> Tensor:
        """The blocks on the diagonal, zeros elsewhere."""
        return block_diagonal(self.weight, self.groups)

    def norm_bound(self, size: tuple[int, ...] | None = None) -> Tensor:
        """As in `ChannelCoupling`, group by group."""
        if size is None:
            return grouped_bound(self.weight, self.groups)
        torus = self._torus(size)
        blocks = self.weight.unflatten(0, (self.groups, -1))
        return torch.stack([torch.linalg.matrix_norm(symbol(block, torus), ord=2).max() for block in blocks]).max()

    def _map(self, x: Tensor) -> Tensor:
        return correlate(x, self.weight, groups=self.groups, stride=self.stride, padding=self.padding)

    def _map_adjoint(self, z: Tensor, size: tuple[int, ...]) -> Tensor:
        return correlate_adjoint(z, self.weight, size, groups=self.groups, stride=self.stride, padding=self.padding)


class Full(Grouped):
    """The ordinary convolution: every channel to every channel at every tap. Weights: k^dims in out."""

    name: ClassVar[str] = "full"

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3, **options: Any) -> None:
        super().__init__(in_channels, out_channels, kernel_size, group_size=in_channels, **options)

    @property
    def growth(self) -> Growth:
        """Quadratic."""
        return "quadratic"


class Pointwise(Full):
    """The 1x1 convolution: all channels, no neighbours, the pure reaction operator. Weights: in out.

    `kernel_size` is that of the couplings it takes the place of and is not used.
    """

    name: ClassVar[str] = "pointwise"

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 1, **options: Any) -> None:
        super().__init__(in_channels, out_channels, 1, **options)


class Depthwise(Grouped):
    """Each channel by its own stencil: the diffusion operator. Weights: k^dims out.

    (The authors' mask of mode 0.) With another number of output channels, which must be a multiple, each input channel
    makes that many.
    """

    name: ClassVar[str] = "depthwise"

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3, **options: Any) -> None:
        super().__init__(in_channels, out_channels, kernel_size, group_size=1, **options)
