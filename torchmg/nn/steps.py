"""Residual steps as time steps of a differential equation: the ordinary layer and the symmetric one.

Source: lowcost spec 2.1, 2.2 (Ruthotto and Haber, arXiv:1804.04272, and the authors' Meganet code [F]).
"""

from abc import ABC, abstractmethod
from math import isfinite
from typing import Literal, Self

import torch
from torch import Tensor, nn

from torchmg.errors import UsageError
from torchmg.nn.certified import Bounded, linear_maps
from torchmg.nn.coupling.base import ChannelCoupling
from torchmg.nn.step_norm import NonnegativeBatchNorm, StepAct, StepNorm, step_act, step_norm

Sign = Literal[-1, 1]
"""-1: the term damps, as in Meganet; the theorems need it. +1: as in IMEXnet's released code."""


class TimeStep(nn.Module):
    """What all steps have: `h`, the time they cover, a float above 0 that may be changed; and a certificate or none.

    Raises:
        UsageError: an h that is not a finite number above 0.
    """

    def __init__(self, h: float = 1.0) -> None:
        super().__init__()
        self._h = _checked(h)

    @property
    def h(self) -> float:
        """The time that this step covers."""
        return self._h

    @h.setter
    def h(self, value: float) -> None:
        self._h = _checked(value)
        self._follow_h()

    def _follow_h(self) -> None:
        """Tell the parts that depend on h."""

    def certify(self, *, monotone: bool = False, size: tuple[int, ...] | None = None, share: float = 1.0) -> Self:
        """Make the step non-expansive for good, see `torchmg.nn.certified.certify`; `share` of the limit is its own.

        Raises:
            UsageError: no theorem covers this kind of step.
        """
        raise UsageError(
            f"No theorem says when a {type(self).__name__} is non-expansive. Use SymmetricStep, or DiffusionReaction "
            "with a symmetric reaction."
        )

    def extra_repr(self) -> str:
        """The time step."""
        return f"h={self.h:g}"


class ExplicitStep(TimeStep, ABC):
    """y + h F(y) with F = sign * term: (batch, channels, *spatial) -> the same."""

    channels: int
    """Width of y."""
    sign: Sign = 1

    @abstractmethod
    def term(self, y: Tensor) -> Tensor:
        """F(y) but for its sign."""

    def rate(self, y: Tensor) -> Tensor:
        """F(y), the right-hand side of y' = F(y)."""
        return self.term(y) if self.sign > 0 else -self.term(y)

    def forward(self, y: Tensor) -> Tensor:
        """One step of explicit Euler."""
        return torch.add(y, self.term(y), alpha=self.sign * self.h)


class DoubleStep(ExplicitStep):
    """The ordinary residual layer: y + h sign K2 act(N(K1 y)). Nothing bounds how much it expands.

    Args:
        first: K1, from the width of y to any.
        second: K2, back to it.
        norm: see `StepNorm`.
        act: see `StepAct`.
        h: time step; 1 makes it the layer of a ResNet.
        sign: see `Sign`.

    Raises:
        UsageError: couplings that do not follow each other, or with strides.
        UnknownNameError: an unknown norm or activation.
    """

    def __init__(
        self,
        first: ChannelCoupling,
        second: ChannelCoupling,
        *,
        norm: StepNorm = "batch",
        act: StepAct = "relu",
        h: float = 1.0,
        sign: Sign = 1,
    ) -> None:
        super().__init__(h)
        widths = (first.in_channels, first.out_channels, second.in_channels, second.out_channels)
        if widths[0] != widths[3] or widths[1] != widths[2] or first.dims != second.dims:
            raise UsageError(
                f"The second coupling must lead back: got {widths[0]} -> {widths[1]} in {first.dims} axes, then "
                f"{widths[2]} -> {widths[3]} in {second.dims}. Use {widths[1]} -> {widths[0]}."
            )
        if (first.stride, second.stride) != (1, 1):
            raise UsageError(f"A step keeps the resolution; got strides {first.stride} and {second.stride}. Use 1.")
        self.channels, self.sign = first.in_channels, check_sign(sign)
        self.first, self.second = first, second
        self.norm = step_norm(norm, first.out_channels, first.dims)
        self.act = step_act(act)

    def term(self, y: Tensor) -> Tensor:
        """K2 act(N(K1 y))."""
        return self.second(self.act(self.norm(self.first(y))))


