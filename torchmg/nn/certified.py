"""Couplings whose operator norm cannot pass a limit, whatever training does to their weights.

The step y - h K^T act(K y + b) is non-expansive for h ||K||^2 <= 2 (lowcost spec 2.2, T2 [D]). Here that bound is made
part of the network: the kernel enters scaled by min(1, limit / bound), with a certified upper bound of its norm.
"""

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from torchmg.errors import ShapeError, UsageError
from torchmg.nn.coupling.base import ChannelCoupling, Growth, Scheme
from torchmg.nn.precision import without_autocast

M = TypeVar("M", bound=nn.Module)
Maps = tuple[Callable[[Tensor], Tensor], Callable[[Tensor, tuple[int, ...]], Tensor]]
"""A coupling's forward map and its adjoint to maps of a size."""


class WrappedCoupling(ChannelCoupling):
    """A coupling made of the weights of another, `coupling`; what does not depend on their values is the other's."""

    name: ClassVar[str] = "wrapped"

    def __init__(self, coupling: ChannelCoupling) -> None:
        super().__init__(
            coupling.in_channels,
            coupling.out_channels,
            coupling.kernel_size,
            stride=coupling.stride,
            padding=coupling.padding,
            dims=coupling.dims,
        )
        self.coupling = coupling

    @property
    def growth(self) -> Growth:
        """That of the coupling inside."""
        return self.coupling.growth

    def num_weights(self) -> int:
        """Those of the coupling inside."""
        return self.coupling.num_weights()

    def num_params(self) -> int:
        """Those of the coupling inside, its bias among them."""
        return self.coupling.num_params()

    def variances(self) -> Any:
        """Those of the coupling inside."""
        return self.coupling.variances()

    def macs_per_pixel(self) -> int:
        """Those of the coupling inside; making its weights costs the same for any batch and is left out."""
        return self.coupling.macs_per_pixel()

    def adjacency(self) -> Tensor:
        """That of the coupling inside."""
        return self.coupling.adjacency()

    def reset_parameters(self, scheme: Scheme = "he") -> None:
        """Draw the weights of the coupling inside anew."""
        self.coupling.reset_parameters(scheme)


class Bounded(WrappedCoupling):
    """min(1, limit / bound) K, with the `bound` of the coupling K: its norm is at most `limit`.

    The factor is computed in every forward, differentiable, in the precision of the weights whether autocast is on or
    not. A bias is multiplied by it too. The cheap bound is loose where taps reinforce each other little, so a kernel
    may be shrunk further than it had to be; `size` costs the singular values of every frequency and is exact for
    circular padding.

    Args:
        coupling: K.
        limit: what the norm may be at most.
        size: spatial sizes for the tighter bound of `ChannelCoupling.norm_bound`; None is the cheap one. Maps must
            then have that size, with zeros around them at most that size.
        gain: gives a scalar g; the norm is then at most limit / sqrt(g). For batch norms inside of steps.

    Raises:
        UsageError: a limit not above 0.
    """

    name: ClassVar[str] = "bounded"

    def __init__(
        self,
        coupling: ChannelCoupling,
        limit: float,
        *,
        size: tuple[int, ...] | None = None,
        gain: Callable[[], Tensor] | None = None,
    ) -> None:
        if not limit > 0:
            raise UsageError(f"The limit of a norm must be above 0; got {limit!r}.")
        if size is not None and (len(size) != coupling.dims or any(n < 1 for n in size)):
            raise UsageError(f"size={size!r} must give the {coupling.dims} sides of the maps, each at least 1.")
        super().__init__(coupling)
        self.limit, self.size, self.gain = float(limit), size, gain

    def factor(self) -> Tensor:
        """What K is multiplied by: a scalar in (0, 1]."""
        with without_autocast(next(self.parameters()).device.type):
            bound = self.coupling.norm_bound(self.size)
            if self.gain is not None:
                bound = bound * self.gain().sqrt()
            return self.limit / bound.clamp_min(self.limit)

    def maps(self) -> Maps:
        """The map and its adjoint with one computation of the factor."""
        factor = self.factor()

        def forward(x: Tensor) -> Tensor:
            self._check_size(x.shape[2:])
            return self.coupling(x) * factor

        def adjoint(z: Tensor, size: tuple[int, ...] | None = None) -> Tensor:
            x = self.coupling.adjoint(z, size)
            self._check_size(x.shape[2:])
            return x * factor

        return forward, adjoint

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (as in `ChannelCoupling`)
        """Apply the map."""
        return self.maps()[0](input)

    def adjoint(self, z: Tensor, size: tuple[int, ...] | None = None) -> Tensor:
        """The exact transpose, to maps of `size`, as in `ChannelCoupling`."""
        return self.maps()[1](z, size)  # pyright: ignore[reportArgumentType]

    def dense_weight(self) -> Tensor:
        """The scaled kernel (out, in, *kernel): what the certificate is about."""
        return self.coupling.dense_weight() * self.factor()

    def norm_bound(self, size: tuple[int, ...] | None = None) -> Tensor:
        """A bound of the scaled map's norm; see `ChannelCoupling`."""
        return self.coupling.norm_bound(size) * self.factor()

    def extra_repr(self) -> str:
        """The limit."""
        return f"limit={self.limit:.4g}" + (f", size={self.size}" if self.size else "")

    def _check_size(self, size: torch.Size) -> None:
        if self.size is None:
            return
        circular = self.padding == "circular"
        if any(n != m if circular else n > m for n, m in zip(size, self.size, strict=True)):
            what = "exactly" if circular else "at most"
            raise ShapeError(
                f"The norm is certified for maps of {what} {self.size}; got {tuple(size)}. "
                "Certify with that size, or without one for all sizes."
            )


def linear_maps(coupling: ChannelCoupling) -> Maps:
    """The coupling's map and its adjoint, as a step uses both of them."""
    return coupling.maps() if isinstance(coupling, Bounded) else (coupling, coupling.adjoint)


def certify(module: M, *, monotone: bool = False, size: tuple[int, ...] | None = None) -> M:
    """Make every step inside of `module` non-expansive for good: its coupling becomes a `Bounded` one, in place.

    For two inputs, outputs of a step are then never further apart than the inputs were, in evaluation, up to rounding.
    This is about the steps only: what lies between them (convolutions, norms, pooling) is as it was.

    Args:
        module: a step or a network; its steps must be symmetric ones with the minus sign and norm="none" or
            norm="nonnegative", alone or within a `DiffusionReaction`.
        monotone: the stronger limit h ||K||^2 <= 1, with which the Jacobian of a symmetric step is symmetric positive
            semidefinite too, so that errors do not change sign (T3).
        size: see `Bounded`.

    Returns:
        `module`.

    Raises:
        UsageError: a step of another kind, or none at all.
    """
    pending, found = [module], False
    while pending:
        part = pending.pop()
        own = getattr(part, "certify", None)
        if callable(own):
            own(monotone=monotone, size=size)
            found = True
        else:
            pending += list(part.children())
    if not found:
        raise UsageError(f"There is no step to certify in a {type(module).__name__}. Use SymmetricStep.")
    return module
