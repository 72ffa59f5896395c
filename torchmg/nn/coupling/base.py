"""Channel couplings: linear maps of feature maps whose dense kernel is a fixed linear image of fewer weights.

Every member is W = Q(theta), with Q a selection or replication, or a product of such maps (`separable`, `multigrid`):
which is why each has an exact adjoint, can be compared with a dense convolution, and can be folded into one.
Reimplemented from the abstracts of "Low-Cost Parameterizations of Deep Convolutional Neural Networks" (Treister,
Ruthotto, Sharoni, Zafrani, Haber, 2018) and the authors' earlier public code; the papers' full texts were not to be
had.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from math import prod
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from torchmg.errors import GroupError, ShapeError, UsageError
from torchmg.hierarchy import Dims, check_choice, divisors
from torchmg.nn.conv import check_input
from torchmg.nn.coupling.stencil import Padding, correlate, correlate_adjoint, grouped_bound, symbol

Growth = Literal["linear", "quadratic"]
"""How the weights of a coupling grow with its width, other sizes fixed."""
Scheme = Literal["he", "meganet"]
"""First values. `he`: normal, so that a unit input gives outputs of variance 2 (what a ReLU halves), which the
branches of a sum share evenly. `meganet`: the authors' code of August 2018, normal but clipped at two standard
deviations of 0.1 for full kernels and sqrt(2 / (k^dims out)) for restricted ones."""


class ChannelCoupling(nn.Module, ABC):
    """A linear map (batch, in_channels, *spatial) -> (batch, out_channels, *spatial), no norm, no activation.

    Args:
        in_channels, out_channels: widths.
        kernel_size: odd, the same along every axis.
        stride: each spatial axis is divided by it, rounded up; taps are centred on the pixels that are kept.
        padding: see `Padding`.
        bias: one number for each output channel, zero at first; the adjoint leaves it out.
        dims: spatial axes, 1 to 3.

    Raises:
        UsageError: sizes below 1, an even kernel, axes outside 1 to 3.
        UnknownNameError: an unknown padding.
    """

    name: ClassVar[str]
    """Its name in the registry."""
    degree: ClassVar[int] = 1
    """Of the dense kernel in the weights of `variances`: 1 where it is linear in them."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        *,
        stride: int = 1,
        padding: Padding = "zeros",
        bias: bool = False,
        dims: Dims = 2,
    ) -> None:
        super().__init__()
        sizes = {"in_channels": in_channels, "out_channels": out_channels, "kernel_size": kernel_size, "stride": stride}
        for what, value in sizes.items():
            if not isinstance(value, int) or value < 1:
                raise UsageError(f"{what} of a {self.name} coupling must be a whole number from 1; got {value!r}.")
        if kernel_size % 2 == 0:
            raise UsageError(
                f"kernel_size must be odd to keep the resolution; got {kernel_size}. Use {kernel_size - 1} or "
                f"{kernel_size + 1}."
            )
        if dims not in (1, 2, 3):
            raise UsageError(f"A channel coupling has 1, 2 or 3 spatial axes; got dims={dims!r}.")
        check_choice("padding", padding, get_args(Padding))
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size, self.stride = kernel_size, stride
        self.padding: Padding = padding
        self.dims: Dims = dims
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None

    # What a member says of itself.

    @abstractmethod
    def dense_weight(self) -> Tensor:
        """The dense kernel (out, in, *kernel) of the same map, differentiable in the weights: Q(theta)."""

    @abstractmethod
    def num_weights(self) -> int:
        """Weights without the bias, in closed form."""

    @abstractmethod
    def variances(self) -> Iterator[tuple[nn.Parameter, float]]:
        """Each weight tensor that is drawn normally, and the variance of its first values in the scheme `he`."""

    @property
    @abstractmethod
    def growth(self) -> Growth:
        """How its weights grow with the width."""

    def _map(self, x: Tensor) -> Tensor:
        """The map itself; members that need not form the dense kernel say how."""
        return correlate(x, self.dense_weight(), stride=self.stride, padding=self.padding)

    def _map_adjoint(self, z: Tensor, size: tuple[int, ...]) -> Tensor:
        """Its transpose, to maps of `size`."""
        return correlate_adjoint(z, self.dense_weight(), size, stride=self.stride, padding=self.padding)

    def macs_per_pixel(self) -> int:
        """Multiply-accumulates for each output pixel; those of members that share weights are more than these."""
        return self.num_weights()

    # What follows from it.

    @property
    def taps(self) -> int:
        """Entries of the kernel, k^dims."""
        return self.kernel_size**self.dims

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (torch's name, by which callers may pass it)
        """Apply the map.

        Raises:
            ShapeError: another width or number of axes, or a map smaller than the margin that is wrapped around.
        """
        check_input(input, self.in_channels, self.dims)
        self._check_margin(input.shape[2:])
        y = self._map(input)
        return y if self.bias is None else y + self.bias[(...,) + (None,) * self.dims]

    def adjoint(self, z: Tensor, size: tuple[int, ...] | None = None) -> Tensor:
        """The exact transpose, <K x, z> = <x, K^T z>: (batch, out_channels, *spatial) -> (batch, in_channels, *size).

        Args:
            z: what comes in.
            size: spatial sizes of what goes out; by default those of z times the stride.

        Raises:
            ShapeError: a size that the forward map would not bring to z's.
        """
        check_input(z, self.out_channels, self.dims)
        size = tuple(n * self.stride for n in z.shape[2:]) if size is None else size
        if len(size) != self.dims or any(-(-n // self.stride) != m for n, m in zip(size, z.shape[2:], strict=True)):
            nearest = tuple(m * self.stride for m in z.shape[2:])
            raise ShapeError(
                f"Maps of size {tuple(size)} at stride {self.stride} do not become {tuple(z.shape[2:])}. Use {nearest}."
            )
        self._check_margin(size)
        return self._map_adjoint(z, size)

    def num_params(self) -> int:
        """Trainable numbers, in closed form."""
        return self.num_weights() + (self.out_channels if self.bias is not None else 0)

    def macs(self, *size: int) -> int:
        """Multiply-accumulates of one sample whose maps have `size`, in closed form."""
        return prod(-(-n // self.stride) for n in size) * self.macs_per_pixel()

    def adjacency(self) -> Tensor:
        """Which channels are coupled: bool (out, in)."""
        ones = {f"coupling.{name}": torch.ones_like(w) for name, w in self.named_parameters() if name != "bias"}
        dense = torch.func.functional_call(_Dense(self), ones, ())
        return dense.flatten(2).abs().sum(2) > 0

    def reach(self) -> int | None:
        """Layers until every input channel can influence every output: the diameter of the graph; None: never."""
        return diameter(self.adjacency())

    def norm_bound(self, size: tuple[int, ...] | None = None) -> Tensor:
        """A certified upper bound of the operator norm ||K||_2, a scalar that is differentiable in the weights.

        Without `size` it holds on maps of every size and is cheap: the smaller of the sum of the taps' matrix norms,
        sum_t ||W_t||_2, and Schur's sqrt(max_o sum |W| max_i sum |W|). With `size` it is the largest norm of the
        symbol: exact for circular padding at stride 1; for zeros it is taken on the torus that the map with its
        margin fits in, of which the map is a part, so it is a bound.

        Source: lowcost spec 1.8; the cheap forms are ours.
        """
        if size is not None:
            return torch.linalg.matrix_norm(symbol(self.dense_weight(), self._torus(size)), ord=2).max()
        return grouped_bound(self.dense_weight(), 1)

    @torch.no_grad()
    def reset_parameters(self, scheme: Scheme = "he") -> None:
        """Draw the weights anew; see `Scheme`.

        Raises:
            UnknownNameError: an unknown scheme.
        """
        check_choice("scheme", scheme, get_args(Scheme))
        for weight, variance in self.variances():
            if scheme == "he":
                nn.init.normal_(weight, std=variance**0.5)
            else:
                std = 0.1 if self.name == "full" else (2 / (self.taps * self.out_channels)) ** 0.5
                nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def extra_repr(self) -> str:
        """Widths and what is not the default."""
        parts = [f"{self.in_channels} -> {self.out_channels}", f"kernel_size={self.kernel_size}"]
        parts += [f"stride={self.stride}"] if self.stride != 1 else []
        parts += [f"padding={self.padding}"] if self.padding != "zeros" else []
        return ", ".join(parts)

    def _torus(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """The periodic grid whose symbol bounds the map on `size`."""
        margin = 0 if self.padding == "circular" else self.kernel_size // 2
        return tuple(n + margin for n in size)

    def _check_margin(self, size: tuple[int, ...] | torch.Size) -> None:
        margin = self.kernel_size // 2
        if self.padding == "circular" and any(n < margin for n in size):
            raise ShapeError(
                f"Circular padding of a {self.kernel_size}-wide kernel needs sides of at least {margin}; "
                f"got {tuple(size)}."
            )


class _Dense(nn.Module):
    """Calls a coupling's `dense_weight`, so that it can be evaluated with other weights."""

    def __init__(self, coupling: ChannelCoupling) -> None:
        super().__init__()
        self.coupling = coupling

    def forward(self) -> Tensor:
        return self.coupling.dense_weight()


def check_group_size(channels: int, group_size: int) -> None:
    """Raise `GroupError` unless groups of that many channels fill the width; the message names the nearest that do."""
    if not isinstance(group_size, int) or group_size < 1 or channels % group_size:
        near = min(divisors(channels), key=lambda d: abs(d - group_size)) if isinstance(group_size, int) else 1
        raise GroupError(f"group_size must divide the {channels} channels; got {group_size!r}. Nearest: {near}.")


def diameter(adjacency: Tensor) -> int | None:
    """The longest of the shortest ways in a graph, bool (out, in), whose nodes all keep themselves; None: no way.

    A map between different widths stands for one layer: 1 if it couples all, else None.
    """
    if bool(adjacency.all()):
        return 1
    if adjacency.shape[0] != adjacency.shape[1]:
        return None
    powers = [adjacency.float()]  # of 2^j layers
    while not bool(powers[-1].all()):
        square = (powers[-1] @ powers[-1] > 0).float()
        if bool((square == powers[-1]).all()):
            return None
        powers.append(square)
    layers, reached = 0, torch.eye(len(adjacency))
    for exponent in range(len(powers) - 2, -1, -1):
        further = (reached @ powers[exponent] > 0).float()
        if not bool(further.all()):
            layers, reached = layers + 2**exponent, further
    return layers + 1