class SymmetricForm(TimeStep):
    """What the symmetric step and the symmetric smoother share: K^T act(N(. K y)), and its certificate."""

    def __init__(
        self,
        coupling: ChannelCoupling,
        *,
        norm: StepNorm = "batch",
        act: StepAct = "relu",
        h: float = 1.0,
        bias: bool = False,
        outer_norm: bool = False,
        rescale: bool = False,
        certified: bool = False,
    ) -> None:
        super().__init__(h)
        self.channels, self.norm_kind = coupling.in_channels, norm
        self.coupling = coupling
        self.norm = step_norm(norm, coupling.out_channels, coupling.dims)
        self.bias = nn.Parameter(torch.zeros(coupling.out_channels, *(1,) * coupling.dims)) if bias else None
        self.act = step_act(act)
        self.outer_norm = step_norm(norm if outer_norm else "none", coupling.in_channels, coupling.dims)
        self._budget = 2.0
        if rescale:
            self.rescale()
        if certified:
            self.certify()

    @torch.no_grad()
    def rescale(self) -> None:
        """Shrink the weights where needed so that h ||K||^2 is below 1, by an estimate of the norm (spec 1.7 [P])."""
        # The estimate is from below and on small maps; the margin keeps the true value below 1.
        factor = (0.85 / (self.h**0.5 * norm_estimate(self.coupling))).clamp(max=1)
        for weight, _ in self.coupling.variances():
            weight.mul_(factor ** (1 / self.coupling.degree))

    def certify(self, *, monotone: bool = False, size: tuple[int, ...] | None = None, share: float = 1.0) -> Self:
        """Keep h ||K||^2 <= 2 share, or 1 share if `monotone`; see `torchmg.nn.certified.certify`.

        Raises:
            UsageError: a norm about which nothing is known, or a norm after K^T.
        """
        if self.norm_kind not in ("none", "nonnegative") or not isinstance(self.outer_norm, nn.Identity):
            inner = "an outer norm" if self.norm_kind in ("none", "nonnegative") else f"norm={self.norm_kind!r}"
            raise UsageError(
                f"A step with {inner} cannot be certified: what it multiplies by is not bounded or may be negative. "
                'Use norm="nonnegative" (batch norm with |gamma|) or norm="none", without outer_norm.'
            )
        self._budget = (1.0 if monotone else 2.0) * share
        coupling = self.coupling.coupling if isinstance(self.coupling, Bounded) else self.coupling
        gain = self.norm.gain if isinstance(self.norm, NonnegativeBatchNorm) else None
        self.coupling = Bounded(coupling, (self._budget / self.h) ** 0.5, size=size, gain=gain)
        return self

    def _follow_h(self) -> None:
        if isinstance(self.coupling, Bounded):
            self.coupling.limit = (self._budget / self.h) ** 0.5

    def _pull(self, y: Tensor, data: Tensor | None = None) -> Tensor:
        """K^T act(N(K y) + b), or with data f K^T act(N(f - K y) + b)."""
        forward, adjoint = linear_maps(self.coupling)
        z = forward(y) if data is None else data - forward(y)
        z = self.norm(z)
        z = self.act(z if self.bias is None else z + self.bias)
        return self.outer_norm(adjoint(z, tuple(y.shape[2:])))


