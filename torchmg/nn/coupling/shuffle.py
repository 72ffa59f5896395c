"""The grouped convolution with its channels dealt out to other groups behind it (ShuffleNet)."""

from typing import ClassVar

from torch import Tensor

from torchmg.nn.coupling.grouped import Grouped


class Shuffle(Grouped):
    """A grouped convolution, then the channel shuffle: the j-th output of group g becomes channel j G + g of G groups.

    Written as a table of (groups, outputs of a group), the channels are transposed, so that a group of the next such
    map reads of as many groups as it has inputs: s^n channels reach each other after n layers, all of them after two
    where s^2 >= c. As a permutation the shuffle is orthogonal: norms and counts are those of `Grouped`, and it costs
    no MACs, though it moves every map once.

    Weights: k^dims s out, with s input channels a group.

    Source: Zhang, Zhou, Lin, Sun, "ShuffleNet", CVPR 2018, arXiv 1707.01083, section 3.1. There one shuffle stands
    between two grouped 1x1 convolutions of a unit; here it belongs to the map, so that a residual block of two such
    maps shuffles twice, and its sum mixes groups as well.

    Args:
        in_channels, out_channels, kernel_size: as in `ChannelCoupling`.
        group_size: as in `Grouped`.
        **options: those of `ChannelCoupling`.

    Raises:
        GroupError: sizes that do not divide.
    """

    name: ClassVar[str] = "shuffle"

    def dense_weight(self) -> Tensor:
        """The blocks on the diagonal with their rows dealt out."""
        return _transposed(super().dense_weight(), 0, self.groups)

    def _map(self, x: Tensor) -> Tensor:
        return _transposed(super()._map(x), 1, self.groups)

    def _map_adjoint(self, z: Tensor, size: tuple[int, ...]) -> Tensor:
        return super()._map_adjoint(_transposed(z, 1, self.out_channels // self.groups), size)


def _transposed(x: Tensor, axis: int, rows: int) -> Tensor:
    """An axis read as a table of so many rows and written column by column; its inverse has as many as columns."""
    return x.unflatten(axis, (rows, -1)).transpose(axis, axis + 1).flatten(axis, axis + 1)
