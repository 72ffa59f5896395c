"""Groups of channels on a path or a ring."""

from typing import Any, ClassVar

from torchmg.nn.coupling.base import check_group_size
from torchmg.nn.coupling.local import LocalCoupling, check_radius, check_square, path_offsets


class BlockChain(LocalCoupling):
    """Groups of s contiguous channels, each coupled fully to itself and its `radius` neighbour groups either side.

    Weights: k^dims s (2r + 1) c on a ring; a path has k^dims s^2 r (r + 1) fewer. Source: lowcost spec 1.6
    (definition ours).

    Args:
        in_channels, out_channels, kernel_size: as in `ChannelCoupling`; the widths must agree.
        group_size: channels of a group, which must divide the width; 8 as in the grouped coupling.
        radius: neighbour groups either side; 0 is the grouped convolution.
        periodic: a ring instead of a path; needs at least 2 radius + 1 groups.
        **options: those of `ChannelCoupling`.

    Raises:
        GroupError: a group size that does not divide the width.
        UsageError: different widths, a negative radius, or too short a ring.
    """

    name: ClassVar[str] = "block_chain"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        *,
        group_size: int = 8,
        radius: int = 1,
        periodic: bool = False,
        **options: Any,
    ) -> None:
        check_square(self.name, in_channels, out_channels)
        check_radius(self.name, radius)
        check_group_size(in_channels, group_size)
        grid, offsets = (in_channels // group_size,), path_offsets(radius)
        super().__init__(
            in_channels, out_channels, kernel_size, grid=grid, offsets=offsets, periodic=periodic, **options
        )
        self.group_size, self.radius = group_size, radius
