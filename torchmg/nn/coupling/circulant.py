"""Couplings whose dense kernel is circulant in the channels, block by block."""

from collections.abc import Iterator
from math import gcd, prod
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from torchmg.errors import GroupError
from torchmg.hierarchy import check_choice, divisors
from torchmg.hierarchy.transforms import fft_macs
from torchmg.nn.coupling.base import ChannelCoupling, Growth
from torchmg.nn.coupling.stencil import correlate, correlate_adjoint, schur_bound, spectral_bound, symbol
from torchmg.nn.precision import at_least_single, without_autocast

Evaluation = Literal["dense", "channel_fft"]
"""How a circulant coupling is computed. `dense`: its dense kernel is gathered and convolved with, one well-tuned call
that saves no arithmetic. `channel_fft`: Fourier transforms over each block's channels, and between them one grouped
convolution with a group for each frequency; far fewer operations, none of them as well tuned."""


class Circulant(ChannelCoupling):
    """Every channel to every channel, by stencils that depend on the difference of their numbers only.

        W[o, i] = theta[(o - i) mod b]   within each of the (out / b) x (in / b) blocks

    Weights: k^dims in out / b, in `theta` (out in / b^2, b, *kernel), a block a row. b = 1 is the full convolution; b =
    in = out has as many weights as the depthwise one, yet couples all channels.

    Source: the square case with one block is in the authors' code (lowcost spec 1.1 [F]), other blocks are those of
    CirCNN, and gcd(in, out) for other widths is a proposal ([P]).

    Args:
        in_channels, out_channels, kernel_size: as in `ChannelCoupling`.
        block: b, must divide both widths; by default their greatest common divisor, the fewest weights.
        evaluate: see `Evaluation`; the same map either way. The transforms are done in float32 also under autocast.
        **options: those of `ChannelCoupling`.

    Raises:
        GroupError: a block that does not divide both widths.
        UnknownNameError: an unknown evaluation.
    """

    name: ClassVar[str] = "circulant"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        *,
        block: int | None = None,
        evaluate: Evaluation = "dense",
        **options: Any,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, **options)
        check_choice("evaluate", evaluate, get_args(Evaluation))
        common = gcd(in_channels, out_channels)
        self.block = common if block is None else block
        if not isinstance(self.block, int) or self.block < 1 or common % self.block:
            raise GroupError(
                f"block of a circulant coupling {in_channels} -> {out_channels} must divide both widths; "
                f"got {block!r}. Use one of {', '.join(map(str, divisors(common)))}."
            )
        self.evaluate: Evaluation = evaluate
        self._fixed = block is not None
        self.rows, self.columns = out_channels // self.block, in_channels // self.block
        kernel = (self.kernel_size,) * self.dims
        self.theta = nn.Parameter(torch.empty(self.rows * self.columns, self.block, *kernel))
        self.reset_parameters()

    @property
    def blocks(self) -> Tensor:
        """The weights, (out / b, in / b, b, *kernel).

        Stored with two axes in one: torch's memory formats are for tensors of as many axes as a convolution's weight.
        """
        return self.theta.unflatten(0, (self.rows, self.columns))

    @property
    def growth(self) -> Growth:
        """Linear if the block grows with the width, quadratic if it is given."""
        return "quadratic" if self._fixed else "linear"

    def num_weights(self) -> int:
        """k^dims in out / b."""
        return self.taps * self.rows * self.columns * self.block

    def macs_per_pixel(self) -> int:
        """k^dims in out if dense; else transforms and products, for stride 1 and without what is done once a call.

        By channel FFT 4 k^dims (b // 2 + 1) (out / b) (in / b), a complex product being four real ones, and
        1.25 (in + out) log2 b. Source: lowcost spec 1.1.
        """
        if self.evaluate == "dense":
            return self.taps * self.in_channels * self.out_channels
        return self._products() + sum(fft_macs([self.block], count, real=True) for count in (self.rows, self.columns))

    def macs(self, *size: int) -> int:
        """Multiply-accumulates of one sample whose maps have `size`, in closed form.

        By channel FFT the input is transformed at every pixel, also those a stride leaves out, and the weights once
        for all pixels.
        """
        if self.evaluate == "dense":
            return super().macs(*size)
        pixels, kept = prod(size), prod(-(-n // self.stride) for n in size)
        transforms = pixels * self.columns + kept * self.rows + self.taps * self.rows * self.columns
        return kept * self._products() + fft_macs([self.block], transforms, real=True)

    def variances(self) -> Iterator[tuple[nn.Parameter, float]]:
        """2 / (k^dims in)."""
        yield self.theta, 2 / (self.taps * self.in_channels)

    def dense_weight(self) -> Tensor:
        """theta[(o - i) mod b] in each block."""
        return unroll(self.blocks)

    def norm_bound(self, size: tuple[int, ...] | None = None) -> Tensor:
        """As in `ChannelCoupling`, channel frequency by channel frequency, between which nothing is coupled.

        With `size` it is the same number at a cost that is linear in b: of one block, max |fftn(theta)|. Without, the
        largest over the channel frequencies of sum_t ||W_t||_2, or Schur's bound. Source: lowcost spec 1.1, 1.8.
        """
        if size is not None:
            modes = symbol(self.theta, self._torus(size))
            modes = torch.fft.fft(modes, dim=-1).unflatten(-2, (self.rows, self.columns)).movedim(-1, 0)
            return self._norms(modes).max()
        flat = at_least_single(self.blocks).flatten(3)
        modes = torch.fft.rfft(flat, dim=2).movedim((2, 3), (0, 1))
        taps = self._norms(modes, certified=True).sum(1).max()
        return torch.minimum(taps, schur_bound(flat.abs().sum((2, 3))))

    def extra_repr(self) -> str:
        """Widths and what is not the default."""
        parts = [super().extra_repr(), f"block={self.block}"]
        parts += [f"evaluate={self.evaluate}"] if self.evaluate != "dense" else []
        return ", ".join(parts)

    def _norms(self, modes: Tensor, certified: bool = False) -> Tensor:
        """Spectral norms of (*, out / b, in / b); rows and columns need no singular values."""
        if 1 in modes.shape[-2:]:
            return torch.linalg.matrix_norm(modes)
        return spectral_bound(modes) if certified else torch.linalg.matrix_norm(modes, ord=2)

    def _products(self) -> int:
        return 4 * self.taps * self._frequencies() * self.rows * self.columns

    def _frequencies(self) -> int:
        return self.block // 2 + 1

    def _map(self, x: Tensor) -> Tensor:
        if self.evaluate == "dense":
            return super()._map(x)
        with without_autocast(x.device.type):
            modes = self._to_modes(x, self.columns)
            how = {"groups": self._frequencies(), "stride": self.stride, "padding": self.padding}
            y = correlate(modes, self._modal_weight(), **how)
            return self._from_modes(y, self.rows).to(x.dtype)

    def _map_adjoint(self, z: Tensor, size: tuple[int, ...]) -> Tensor:
        if self.evaluate == "dense":
            return super()._map_adjoint(z, size)
        with without_autocast(z.device.type):
            modes = self._to_modes(z, self.rows)
            how = {"groups": self._frequencies(), "stride": self.stride, "padding": self.padding}
            x = correlate_adjoint(modes, self._modal_weight(), size, **how)
            return self._from_modes(x, self.columns).to(z.dtype)

    def _modal_weight(self) -> Tensor:
        """The grouped real kernel of all frequencies, (frequencies * 2 * rows, 2 * columns, *kernel).

        A complex product (a + ib)(x + iy) is the real matrix ((a, -b), (b, a)) times (x, y).
        """
        modes = torch.fft.rfft(at_least_single(self.blocks), dim=2).movedim(2, 0)
        real, imaginary = modes.real, modes.imag
        upper, lower = torch.cat([real, -imaginary], 2), torch.cat([imaginary, real], 2)
        return torch.cat([upper, lower], 1).flatten(0, 1)

    def _to_modes(self, x: Tensor, blocks: int) -> Tensor:
        """(batch, blocks * b, *spatial) -> (batch, frequencies * 2 * blocks, *spatial), real parts first."""
        modes = torch.fft.rfft(at_least_single(x).unflatten(1, (blocks, self.block)), dim=2).transpose(1, 2)
        return torch.cat([modes.real, modes.imag], 2).flatten(1, 2)

    def _from_modes(self, modes: Tensor, blocks: int) -> Tensor:
        """The inverse of `_to_modes`."""
        real, imaginary = modes.unflatten(1, (self._frequencies(), 2 * blocks)).split(blocks, 2)
        spectrum = torch.complex(real.contiguous(), imaginary.contiguous()).transpose(1, 2)
        return torch.fft.irfft(spectrum, n=self.block, dim=2).flatten(1, 2)


def unroll(theta: Tensor) -> Tensor:
    """Circulant blocks (rows, columns, b, *rest) written out: (rows b, columns b, *rest), of theta[(o - i) mod b]."""
    channel = torch.arange(theta.shape[2], device=theta.device)
    blocks = theta[:, :, (channel[:, None] - channel) % theta.shape[2]]
    return blocks.transpose(1, 2).flatten(2, 3).flatten(0, 1)
