"""The Ghost module: part of a convolution's channels, the others made of them by cheap operations.

Han et al., "GhostNet: More Features from Cheap Operations", CVPR 2020, sections 3.1 and 3.2.
"""

from typing import Any

import torch
from torch import Tensor, nn

from torchmg.errors import UsageError
from torchmg.hierarchy import Dims
from torchmg.nn.conv_norm_act import ConvNormAct


class Ghost(nn.Module):
    """A convolution to out / ratio channels and depth-wise ones of these for the rest, each with norm and activation.

    (batch, in_channels, *spatial) -> (batch, out_channels, *spatial / stride). The first ceil(out / ratio) channels are
    the primary convolution's. Every one of them has ratio - 1 ghosts, which follow in its order; those beyond
    `out_channels` are computed and dropped, as GhostNet does.

    With n = ceil(out / ratio): k^dims in n + d^dims n (ratio - 1) weights for a primary k and a cheap d,
    about 1 / ratio of the plain convolution's.

    Args:
        in_channels: width of what enters.
        out_channels: width of what leaves.
        kernel_size: of the primary convolution; 1 in GhostNet, 3 in Ghost-ResNets.
        ratio: s of the paper; 1 is the plain convolution.
        cheap_size: d of the paper, width of the depth-wise kernels; 3 is its choice for every network.
        stride: of the primary convolution.
        groups: of the primary convolution.
        act: after both parts; None for none.
        dims: spatial axes, 1 to 3.

    Raises:
        UsageError: a ratio below 1, an even kernel size, vectors (`dims=0`).
        GroupError: `groups` does not divide the widths of the primary convolution.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        *,
        ratio: int = 2,
        cheap_size: int = 3,
        stride: int = 1,
        groups: int = 1,
        act: type[nn.Module] | None = nn.ReLU,
        dims: Dims = 2,
    ) -> None:
        super().__init__()
        if not isinstance(ratio, int) or ratio < 1:
            raise UsageError(f"ratio must be a whole number, at least 1 (GhostNet has 2); got {ratio!r}.")
        if dims == 0:
            raise UsageError("A Ghost module needs spatial axes for its cheap operations; use dims=1 to 3.")
        primary = -(-out_channels // ratio)
        self.out_channels, self.ratio = out_channels, ratio
        common: dict[str, Any] = {"act": act, "dims": dims}
        self.primary = ConvNormAct(in_channels, primary, kernel_size, stride=stride, groups=groups, **common)
        self.cheap = None
        if ratio > 1:
            self.cheap = ConvNormAct(primary, primary * (ratio - 1), cheap_size, groups=primary, **common)

    def forward(self, x: Tensor) -> Tensor:
        """Channels and their ghosts."""
        y = self.primary(x)
        return y if self.cheap is None else torch.cat([y, self.cheap(y)], 1)[:, : self.out_channels]


class GhostBottleneck(nn.Module):
    """y = x + G2 G1 x with two Ghost modules, G1 to `hidden` channels with ReLU, G2 back without (section 3.2).

    (batch, channels, *spatial) -> the same. It is GhostNet's bottleneck of stride 1 without squeeze and excitation.

    Args:
        channels: width of the tensor.
        groups: of the two primary convolutions, so that the block can be the relaxation of an `MGICBlock`.
        hidden: width of the middle.
        ratio: as in `Ghost`.
        cheap_size: as in `Ghost`; 1 for points, which have no neighbours.
        act: activation of the first module.
        dims: spatial axes, 1 to 3.

    Raises:
        UsageError: as `Ghost`.
        GroupError: as `Ghost`.
    """

    def __init__(
        self,
        channels: int,
        groups: int = 1,
        *,
        hidden: int,
        ratio: int = 2,
        cheap_size: int = 3,
        act: type[nn.Module] = nn.ReLU,
        dims: Dims = 2,
    ) -> None:
        super().__init__()
        common: dict[str, Any] = {"ratio": ratio, "cheap_size": cheap_size, "groups": groups, "dims": dims}
        self.expand = Ghost(channels, hidden, act=act, **common)
        self.project = Ghost(hidden, channels, act=None, **common)

    def forward(self, x: Tensor) -> Tensor:
        """One residual step."""
        return x + self.project(self.expand(x))
