"""Relaxations: the CNN block that an MGIC block applies on every level.

A relaxation is any module that keeps the shape (batch, channels, *spatial); a relaxation *factory* is any callable
`(channels, groups) -> nn.Module` that builds one for a level. `groups` is 1 on the coarsest level.
"""

from collections.abc import Callable
from math import gcd
from typing import ClassVar, Literal

from torch import Tensor, nn
from torch.nn import functional as F

from torchmg.errors import UsageError
from torchmg.hierarchy import Dims, RelaxationKind, check_groups
from torchmg.nn.conv import ConvBuilder, grouped_conv
from torchmg.nn.conv_norm import conv_norm, conv_norm_later
from torchmg.nn.norm import batch_norm

RelaxationFactory = Callable[[int, int], nn.Module]
RelaxationName = Literal["residual", "bottleneck", "wide_bottleneck", "resnext", "mlp"]

CARDINALITY = 32
"""Groups of a ResNeXt block's middle convolution (Xie et al. 2017, ResNeXt-50 32x4d)."""
FEED_FORWARD = 4
"""Middle width of a feed-forward layer over its width (Vaswani et al. 2017)."""


class Residual(nn.Module):
    """The basic ResNet block: y = ReLU(x + N2(K2 ReLU(N1(K1 x)))), K k x k and grouped, N batch normalisation.

    (batch, channels, *spatial) -> the same. Parameters: 2 k^dims channels^2 / groups + 4 channels. `conv` builds K
    from another channel coupling instead (`torchmg.nn.coupling.conv_builder`).
    """

    kind: ClassVar[RelaxationKind | None] = "residual"

    def __init__(
        self, channels: int, groups: int = 1, kernel_size: int = 3, dims: Dims = 2, conv: ConvBuilder = grouped_conv
    ) -> None:
        super().__init__()
        self.conv1 = conv(channels, channels, kernel_size, groups=groups, dims=dims)
        self.norm1 = batch_norm(channels, dims)
        self.conv2 = conv(channels, channels, kernel_size, groups=groups, dims=dims)
        self.norm2 = batch_norm(channels, dims)

    def forward(self, x: Tensor) -> Tensor:
        """One relaxation."""
        y = conv_norm_later(self.conv1, self.norm1, x, act=True)
        return conv_norm(self.conv2, self.norm2, y, act=True, add=x)

    def last_norms(self) -> list[nn.Module]:
        """For `zero_last_norms`."""
        return [self.norm2]


