"""Diffusion-reaction steps: y' = -L y + R(y), diffusion in space channel by channel, reaction across channels.

Source: the discretisations S1 to S5 of lowcost spec 2.4. S3 is what IMEXnet's released code runs and S4 what the paper
says (Haber, Lensink, Treister, Ruthotto, arXiv:1903.02639) [F]; the others are proposed [P].
"""

from typing import Any, Literal, Protocol, Self, get_args, runtime_checkable

from torch import Tensor

from torchmg.errors import UsageError
from torchmg.hierarchy import Dims, check_choice
from torchmg.nn.coupling.base import ChannelCoupling
from torchmg.nn.coupling.grouped import Pointwise
from torchmg.nn.step_norm import StepAct, StepNorm
from torchmg.nn.steps import DoubleStep, ExplicitStep, Sign, SymmetricStep, TimeStep

ReactionScheme = Literal["explicit", "split", "imex", "lie", "imexnet", "strang"]
"""How one step treats the two parts; S = (I + h L)^{-1}.

    explicit  S1  y + h R(y): one operator that has both in it, such as a depthwise and a 1x1 convolution in one
    split     S2  y - h B^T act(N(B y)) + h R(y), B a depthwise coupling
    imex      S3  S (y + h R(y)); the default
    lie       S5  the same: one part after the other
    imexnet   S4  S (y + h L y + h R(y)) = y + h S R(y)
    strang    S5  (I + h/2 L)^{-1} (y* + h R(y*)) with y* = (I + h/2 L)^{-1} y: second order in the splitting
"""


@runtime_checkable
class Diffusion(Protocol):
    """An implicit step of diffusion such as `ImplicitDiffusion`: (batch, channels, *spatial) -> the same."""

    h: float
    """The time it covers."""

    def __call__(self, y: Tensor) -> Tensor:
        """(I + h L)^{-1} y."""
        ...

    def operator(self, y: Tensor) -> Tensor:
        """L y."""
        ...


class DiffusionReaction(TimeStep):
    """One step of a diffusion-reaction network by one of the schemes; (batch, channels, *spatial) -> the same.

    With a symmetric reaction, the minus sign, no norm and h ||K||^2 <= 2, `explicit`, `imex`, `lie` and `strang` are
    non-expansive; so is `split` with h (||K||^2 + ||B||^2) <= 2, and `imexnet` in the norm v . S^{-1} v, where
    h ||K S^{1/2}||^2 <= 2 is enough. With the plus sign nothing is guaranteed where L of a constant is 0.

    Args:
        reaction: R: a coupling K becomes the symmetric term -K^T act(N(K y)); a `DoubleStep` or `SymmetricStep`
            gives its rate, and then `norm`, `act` and `sign` are not used here.
        diffusion: an implicit diffusion; for `split` a depthwise coupling B, or a step made of one; for `explicit`
            none.
        scheme: see `ReactionScheme`. Default: S3, what IMEXnet's released code runs.
        norm, act: of the symmetric terms made here.
        h: time step, of all the parts: theirs is set to it, that of the two half diffusions of `strang` to h / 2.
        sign: of the reaction made here.

    Raises:
        UsageError: a scheme without the diffusion that it needs, or with one that it does not.
        UnknownNameError: an unknown scheme, norm or activation.
    """

    def __init__(
        self,
        reaction: ChannelCoupling | ExplicitStep,
        diffusion: Diffusion | ChannelCoupling | ExplicitStep | None = None,
        scheme: ReactionScheme = "imex",
        *,
        norm: StepNorm = "batch",
        act: StepAct = "relu",
        h: float = 1.0,
        sign: Sign = -1,
    ) -> None:
        super().__init__(h)
        check_choice("scheme", scheme, get_args(ReactionScheme))
        if isinstance(reaction, ChannelCoupling):
            reaction = SymmetricStep(reaction, norm=norm, act=act, h=h, sign=sign)
        if isinstance(diffusion, ChannelCoupling):
            diffusion = SymmetricStep(diffusion, norm=norm, act=act, h=h)
        _check_diffusion(scheme, diffusion)
        self.scheme: ReactionScheme = scheme
        self.reaction, self.diffusion = reaction, diffusion
        self.channels = reaction.channels
        self._follow_h()

    def forward(self, y: Tensor) -> Tensor:
        """One step."""
        diffusion: Any = self.diffusion
        match self.scheme:
            case "explicit":
                return self.reaction(y)
            case "split":
                return self.reaction(y) + self.h * diffusion.rate(y)
            case "imexnet":
                return y + self.h * diffusion(self.reaction.rate(y))
            case "strang":
                return diffusion(self.reaction(diffusion(y)))
            case _:
                return diffusion(self.reaction(y))

    def certify(self, *, monotone: bool = False, size: tuple[int, ...] | None = None, share: float = 1.0) -> Self:
        """Make the step non-expansive for good, `imexnet` in the norm v . S^{-1} v; see `torchmg.nn.certified.certify`.

        With `split` each of the two terms has half of the limit.

        Raises:
            UsageError: a reaction that is not a `SymmetricStep` or cannot be certified.
        """
        if isinstance(self.diffusion, ExplicitStep):
            share /= 2
            self.diffusion.certify(monotone=monotone, size=size, share=share)
        self.reaction.certify(monotone=monotone, size=size, share=share)
        return self

    def extra_repr(self) -> str:
        """Scheme and time step."""
        return f"{self.scheme}, h={self.h:g}"

    def _follow_h(self) -> None:
        self.reaction.h = self.h
        if self.diffusion is not None:
            self.diffusion.h = self.h / 2 if self.scheme == "strang" else self.h


def reaction(
    channels: int,
    *,
    symmetric: bool = True,
    norm: StepNorm = "batch",
    act: StepAct = "relu",
    h: float = 1.0,
    sign: Sign = -1,
    dims: Dims = 2,
) -> ExplicitStep:
    """The pure reaction, which couples the channels of one pixel by 1x1 maps: the R of S2 [P].

    Returns:
        `symmetric`: y - h W^T act(N(W y)), channels^2 weights; else y - h W2 act(N(W1 y)), twice as many.
    """
    first = Pointwise(channels, channels, dims=dims)
    if symmetric:
        return SymmetricStep(first, norm=norm, act=act, h=h, sign=sign)
    return DoubleStep(first, Pointwise(channels, channels, dims=dims), norm=norm, act=act, h=h, sign=sign)


def _check_diffusion(scheme: ReactionScheme, diffusion: object) -> None:
    if scheme == "explicit" and diffusion is not None:
        raise UsageError(
            'scheme="explicit" has its diffusion in the coupling itself and takes none besides; got a '
            f'{type(diffusion).__name__}. Leave it out, or use scheme="imex".'
        )
    if scheme == "split" and not isinstance(diffusion, ExplicitStep):
        raise UsageError(
            'scheme="split" takes the diffusion as a coupling that acts channel by channel, such as '
            f"Depthwise(c, c); got {type(diffusion).__name__}."
        )
    if scheme not in ("explicit", "split") and (
        isinstance(diffusion, ExplicitStep) or not isinstance(diffusion, Diffusion)
    ):
        raise UsageError(
            f"scheme={scheme!r} needs an implicit diffusion, such as ImplicitDiffusion(c); got "
            f'{"none" if diffusion is None else type(diffusion).__name__}. Explicit couplings go with scheme="split".'
        )
