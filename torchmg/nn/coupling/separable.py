"""The depthwise convolution followed by the pointwise one: the product, where `union` and `lean` are the sum."""

from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from torchmg.nn.coupling.base import ChannelCoupling, Growth
from torchmg.nn.coupling.stencil import correlate, correlate_adjoint, grouped_bound, symbol
from torchmg.nn.precision import at_least_single


class Separable(ChannelCoupling):
    """Each channel by its own stencil, then all channels at every pixel: W[o, i, t] = p[o, i] d[i, t].

    Every output sees its inputs through one stencil an input. `Union` has the same number of weights but for a channel
    width, and adds where this multiplies: there an output sees neighbouring pixels of its own channel only. Neither
    contains the other, so neither stands for the other in a comparison.

    Weights: out in + k^dims in. A stride is taken by the stencils.

    Source: depthwise separable convolutions, without norm and activation in between as in Chollet, "Xception", CVPR
    2017, arXiv 1610.02357 (section 4.7 finds that better); MobileNet, arXiv 1704.04861, has both.

    Args:
        in_channels, out_channels, kernel_size: as in `ChannelCoupling`.
        **options: those of `ChannelCoupling`.
    """

    name: ClassVar[str] = "separable"
    degree: ClassVar[int] = 2

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3, **options: Any) -> None:
        super().__init__(in_channels, out_channels, kernel_size, **options)
        self.stencils = nn.Parameter(torch.empty(in_channels, 1, *(self.kernel_size,) * self.dims))
        self.mixing = nn.Parameter(torch.empty(out_channels, in_channels))
        self.reset_parameters()

    @property
    def growth(self) -> Growth:
        """Quadratic by the pointwise factor."""
        return "quadratic"

    def num_weights(self) -> int:
        """Counts out in + k^dims in."""
        return (self.out_channels + self.taps) * self.in_channels

    def variances(self) -> Iterator[tuple[nn.Parameter, float]]:
        """1 / k^dims and 2 / in: the stencils keep the variance, the mixing doubles it."""
        yield self.stencils, 1 / self.taps
        yield self.mixing, 2 / self.in_channels

    def dense_weight(self) -> Tensor:
        """The products."""
        return self._wide_mixing() * self.stencils.transpose(0, 1)

    def norm_bound(self, size: tuple[int, ...] | None = None) -> Tensor:
        """As in `ChannelCoupling`, of products that are not rounded to half precision."""
        mixing = at_least_single(self._wide_mixing())
        dense = mixing * at_least_single(self.stencils).transpose(0, 1)
        if size is None:
            return grouped_bound(dense, 1)
        return torch.linalg.matrix_norm(symbol(dense, self._torus(size)), ord=2).max()

    def _map(self, x: Tensor) -> Tensor:
        how = {"groups": self.in_channels, "stride": self.stride, "padding": self.padding}
        return correlate(correlate(x, self.stencils, **how), self._wide_mixing())

    def _map_adjoint(self, z: Tensor, size: tuple[int, ...]) -> Tensor:
        how = {"groups": self.in_channels, "stride": self.stride, "padding": self.padding}
        return correlate_adjoint(correlate_adjoint(z, self._wide_mixing(), z.shape[2:]), self.stencils, size, **how)

    def _wide_mixing(self) -> Tensor:
        return self.mixing[(...,) + (None,) * self.dims]
