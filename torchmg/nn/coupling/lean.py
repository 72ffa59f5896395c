"""Couplings that add a cheap spatial stencil to a pointwise map: lean convolutions and the special sparsity."""

from collections.abc import Iterator
from itertools import product
from math import gcd
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchmg.errors import UsageError
from torchmg.hierarchy import check_choice
from torchmg.nn.coupling.base import ChannelCoupling, Growth, check_group_size
from torchmg.nn.coupling.circulant import unroll
from torchmg.nn.coupling.stencil import (
    block_diagonal,
    correlate,
    correlate_adjoint,
    grouped_bound,
    schur_bound,
    spectral_bound,
)
from torchmg.nn.precision import at_least_single

Stencil = Literal["9", "5", "3h", "3v"]
"""Which taps a kernel keeps, called by how many these are in a 3x3 one; the centre is always there. `9`: all. `5`: the
star, those along one axis only, out to k // 2. `3h`: those along the last axis (a row of a picture). `3v`: those along
the last but one (a column), which sequences do not have."""
PointwisePart = Literal["full", "circulant"]
"""How the centre couples channels: `full`, every pair by its own weight; `circulant`, one weight for each offset
(o - i) mod gcd(in, out). The latter is in no paper (lowcost spec 1.5)."""


class Lean(ChannelCoupling):
    """A pointwise map of all channels plus a stencil without its centre within groups, in one operator.

        y_o = sum_i w[o, i] x_i + sum_{i in group(o)} sum_{t not centre} d[o, i, t] x_i(. + t)

    The centre taps are in w only, so that no two weights do the same: `centre` is (out, in), or (out / b, in / b, b)
    if circulant with b = gcd(in, out); `stencils` is (out, s, n_T - 1) and None if the kernel is 1 wide, where lean is
    pointwise. A stride is taken by both parts, so stencils lie around the pixels that are kept.

    Weights: in out + (n_T - 1) s out, or in out / b for the first term if circulant.

    Widths may differ: there are gcd(in / s, out) groups, of `group_size` inputs as asked if in / s divides out (each
    input channel then makes several outputs), else of as few more as divide.

    Source: the sum is that of LeanResNet and LeanConvNets (lowcost spec 1.3 [F2]), the count and the form for other
    widths are proposals ([P]).

    Args:
        in_channels, out_channels, kernel_size: as in `ChannelCoupling`.
        stencil: which taps are kept, see `Stencil`.
        group_size: input channels a stencil reads, 1 (the default) for depthwise; must divide `in_channels`.
        pointwise: how the centre couples channels, see `PointwisePart`.
        **options: those of `ChannelCoupling`.

    Raises:
        UsageError: a group size that does not divide, a vertical stencil on sequences.
        UnknownNameError: an unknown stencil or pointwise part.
    """

    name: ClassVar[str] = "lean"

    _tap: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        *,
        stencil: Stencil = "9",
        group_size: int = 1,
        pointwise: PointwisePart = "full",
        **options: Any,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, **options)
        check_choice("stencil", stencil, get_args(Stencil))
        check_choice("pointwise", pointwise, get_args(PointwisePart))
        if stencil == "3v" and self.dims == 1:
            raise UsageError("The stencil '3v' needs rows and columns, which sequences do not have. Use '3h'.")
        check_group_size(in_channels, group_size)
        self.stencil: Stencil = stencil
        self.pointwise: PointwisePart = pointwise
        self.groups = gcd(in_channels // group_size, out_channels)
        self.group_size = in_channels // self.groups
        self.block = gcd(in_channels, out_channels) if pointwise == "circulant" else 1
        kept = stencil_taps(self.kernel_size, self.dims, stencil)
        kept.remove(self.taps // 2)
        self.free_taps = len(kept)

        shape = (out_channels // self.block, in_channels // self.block, self.block)
        self.centre = nn.Parameter(torch.empty(shape if pointwise == "circulant" else (out_channels, in_channels)))
        self.stencils = nn.Parameter(torch.empty(out_channels, self.group_size, len(kept))) if kept else None
        # Where each entry of the kernel is among the free taps; what is none of them is past their end.
        places = {tap: place for place, tap in enumerate(kept)}
        tap = torch.tensor([places.get(tap, len(kept)) for tap in range(self.taps)])
        self.register_buffer("_tap", tap, persistent=False)
        self.reset_parameters()

    @property
    def growth(self) -> Growth:
        """Quadratic by the full pointwise part; linear with a circulant one."""
        return "quadratic" if self.pointwise == "full" else "linear"

    def num_weights(self) -> int:
        """Counts in out / b + (n_T - 1) s out, with b = 1 unless circulant."""
        return self.in_channels * self.out_channels // self.block + self._stencil_weights()

    def macs_per_pixel(self) -> int:
        """Counts in out + (n_T - 1) s out, also if circulant, which is evaluated as a dense 1x1 map.

        The zeros around a star or line are not counted, though today's convolutions multiply by them too.
        """
        return self.in_channels * self.out_channels + self._stencil_weights()

    def variances(self) -> Iterator[tuple[nn.Parameter, float]]:
        """1 / in and 1 / ((n_T - 1) s): either part gives half of what the outputs vary by."""
        yield self.centre, (2 if self.stencils is None else 1) / self.in_channels
        if self.stencils is not None:
            yield self.stencils, 1 / (self.free_taps * self.group_size)

    def dense_weight(self) -> Tensor:
        """The stencils in their groups, with the pointwise map as their centre."""
        centre, middle = self._centre().unsqueeze(-1), self.taps // 2
        shape = (self.kernel_size,) * self.dims
        if self.stencils is None:
            return centre.unflatten(-1, shape)
        around = block_diagonal(self._spread().flatten(2), self.groups)
        return torch.cat([around[..., :middle], centre, around[..., middle + 1 :]], -1).unflatten(-1, shape)

    def norm_bound(self, size: tuple[int, ...] | None = None) -> Tensor:
        """As in `ChannelCoupling`; without `size` the parts are bounded one by one.

        ||w||_2 plus the largest bound of a group's stencils, which is max_o sum_t |d[o, t]| if depthwise, or Schur's
        bound of the whole if that is smaller. Source: lowcost spec 1.8.
        """
        if size is not None:
            return super().norm_bound(size)
        centre = at_least_single(self._centre())
        parts, magnitude = spectral_bound(centre), centre.abs()
        if self.stencils is not None:
            stencils = at_least_single(self.stencils)
            parts = parts + grouped_bound(stencils, self.groups)
            magnitude = magnitude + block_diagonal(stencils.abs().sum(2, keepdim=True), self.groups).squeeze(2)
        return torch.minimum(parts, schur_bound(magnitude))

    def extra_repr(self) -> str:
        """Widths and what is not the default."""
        parts = [super().extra_repr(), f"stencil={self.stencil}"]
        parts += [f"group_size={self.group_size}"] if self.group_size != 1 else []
        parts += [f"pointwise={self.pointwise}"] if self.pointwise != "full" else []
        return ", ".join(parts)

    def _map(self, x: Tensor) -> Tensor:
        y = correlate(x, self._wide_centre(), stride=self.stride)
        if self.stencils is None:
            return y
        return y + correlate(x, self._spread(), groups=self.groups, stride=self.stride, padding=self.padding)

    def _map_adjoint(self, z: Tensor, size: tuple[int, ...]) -> Tensor:
        x = correlate_adjoint(z, self._wide_centre(), size, stride=self.stride)
        if self.stencils is None:
            return x
        how = {"groups": self.groups, "stride": self.stride, "padding": self.padding}
        return x + correlate_adjoint(z, self._spread(), size, **how)

    def _stencil_weights(self) -> int:
        return self.free_taps * self.group_size * self.out_channels

    def _centre(self) -> Tensor:
        """(out, in)."""
        return unroll(self.centre) if self.pointwise == "circulant" else self.centre

    def _wide_centre(self) -> Tensor:
        return self._centre()[(...,) + (None,) * self.dims]

    def _spread(self) -> Tensor:
        """The stencils as grouped kernels (out, s, *kernel) with zeros where there are no free taps."""
        assert self.stencils is not None
        spread = F.pad(self.stencils, (0, 1)).index_select(2, self._tap)
        return spread.unflatten(2, (self.kernel_size,) * self.dims)


class Union(Lean):
    """The special sparsity: every channel by its own stencil, and all channels at its centre, in one set of weights.

    Entries (o, i, t) of the dense kernel are free if o = i or t is the centre. Weights: out in + (k^dims - 1) out.
    It is `Lean` with all taps, depthwise, but with widths that have no common divisor it is pointwise.

    Source: the authors' mask of mode 1 (lowcost spec 1.2 [F]; that it is the first operator of the 2018 paper is an
    inference); the form for other widths is a proposal ([P]).

    Args:
        in_channels, out_channels, kernel_size: as in `ChannelCoupling`.
        **options: those of `ChannelCoupling`.
    """

    name: ClassVar[str] = "union"

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3, **options: Any) -> None:
        whole = isinstance(in_channels, int) and isinstance(out_channels, int)
        if whole and in_channels != out_channels and gcd(in_channels, out_channels) == 1:
            kernel_size = 1
        super().__init__(in_channels, out_channels, kernel_size, stencil="9", group_size=1, **options)


def stencil_taps(kernel_size: int, dims: int, stencil: Stencil) -> list[int]:
    """The entries of a flattened kernel of k^dims that a stencil keeps, in order; the centre is one of them."""
    middle = kernel_size // 2
    axes = {"9": None, "5": range(dims), "3h": (dims - 1,), "3v": (dims - 2,)}[stencil]
    kept = []
    for index, place in enumerate(product(range(kernel_size), repeat=dims)):
        moved = [axis for axis in range(dims) if place[axis] != middle]
        if axes is None or not moved or (len(moved) == 1 and moved[0] in axes):
            kept.append(index)
    return kept
