"""Channels on a path or a ring."""

from typing import Any, ClassVar

from torchmg.nn.coupling.local import LocalCoupling, check_radius, check_square, path_offsets


class Chain(LocalCoupling):
    """Each channel with its `radius` neighbours either side, y_o = sum_d D_d[o] x_(o+d); not shared along the chain.

    Weights: k^dims (2r + 1) c on a ring; a path drops what is outside and has k^dims r (r + 1) fewer. Reaches all
    channels after (c - 1) / r layers rounded up, a ring after half as many. Source: lowcost spec 1.6 (definition ours).

    Args:
        in_channels, out_channels, kernel_size: as in `ChannelCoupling`; the widths must agree.
        radius: neighbours either side; 1 by default, the cheapest; 0 is the depthwise convolution.
        periodic: a ring instead of a path; needs at least 2 radius + 1 channels.
        **options: those of `ChannelCoupling`.

    Raises:
        UsageError: different widths, a negative radius, or too short a ring.
    """

    name: ClassVar[str] = "chain"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        *,
        radius: int = 1,
        periodic: bool = False,
        **options: Any,
    ) -> None:
        check_square(self.name, in_channels, out_channels)
        check_radius(self.name, radius)
        grid, offsets = (in_channels,), path_offsets(radius)
        super().__init__(
            in_channels, out_channels, kernel_size, grid=grid, offsets=offsets, periodic=periodic, **options
        )
        self.radius = radius
