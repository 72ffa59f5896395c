"""Transfers alone: 64 channels coded in 8 and back, without anything else (MGIC paper, section 3.2, Table 1, Fig. 3).

How much of a tensor survives on the coarsest level tells what the hierarchy leaves to the relaxations. The paper trains
the transfers on the mean squared error between feature maps of a pre-trained ResNet-50's first convolution and what
comes back of them, which is (batch, 64, H, W) -> the same shape here.
"""

from collections.abc import Iterator

from torch import Tensor, nn

from torchmg.errors import UsageError
from torchmg.hierarchy import Hierarchy, TransferInit
from torchmg.nn.conv import check_input
from torchmg.nn.mgic import Part
from torchmg.nn.transfer import Prolongation, Restriction


class TransferAutoencoder(nn.Module):
    """Restrictions down to the coarsest width and prolongations back: linear, pixel by pixel, without norms or biases.

    (batch, channels, H, W) -> the same shape.

    Args:
        hierarchy: at least two levels; there is one pair of transfers between each two.
        transfer_init: see `torchmg.nn.transfer`.
    """

    def __init__(self, hierarchy: Hierarchy, transfer_init: TransferInit = "random") -> None:
        super().__init__()
        self.hierarchy = hierarchy
        pairs = [(level.channels, hierarchy.groups_of_transfer(i)) for i, level in enumerate(hierarchy.levels[:-1])]
        self.restrict = nn.ModuleList(Restriction(width, groups, init=transfer_init) for width, groups in pairs)
        self.prolong = nn.ModuleList(
            Prolongation(width, groups, init=transfer_init, norm=False) for width, groups in pairs
        )

    def encode(self, x: Tensor) -> Tensor:
        """R_{L-2} ... R_0 x: (batch, channels, H, W) -> (batch, coarsest width, H, W)."""
        check_input(x, self.hierarchy.channels)
        for restrict in self.restrict:
            x = restrict(x)
        return x

    def decode(self, code: Tensor) -> Tensor:
        """P_0 ... P_{L-2} code: (batch, coarsest width, H, W) -> (batch, channels, H, W)."""
        check_input(code, self.hierarchy.levels[-1].channels)
        for prolong in reversed(self.prolong):
            code = prolong(code)
        return code

    def forward(self, x: Tensor) -> Tensor:
        """What comes back of `x`."""
        return self.decode(self.encode(x))

    def parts(self) -> Iterator[Part]:
        """Roles and levels, for counting."""
        for role in ("restrict", "prolong"):
            yield from (Part(f"{role}.{level}", role, level) for level in range(len(self.restrict)))


def transfer_autoencoder(
    *,
    channels: int = 64,
    coarsest: int = 8,
    group_size: int = 8,
    num_classes: int | None = None,
    in_channels: int | None = None,
    transfer_init: TransferInit = "random",
) -> TransferAutoencoder:
    """The paper's coder of feature maps by transfers alone.

    Parameters are the sum over all levels but the coarsest of width x min(group size, width): 3,328, 1,792, 896, 448
    for group sizes 32, 16, 8, 4, which Table 1 prints rounded.

    Args:
        channels: width of the feature maps, 64 in the paper.
        coarsest: width of the code, 8 in the paper.
        group_size: channels per group, 4 to 32 in the paper.
        num_classes: channels that the data want back; `channels` when None, and nothing else is possible.
        in_channels: channels that the data have; likewise.
        transfer_init: see `torchmg.nn.transfer`.

    Raises:
        UsageError: sizes below 1, data of another width, or widths that leave nothing to coarsen.
        UnknownNameError: an unknown `transfer_init`; the message names the nearest.

    Warns:
        HierarchyWarning: see `Hierarchy`.
    """
    hierarchy = Hierarchy(channels, group_size, coarsest)
    for name, value in (("in_channels", in_channels), ("num_classes", num_classes)):
        if value not in (None, channels):
            raise UsageError(f"Feature maps come back as wide as they went in: {name}={value} needs channels={value}.")
    if len(hierarchy.levels) == 1:
        even = channels % 2 == 0
        near = f"use coarsest={channels // 2} or less" if even else f"use an even width such as {channels + 1}"
        raise UsageError(f"channels={channels} are not coarsened to coarsest={coarsest}; {near}.")
    return TransferAutoencoder(hierarchy, transfer_init)
