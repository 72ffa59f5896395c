"""Relaxations: the CNN block that an MGIC block applies on every level.

A relaxation is any module that keeps the shape (batch, channels, *spatial); a relaxation *factory* is any callable
`(channels, groups) -> nn.Module` that builds one for a level. `groups` is 1 on the coarsest level.
"""

from collections.abc import Callable
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from torchmg.errors import UsageError
from torchmg.hierarchy import Dims, check_groups
from torchmg.nn.conv import grouped_conv
from torchmg.nn.norm import batch_norm

RelaxationFactory = Callable[[int, int], nn.Module]
RelaxationName = Literal["residual", "bottleneck", "mlp"]

EXPANSION = 4
"""Tensor width over middle width of a bottleneck, on every level (He et al. 2016; MGIC paper, Table 4); and the middle
of a feed-forward layer over its width (Vaswani et al. 2017)."""


class Residual(nn.Module):
    """The basic ResNet block: y = ReLU(x + N2(K2 ReLU(N1(K1 x)))), K k x k and grouped, N batch normalisation.

    (batch, channels, *spatial) -> the same. Parameters: 2 k^dims channels^2 / groups + 4 channels.
    """

    def __init__(self, channels: int, groups: int = 1, kernel_size: int = 3, dims: Dims = 2) -> None:
        super().__init__()
        self.conv1 = grouped_conv(channels, channels, kernel_size, groups=groups, dims=dims)
        self.norm1 = batch_norm(channels, dims)
        self.conv2 = grouped_conv(channels, channels, kernel_size, groups=groups, dims=dims)
        self.norm2 = batch_norm(channels, dims)

    def forward(self, x: Tensor) -> Tensor:
        """One relaxation."""
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(x + self.norm2(self.conv2(y)))


class Bottleneck(nn.Module):
    """The post-activation bottleneck: y = ReLU(x + N3(K3 ReLU(N2(K2 ReLU(N1(K1 x)))))); K2 is k x k, the others 1x1.

    (batch, channels, *spatial) -> the same; the middle has channels / 4. The order of norm and activation in the
    paper's Eq. 2 is open; this is the published code's. All three convolutions have the same groups.

    Raises:
        UsageError: channels not a multiple of 4.
        GroupError: groups do not divide the middle width.
    """

    def __init__(self, channels: int, groups: int = 1, kernel_size: int = 3, dims: Dims = 2) -> None:
        super().__init__()
        middle = middle_width(channels)
        check_groups(middle, groups, f"the middle of a bottleneck of {channels} channels")
        self.conv1 = grouped_conv(channels, middle, 1, groups=groups, dims=dims)
        self.norm1 = batch_norm(middle, dims)
        self.conv2 = grouped_conv(middle, middle, kernel_size, groups=groups, dims=dims)
        self.norm2 = batch_norm(middle, dims)
        self.conv3 = grouped_conv(middle, channels, 1, groups=groups, dims=dims)
        self.norm3 = batch_norm(channels, dims)

    def forward(self, x: Tensor) -> Tensor:
        """One relaxation."""
        y = F.relu(self.norm1(self.conv1(x)))
        y = F.relu(self.norm2(self.conv2(y)))
        return F.relu(x + self.norm3(self.conv3(y)))


class FeedForward(nn.Module):
    """A transformer's feed-forward layer with its skip: y = x + K2 GELU(K1 N(x)), N layer normalisation.

    (batch, channels) -> the same; the middle has four times the channels. K1 and K2 are linear maps without bias, cut
    into groups; N sees all channels, so it is the one thing that couples groups, by two numbers a sample.

    Raises:
        GroupError: `groups` does not divide the width.
        UsageError: spatial axes; as tokens, (batch, places, channels), they are part of the batch.
    """

    def __init__(self, channels: int, groups: int = 1, dims: Dims = 0) -> None:
        super().__init__()
        if dims != 0:
            raise UsageError(f'relax="mlp" is for vectors; use dims=0 with channels last, not dims={dims}.')
        self.norm = nn.LayerNorm(channels)
        self.widen = grouped_conv(channels, EXPANSION * channels, 1, groups=groups, dims=0)
        self.narrow = grouped_conv(EXPANSION * channels, channels, 1, groups=groups, dims=0)

    def forward(self, x: Tensor) -> Tensor:
        """One relaxation."""
        return x + self.narrow(F.gelu(self.widen(self.norm(x))))


def middle_width(channels: int) -> int:
    """Middle width of a bottleneck of `channels`."""
    if channels % EXPANSION:
        near = sorted({max(EXPANSION, channels // EXPANSION * EXPANSION), (channels // EXPANSION + 1) * EXPANSION})
        raise UsageError(
            f"A bottleneck's channels must be a multiple of {EXPANSION}; got {channels}. "
            f"Nearest: {', '.join(map(str, near))}."
        )
    return channels // EXPANSION


RELAXATIONS: dict[str, type[Residual] | type[Bottleneck] | type[FeedForward]] = {
    "residual": Residual,
    "bottleneck": Bottleneck,
    "mlp": FeedForward,
}
"""Built-in relaxations by name."""