class SymmetricStep(SymmetricForm, ExplicitStep):
    """The symmetric layer: y - h K^T act(N(K y) + b), one coupling and its exact adjoint.

    Without norm it is non-expansive for h ||K||^2 <= 2 (T2): outputs are never further apart than inputs. Its Jacobian
    is symmetric positive semidefinite for h ||K||^2 <= 1 (T3), and it is a step down the gradient of the convex energy
    sum Phi(K y + b) with Phi' = act (T5). Batch norms keep this in evaluation only and with gamma >= 0.

    Half the weights of a `DoubleStep` and the same MACs, twice those of K.

    Args:
        coupling: K; any width, stride, padding.
        norm: N; see `StepNorm`. Batch norm by default, as in the authors' drivers of May 2018.
        act: see `StepAct`.
        h: time step; 1 in the authors' networks.
        sign: see `Sign`.
        bias: b, one number a channel, zero at first. A norm has one already.
        outer_norm: another norm of the same kind after K^T, which the toolbox allows; no theorem covers it.
        rescale: shrink the weights of `coupling` once so that h ||K||^2 starts below 1 (spec 1.7 [P]); off by default.
        certified: see `certify`.

    Raises:
        UsageError: h not above 0, a sign other than -1 and 1, or a certificate that cannot be had.
        UnknownNameError: an unknown norm or activation.

    Source: lowcost spec 2.1 [F], 2.2 [D].
    """

    def __init__(
        self,
        coupling: ChannelCoupling,
        *,
        norm: StepNorm = "batch",
        act: StepAct = "relu",
        h: float = 1.0,
        sign: Sign = -1,
        bias: bool = False,
        outer_norm: bool = False,
        rescale: bool = False,
        certified: bool = False,
    ) -> None:
        self.sign = check_sign(sign)
        super().__init__(
            coupling,
            norm=norm,
            act=act,
            h=h,
            bias=bias,
            outer_norm=outer_norm,
            rescale=rescale,
            certified=certified,
        )

    def term(self, y: Tensor) -> Tensor:
        """K^T act(N(K y) + b)."""
        return self._pull(y)

    def certify(self, *, monotone: bool = False, size: tuple[int, ...] | None = None, share: float = 1.0) -> Self:
        """As in `SymmetricForm`.

        Raises:
            UsageError: the plus sign too.
        """
        if self.sign > 0:
            raise UsageError("A step with the plus sign expands by up to 1 + h ||K||^2. Use sign=-1 to certify it.")
        return super().certify(monotone=monotone, size=size, share=share)


@torch.no_grad()
def norm_estimate(coupling: ChannelCoupling, side: int = 8, iterations: int = 20) -> Tensor:
    """An estimate from below of a coupling's operator norm, a scalar: power iteration on maps of that side.

    It draws no random numbers. For a bound from above see `ChannelCoupling.norm_bound`.
    """
    size = (max(side, 2 * coupling.kernel_size),) * coupling.dims
    like = next(iter(coupling.variances()))[0]
    count = torch.arange(coupling.in_channels * size[0] ** coupling.dims, device=like.device, dtype=torch.float32)
    x = torch.cos(0.6 * count * count).to(like.dtype).view(1, coupling.in_channels, *size)
    tiny, norm = torch.finfo(like.dtype).tiny, x.new_ones(())
    offset = coupling(torch.zeros_like(x)) if coupling.num_params() > coupling.num_weights() else 0
    for _ in range(iterations):
        x = x / torch.linalg.vector_norm(x).clamp_min(tiny)
        y = coupling(x) - offset
        norm = torch.linalg.vector_norm(y)
        x = coupling.adjoint(y, size)
    return norm


def check_sign(sign: int) -> Sign:
    """`sign`, or a `UsageError` unless it is -1 or 1."""
    if sign not in (-1, 1):
        raise UsageError(f"sign must be -1 (damping) or 1; got {sign!r}.")
    return 1 if sign == 1 else -1


def _checked(h: float) -> float:
    if not isinstance(h, int | float) or not isfinite(h) or h <= 0:
        raise UsageError(f"A time step h must be a finite number above 0; got {h!r}.")
    return float(h)