class Bottleneck(nn.Module):
    """The post-activation bottleneck: y = ReLU(x + N3(K3 ReLU(N2(K2 ReLU(N1(K1 x)))))); K2 is k x k, the others 1x1.

    (batch, channels, *spatial) -> the same; the middle has channels / 4. The order of norm and activation in the
    paper's Eq. 2 is open; this is the published code's. All three convolutions have the same groups. `conv` builds K2
    from another channel coupling instead; the changes of width, K1 and K3, stay grouped.

    Raises:
        UsageError: channels not a multiple of 4.
        GroupError: groups do not divide the middle width.
    """

    kind: ClassVar[RelaxationKind | None] = "bottleneck"
    """Whose closed-form cost it has."""
    expansion: ClassVar[int] = 4
    """Tensor width over middle width, on every level (He et al. 2016; MGIC paper, Table 4)."""

    def __init__(
        self, channels: int, groups: int = 1, kernel_size: int = 3, dims: Dims = 2, conv: ConvBuilder = grouped_conv
    ) -> None:
        super().__init__()
        middle = self.middle_width(channels)
        check_groups(middle, groups, f"the middle of a bottleneck of {channels} channels")
        self.conv1 = grouped_conv(channels, middle, 1, groups=groups, dims=dims)
        self.norm1 = batch_norm(middle, dims)
        self.conv2 = conv(middle, middle, kernel_size, groups=self.middle_groups(middle, groups), dims=dims)
        self.norm2 = batch_norm(middle, dims)
        self.conv3 = grouped_conv(middle, channels, 1, groups=groups, dims=dims)
        self.norm3 = batch_norm(channels, dims)

    def forward(self, x: Tensor) -> Tensor:
        """One relaxation."""
        y = conv_norm_later(self.conv1, self.norm1, x, act=True)
        y = conv_norm_later(self.conv2, self.norm2, y, act=True)
        return conv_norm(self.conv3, self.norm3, y, act=True, add=x)

    def last_norms(self) -> list[nn.Module]:
        """For `zero_last_norms`."""
        return [self.norm3]

    @classmethod
    def middle_width(cls, channels: int) -> int:
        """Middle width of a bottleneck of `channels`."""
        factor = cls.expansion
        if channels % factor:
            near = sorted({max(factor, channels // factor * factor), (channels // factor + 1) * factor})
            raise UsageError(
                f"A bottleneck's channels must be a multiple of {factor}; got {channels}. "
                f"Nearest: {', '.join(map(str, near))}."
            )
        return channels // factor

    @staticmethod
    def middle_groups(middle: int, groups: int) -> int:
        """Groups of the middle convolution on a level of `groups`: the same."""
        return groups


class WideBottleneck(Bottleneck):
    """A bottleneck whose middle is twice as wide, channels / 2 (wide ResNet-50-2: Zagoruyko, Komodakis 2016)."""

    expansion: ClassVar[int] = 2


class ResNeXtBottleneck(WideBottleneck):
    """A wide bottleneck whose middle convolution has 32 groups or more on every level, the coarsest included.

    (batch, channels, *spatial) -> the same. ResNeXt-50 (32x4d; Xie et al. 2017) has middles of channels / 2 in 32
    groups. Here the groups keep that number while widths halve from level to level. Where the level itself is cut into
    more, the middle is too; where 32 does not divide the middle, their greatest common divisor is taken. No paper
    combines the two: this is a choice of ours, and on the coarsest level only the 1x1 convolutions couple all channels.
    """

    kind: ClassVar[RelaxationKind | None] = None

    @staticmethod
    def middle_groups(middle: int, groups: int) -> int:
        """Groups of the middle convolution on a level of `groups`: at least 32 where these divide."""
        return max(groups, gcd(middle, CARDINALITY))


class FeedForward(nn.Module):
    """A transformer's feed-forward layer with its skip: y = x + K2 GELU(K1 N(x)), N layer normalisation.

    (batch, channels) -> the same; the middle has four times the channels. K1 and K2 are linear maps without bias, cut
    into groups as `conv` does (couplings with spatial axes do not fit);

    Raises:
        GroupError: `groups` does not divide the width.
        UsageError: spatial axes; as tokens, (batch, places, channels), they are part of the batch.
    """

    kind: ClassVar[RelaxationKind | None] = "mlp"

    def __init__(self, channels: int, groups: int = 1, dims: Dims = 0, conv: ConvBuilder = grouped_conv) -> None:
        super().__init__()
        if dims != 0:
            raise UsageError(f'relax="mlp" is for vectors; use dims=0 with channels last, not dims={dims}.')
        self.norm = nn.LayerNorm(channels)
        self.widen = conv(channels, FEED_FORWARD * channels, 1, groups=groups, dims=0)
        self.narrow = conv(FEED_FORWARD * channels, channels, 1, groups=groups, dims=0)

    def forward(self, x: Tensor) -> Tensor:
        """One relaxation."""
        return x + self.narrow(F.gelu(self.widen(self.norm(x))))


RELAXATIONS: dict[str, type[Residual] | type[Bottleneck] | type[FeedForward]] = {
    "residual": Residual,
    "bottleneck": Bottleneck,
    "wide_bottleneck": WideBottleneck,
    "resnext": ResNeXtBottleneck,
    "mlp": FeedForward,
}
"""Built-in relaxations by name."""
