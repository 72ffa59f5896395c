"""The step of IMEXnet as its authors' released code runs it, which differs from the paper's formula."""

from typing import ClassVar

from torch import Tensor

from torchmg.errors import UsageError
from torchmg.nn.certified import WrappedCoupling
from torchmg.nn.coupling.base import ChannelCoupling
from torchmg.nn.coupling.grouped import Grouped
from torchmg.nn.coupling.stencil import correlate, correlate_adjoint
from torchmg.nn.reaction import Diffusion
from torchmg.nn.step_norm import StepAct, StepNorm, step_act, step_norm
from torchmg.nn.steps import TimeStep


class ZeroMean(WrappedCoupling):
    """A grouped or full coupling each of whose stencils is shifted to sum to zero in every forward.

    Args:
        coupling: a `Grouped`, `Full` or `Depthwise` one, wider than one pixel.

    Raises:
        UsageError: another kind, or 1x1 kernels, of which nothing would be left.
    """

    name: ClassVar[str] = "zero_mean"

    def __init__(self, coupling: ChannelCoupling) -> None:
        if not isinstance(coupling, Grouped) or coupling.kernel_size == 1:
            raise UsageError(
                f"Only full, grouped and depthwise couplings wider than 1 have stencils to shift to a mean of zero; "
                f"got {type(coupling).__name__} with kernel_size={coupling.kernel_size}. Use Full(c, c)."
            )
        super().__init__(coupling)

    def dense_weight(self) -> Tensor:
        """The shifted kernel (out, in, *kernel)."""
        dense = self.coupling.dense_weight()
        return dense - dense.flatten(2).mean(2)[(...,) + (None,) * self.dims]

    def _grouped(self) -> tuple[Tensor, int]:
        """The shifted weight, and into how many groups it is cut."""
        assert isinstance(self.coupling, Grouped)
        weight = self.coupling.weight
        return weight - weight.flatten(2).mean(2)[(...,) + (None,) * self.dims], self.coupling.groups

    def _map(self, x: Tensor) -> Tensor:
        weight, groups = self._grouped()
        y = correlate(x, weight, groups=groups, stride=self.stride, padding=self.padding)
        bias = self.coupling.bias
        return y if bias is None else y + bias[(...,) + (None,) * self.dims]

    def _map_adjoint(self, z: Tensor, size: tuple[int, ...]) -> Tensor:
        weight, groups = self._grouped()
        return correlate_adjoint(z, weight, size, groups=groups, stride=self.stride, padding=self.padding)


class IMEXnetCodeStep(TimeStep):
    """(I + h L)^{-1} N(y + h K^T act(N(K y))): (batch, channels, *spatial) -> the same.

    As released [F]: the plus sign, so the reaction does not damp and no theorem applies; one norm object, used after K
    and again before the solve; K's stencils shifted to a mean of zero in every forward. Its diffusion has zero-mean
    stencils too, drawn uniformly: `ImplicitDiffusion(c, zero_mean=True, init="imexnet")`. A batch norm that is used
    twice mixes the running statistics of both places, in the authors' code as here. For the paper's formula use
    `DiffusionReaction(..., scheme="imexnet")`.

    Args:
        coupling: K, from the width of y to the same, full in the code.
        diffusion: the solve; its h is set to `h`.
        norm: see `StepNorm`.
        act: see `StepAct`.
        h: time step; 1 in the code.

    Raises:
        UsageError: a coupling that changes the width or the resolution, or whose stencils cannot be shifted.
        UnknownNameError: an unknown norm or activation.

    Source: lowcost spec 2.4 S3, 2.6, 2.8 [F]. That the second norm is that of the sum, not of the term alone, is our
    reading of it.
    """

    def __init__(
        self,
        coupling: ChannelCoupling,
        diffusion: Diffusion,
        *,
        norm: StepNorm = "batch",
        act: StepAct = "relu",
        h: float = 1.0,
    ) -> None:
        super().__init__(h)
        if coupling.in_channels != coupling.out_channels or coupling.stride != 1:
            raise UsageError(
                f"One norm serves after K and on y, so K must keep the width and the resolution; got "
                f"{coupling.in_channels} -> {coupling.out_channels} at stride {coupling.stride}."
            )
        self.channels = coupling.in_channels
        self.coupling = ZeroMean(coupling)
        self.norm = step_norm(norm, coupling.out_channels, coupling.dims)
        self.act = step_act(act)
        self.diffusion = diffusion
        self._follow_h()

    def forward(self, y: Tensor) -> Tensor:
        """One step."""
        z = self.act(self.norm(self.coupling(y)))
        return self.diffusion(self.norm(y + self.h * self.coupling.adjoint(z, tuple(y.shape[2:]))))

    def _follow_h(self) -> None:
        self.diffusion.h = self.h
