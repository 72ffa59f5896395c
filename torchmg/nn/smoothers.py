"""Smoothing steps of the relation A u = f made of channel couplings: MgNet's, and its symmetric form."""

from torch import Tensor, nn

from torchmg.errors import UsageError
from torchmg.nn.coupling.base import ChannelCoupling
from torchmg.nn.step_norm import StepAct, StepNorm, step_act, step_norm
from torchmg.nn.steps import SymmetricForm


class Smoother(nn.Module):
    """MgNet's step u + act(N(B act(N(f - A u)))) with couplings A and B of any kind; (u, f) -> u.

    u is (batch, a.in_channels, *spatial), f (batch, a.out_channels, *spatial). Nothing bounds how much it expands.

    Args:
        a: A, from features to data.
        b: B, from data to features.
        norm: both norms; see `StepNorm`.
        act: both activations; see `StepAct`.

    Raises:
        UsageError: a B that does not lead back, or strides.
        UnknownNameError: an unknown norm or activation.

    Source: He and Xu, "MgNet", 2019; lowcost spec 4.4.
    """

    def __init__(
        self, a: ChannelCoupling, b: ChannelCoupling, *, norm: StepNorm = "batch", act: StepAct = "relu"
    ) -> None:
        super().__init__()
        if (a.in_channels, a.out_channels, a.dims) != (b.out_channels, b.in_channels, b.dims):
            raise UsageError(
                f"B must lead back from data to features: A is {a.in_channels} -> {a.out_channels} in {a.dims} axes, "
                f"B {b.in_channels} -> {b.out_channels} in {b.dims}. Use {a.out_channels} -> {a.in_channels}."
            )
        if (a.stride, b.stride) != (1, 1):
            raise UsageError(f"A smoother keeps the resolution; got strides {a.stride} and {b.stride}. Use 1.")
        self.a, self.b = a, b
        self.data_norm = step_norm(norm, a.out_channels, a.dims)
        self.feature_norm = step_norm(norm, a.in_channels, a.dims)
        self.act = step_act(act)

    def forward(self, u: Tensor, f: Tensor) -> Tensor:
        """One step."""
        r = self.act(self.data_norm(f - self.a(u)))
        return u + self.act(self.feature_norm(self.b(r)))


class SymmetricSmoother(SymmetricForm):
    """The smoothing step with B = h A^T: u + h A^T act(N(f - A u) + b); (u, f) -> u.

    Half the weights of a `Smoother`. Without norm, and for any fixed f, it is non-expansive in u for h ||A||^2 <= 2
    (T4). With f = 0 and an odd activation it is the symmetric step; with ReLU the two differ.

    Args:
        coupling: A, from features to data.
        norm, act, h, bias, outer_norm, rescale, certified: as in `SymmetricStep`.

    Raises:
        UsageError: h not above 0, or a certificate that cannot be had.
        UnknownNameError: an unknown norm or activation.

    Source: lowcost spec 2.2 T4, 4.4 [D].
    """

    def forward(self, u: Tensor, f: Tensor) -> Tensor:
        """One step; f has the size of A u."""
        return u + self.h * self._pull(u, f)
