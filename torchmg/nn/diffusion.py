"""One implicit step of diffusion, channel by channel: a global smoothing for the price of a depthwise operator."""

from collections.abc import Callable
from math import isfinite, prod
from typing import get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchmg.errors import ShapeError, UsageError
from torchmg.hierarchy import Dims, check_choice
from torchmg.hierarchy.diffusion import (
    SYMBOLS,
    Acceleration,
    DiffusionBackend,
    DiffusionInit,
    DiffusionSymbol,
    diffusion_lengths,
)
from torchmg.hierarchy.transforms import fft_macs
from torchmg.nn.conv import check_input
from torchmg.nn.precision import without_autocast
from torchmg.nn.spectral import (
    axis_products,
    cosine_symbol,
    cosine_transform,
    difference_stencil,
    laplacian_stencil,
    reflecting_convolution,
    transfer_function,
)

LARGEST = {1: 4.0, 2: 16 / 3, 3: 16 / 3}
"""The largest eigenvalue of `laplacian_stencil` by the number of axes."""


class ImplicitDiffusion(nn.Module):
    """u = (I + h L)^{-1} y, (batch, channels, *size) -> the same shape; L >= 0 acts in space, channels stay apart.

    One implicit Euler step of dy/dt = -L y. Every pixel of a channel reaches every other, and any h > 0 is stable: the
    map is symmetric, its norm is 1 / (1 + h lambda_min(L)) <= 1, exactly 1 where constants are in the null space of L.
    `DiffusionSymbol` says what L can be; its trainable numbers, in two dimensions, with second differences of
    eigenvalues lx(q) = 2 - 2 cos(pi q / W), and ly:

        fourier  gram         |b(w)|^2                          k^2 a channel
        fourier  laplacian    |Re l(w)|                         k^2 a channel
        cosine   anisotropic  a0 + a1 ly + a2 lx + a3 lx ly     3 a channel, a_i = softplus >= 0; 4 with a0
        cosine   isotropic    a0 + a1 (lx + ly)                 1 a channel; 2 with a0

    Under `cosine`, L is a convolution with an even 3-wide stencil and the border pixels repeated outside, so its
    boundary reflects. `sweeps` has the very same L, parameters and state dict, and approximates the solve: sweeps of
    u <- u + w (y - u - h L u), each one depthwise convolution, from u = y. What is left of the error is `sweep_factor`
    of the largest l_max = a0 + 4 a1 + 4 a2 + 16 a3, which training can raise: good for h l_max <= 4 or so. The map
    stays symmetric, a contraction, and exact on constants, whatever the number of sweeps.

    Source: IMEXnet (Haber, Lensink, Treister, Ruthotto, arXiv:1903.02639) and its published code for `fourier`, which
    takes images for periodic. The other two are proposed here.

    All is computed in float32 at least: half precision is converted, autocast is off inside, and the result has the
    type of the input. Nothing but parameters is stored; sizes may differ from call to call.

    Args:
        channels: width of y.
        backend: see `DiffusionBackend`. Default: the published one.
        symbol: see `DiffusionSymbol`; None is `gram` with `fourier`, `anisotropic` otherwise.
        h: time step; 1 as in IMEXnet's code.
        kernel_size: of the stencils of `fourier`, odd; the other back ends have 3.
        zero_mean: L of a constant is 0, so that the mean of every channel is kept: the stencils of `fourier` are
            shifted to sum to zero in every forward, as IMEXnet's are; the others have no a0.
        init: `smooth` (default) starts every channel with a Laplacian (`gram`: B is one) whose largest eigenvalue is
            1, so that the fastest mode is divided by 1 + h and the slow ones hardly change; all terms of `anisotropic`
            have an equal part in it. `spread` gives channel c the length l_c of `diffusion_lengths`: for slow modes w,
            h L is h (l_c |w|)^4 with `gram`, h (l_c |w|)^2 otherwise, which halves the mode |w| = 1 / l_c at h = 1; not
            for `sweeps`, which cannot solve that. `imexnet` draws `gram` stencils uniformly from [0, 1], and starts
            `laplacian` with 0.01 times that of nine points.
        sweeps: number of sweeps; 4 accelerated ones leave 2e-3 of the error at the first values with h = 1.
        acceleration: see `Acceleration`.
        dims: spatial axes, 1 to 3; products of up to three second differences in three.

    Raises:
        UsageError: channels or sweeps below 1, h not above 0, an even kernel size or one below 3, or not 3 where it
            is; `imexnet` without `fourier`; dims outside 1 to 3.
        UnknownNameError: an unknown choice; the message names the nearest.
    """

    def __init__(
        self,
        channels: int,
        *,
        backend: DiffusionBackend = "fourier",
        symbol: DiffusionSymbol | None = None,
        h: float = 1.0,
        kernel_size: int = 3,
        zero_mean: bool = True,
        init: DiffusionInit = "smooth",
        sweeps: int = 4,
        acceleration: Acceleration = "chebyshev",
        dims: Dims = 2,
    ) -> None:
        super().__init__()
        check_choice("backend", backend, get_args(DiffusionBackend))
        self.backend: DiffusionBackend = backend
        self.symbol: str = symbol or SYMBOLS[backend][0]
        check_choice(f"symbol of the {backend} back end", self.symbol, SYMBOLS[backend])
        check_choice("init", init, get_args(DiffusionInit))
        check_choice("acceleration", acceleration, get_args(Acceleration))
        _check_numbers(channels, h, kernel_size, sweeps, dims)
        if backend == "sweeps" and init == "spread":
            raise UsageError("Sweeps cannot solve for lengths of many pixels. Use backend='cosine' or init='smooth'.")
        if backend != "fourier" and (kernel_size != 3 or init == "imexnet"):
            asked = f"kernel_size={kernel_size}, init={init!r}"
            raise UsageError(f"Only the fourier back end has other stencils than 3-wide smooth ones; got {asked}.")
        self.channels, self.h, self.kernel_size, self.zero_mean = channels, float(h), kernel_size, zero_mean
        self.init: DiffusionInit = init
        self.sweeps, self.acceleration = sweeps, acceleration
        self.dims: Dims = dims
        if backend == "fourier":
            self.stencil = nn.Parameter(torch.empty(channels, *[kernel_size] * dims))
        else:
            self.strength = nn.Parameter(torch.empty(channels, len(self._terms())))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Set or draw the first values, see `init`."""
        squares = torch.tensor(diffusion_lengths(self.channels), dtype=torch.float64).square()
        if self.backend != "fourier":
            terms = self._terms()
            equal = torch.tensor([1 / (len(terms) * largest) for _, largest in terms], dtype=torch.float64)
            first = equal.expand(self.channels, -1).clone()
            if self.init == "spread":
                second = [place for place, (sets, _) in enumerate(terms) if len(sets[0]) == 1]
                first[:, second] = squares[:, None]
            self.strength.copy_(first + (-(-first).expm1()).log())  # softplus of it is `first`
        elif self.init == "imexnet" and self.symbol == "gram":
            self.stencil.uniform_()
        else:
            smooth = torch.full_like(squares, 0.01 if self.init == "imexnet" else 1 / LARGEST[self.dims])
            scale = squares if self.init == "spread" else smooth
            room = (self.kernel_size - 3) // 2
            stencil = F.pad(laplacian_stencil(self.dims, squares), [room, room] * self.dims)
            self.stencil.copy_(scale.view(-1, *[1] * self.dims) * stencil)

    def forward(self, y: Tensor) -> Tensor:
        """(I + h L)^{-1} y, approximately so with `sweeps`."""
        self._check(y)
        with without_autocast(y.device.type):
            x = _precise(y)
            u = self._sweep(x) if self.backend == "sweeps" else self._filter(x, 1 / (1 + self.h * self._values(x)))
            return u.to(y.dtype)

    def operator(self, y: Tensor) -> Tensor:
        """L y: by transforms with `fourier`, otherwise by convolution with the stencil of L."""
        self._check(y)
        with without_autocast(y.device.type):
            x = _precise(y)
            if self.backend == "fourier":
                z = self._filter(x, self._values(x))
            else:
                z = reflecting_convolution(x, self._even_stencil(x))
            return z.to(y.dtype)

    def _check(self, y: Tensor) -> None:
        check_input(y, self.channels, self.dims)
        size = tuple(y.shape[2:])
        if self.backend == "fourier" and min(size) < self.kernel_size:
            raise ShapeError(
                f"A periodic stencil of {self.kernel_size} does not fit into {'x'.join(map(str, size))}, whose "
                f"smallest side is {min(size)}: that must be at least {self.kernel_size}. Pool less before, or use "
                "backend='cosine', which takes any size."
            )

    def _terms(self) -> list[tuple[list[tuple[int, ...]], float]]:
        """Of each trainable factor the products of second differences it multiplies, and their largest value."""
        products = list(axis_products(self.dims))
        if self.symbol == "anisotropic":
            terms = [([axes], 4.0 ** len(axes)) for axes in products]
        else:
            terms = [(products[: self.dims], 4.0 * self.dims)]
        return terms if self.zero_mean else [([()], 1.0), *terms]

    def _values(self, x: Tensor) -> Tensor:
        """The eigenvalues of L: (channels, *size), with `fourier` half as many along the last axis."""
        if self.backend == "cosine":
            return self._combine(lambda axes: cosine_symbol(axes, x))
        stencil = self.stencil.to(x.dtype)
        if self.zero_mean:
            stencil = stencil - stencil.mean(tuple(range(1, stencil.dim())), keepdim=True)
        values = transfer_function(stencil, x.shape[2:])
        return values.real.abs() if self.symbol == "laplacian" else values.real.square() + values.imag.square()

    def _even_stencil(self, x: Tensor) -> Tensor:
        return self._combine(lambda axes: difference_stencil(axes, self.dims, x))

    def _combine(self, product: Callable[[tuple[int, ...]], Tensor]) -> Tensor:
        """Sum over terms of the factor, for every channel, times what `product` makes of its sets of axes."""
        parts = [sum(map(product, sets[1:]), product(sets[0])) for sets, _ in self._terms()]
        factors = F.softplus(self.strength.to(parts[0].dtype)).view(self.channels, len(parts), *[1] * self.dims)
        return sum((factors[:, i] * part for i, part in enumerate(parts[1:], 1)), factors[:, 0] * parts[0])

    def _filter(self, x: Tensor, response: Tensor) -> Tensor:
        if self.backend == "cosine":
            return cosine_transform(cosine_transform(x) * response, inverse=True)
        axes = list(range(2, x.dim()))
        return torch.fft.irfftn(torch.fft.rfftn(x, dim=axes) * response, s=x.shape[2:], dim=axes)

    def _sweep(self, x: Tensor) -> Tensor:
        """Sweeps for the spectrum [1, 1 + h l_max] of each channel, from x, whose constants are right already."""
        stencil = self.h * self._even_stencil(x)
        half = self.h / 2 * self._combine(lambda axes: x.new_full([1] * self.dims, 4.0 ** len(axes)))
        middle = 1 + half
        u, step, rho = x, torch.zeros_like(x), half / middle
        for sweep in range(self.sweeps):
            left = x - u - reflecting_convolution(u, stencil)
            if sweep == 0 or self.acceleration == "richardson":
                step = left / middle
            else:
                following = 1 / (2 * middle - half * rho)
                step, rho = half * following * rho * step + 2 * following * left, half * following
            u = u + step
        return u

    def num_params(self) -> int:
        """Trainable numbers in closed form: k^dims a channel with `fourier`, a factor a term and channel otherwise."""
        if self.backend == "fourier":
            return self.channels * self.kernel_size**self.dims
        return self.channels * len(self._terms())

    def macs(self, *size: int) -> int:
        """MACs of `forward` for one sample of this size; equals what `torchmg.count` counts.

        Three real transforms with `fourier`, by `fft_macs`: of y, of the stencils and back; a larger batch
        shares that of the stencils. Two products with a cosine matrix per axis with `cosine`; a 3-wide depthwise
        convolution a sweep with `sweeps`. The products with symbols are element by element, and free like norms.

        Raises:
            ShapeError: not `dims` positive sizes.
        """
        if len(size) != self.dims or min(size) < 1:
            raise ShapeError(f"macs needs {self.dims} positive sizes; got {size}.")
        if self.backend == "fourier":
            return 3 * fft_macs(size, self.channels)
        if self.backend == "cosine":
            return 2 * self.channels * prod(size) * sum(size)
        return self.sweeps * self.channels * 3**self.dims * prod(size)

    def extra_repr(self) -> str:
        """Width, back end, symbol, step, and the sweeps where there are any."""
        sweeps = f", {self.sweeps} {self.acceleration} sweeps" if self.backend == "sweeps" else ""
        return f"{self.channels}, {self.backend}, {self.symbol}, h={self.h:g}{sweeps}"


def _precise(y: Tensor) -> Tensor:
    return y if y.dtype in (torch.float32, torch.float64) else y.float()


def _check_numbers(channels: int, h: float, kernel_size: int, sweeps: int, dims: int) -> None:
    if dims not in (1, 2, 3):
        raise UsageError(f"Diffusion needs an axis to go along: dims is 1, 2 or 3; got {dims!r}.")
    if channels < 1 or sweeps < 1:
        raise UsageError(f"channels and sweeps must be at least 1; got {channels} and {sweeps}.")
    if not (h > 0 and isfinite(h)):
        raise UsageError(f"h must be a positive time step, such as 1.0; got {h!r}.")
    if kernel_size < 3 or kernel_size % 2 == 0:
        near = 3 if kernel_size < 3 else f"{kernel_size - 1} or {kernel_size + 1}"
        raise UsageError(f"kernel_size must be odd and at least 3; got {kernel_size}. Use {near}.")
