"""Blocks of time steps by name: the dynamics, the layer, the coupling and the treatment of diffusion."""

from typing import Any, TypedDict, Unpack, cast, get_args

from torchmg.errors import UsageError
from torchmg.hierarchy import CouplingName, check_choice
from torchmg.hierarchy.diffusion import DiffusionBackend, DiffusionInit
from torchmg.models.options import Dynamics, Layer, Scheme, SignWord, Stencil
from torchmg.nn.certified import certify
from torchmg.nn.coupling import ChannelCoupling, Evaluation, PointwisePart, channel_coupling
from torchmg.nn.diffusion import ImplicitDiffusion
from torchmg.nn.integrators import Hamiltonian, HamiltonianStep, Leapfrog
from torchmg.nn.reaction import DiffusionReaction
from torchmg.nn.step_norm import StepNorm
from torchmg.nn.steps import DoubleStep, ExplicitStep, Sign, SymmetricStep, TimeStep
from torchmg.nn.time_steps import TimeSteps

BLOCKS: dict[Dynamics, type[TimeSteps]] = {
    "parabolic": TimeSteps,
    "second_order": Leapfrog,
    "hamiltonian": Hamiltonian,
}
"""What puts the steps one after the other."""
DAMPING: dict[Layer, SignWord] = {"symmetric": "minus", "double": "plus"}
"""The sign that each layer has unless told."""
EXPLICIT: tuple[Scheme, ...] = ("explicit", "split")
"""Schemes that solve nothing."""


class CouplingOptions(TypedDict, total=False):
    """Options that only some couplings have; giving one to another coupling is an error."""

    group_size: int
    """Channels of a group (grouped, lean, block_chain, multigrid)."""
    coarsest: int
    """Width of full coupling (multigrid)."""
    stencil: Stencil
    """Taps (lean)."""
    pointwise: PointwisePart
    """The 1x1 part (lean)."""
    block: int
    """Width of the circulant blocks (circulant)."""
    evaluate: Evaluation
    """How it is computed (circulant)."""
    radius: int
    """Neighbours on each side (chain, block_chain)."""
    lattice_neighbours: int
    """Neighbours of a channel, itself counted, 5 or 9 (lattice)."""
    periodic: bool
    """A ring instead of a path, a torus instead of a rectangle (chain, block_chain, lattice)."""


class StepOptions(TypedDict, total=False):
    """What every block of time steps takes besides its coupling; meanings in `time_steps`."""

    steps: int
    layer: Layer
    norm: StepNorm | None
    h: float
    sign: SignWord | None
    rescale: bool


class DiffusionOptions(TypedDict, total=False):
    """What parabolic steps take too; meanings in `time_steps`."""

    scheme: Scheme
    backend: DiffusionBackend | None
    diffusion_init: DiffusionInit | None
    certified: bool


def time_steps(
    channels: int,
    *,
    dynamics: Dynamics = "parabolic",
    coupling: CouplingName = "full",
    steps: int = 3,
    layer: Layer = "symmetric",
    scheme: Scheme = "explicit",
    backend: DiffusionBackend | None = None,
    diffusion_init: DiffusionInit | None = None,
    norm: StepNorm | None = None,
    h: float = 1.0,
    sign: SignWord | None = None,
    rescale: bool = False,
    certified: bool = False,
    **options: Unpack[CouplingOptions],
) -> TimeSteps:
    """A block of time steps, (batch, channels, H, W) -> the same; all start from the same weights (spec 1.7).

    Args:
        channels: width.
        dynamics: see `Dynamics`.
        coupling: see `CouplingName`; K of every layer.
        steps: how many; 3 in the authors' networks.
        layer: see `Layer`.
        scheme: see `Scheme`; what is not `explicit` needs parabolic dynamics. B of `split` is depthwise.
        backend: how implicit diffusion is solved; `fourier`, IMEXnet's, by default.
        diffusion_init: first values of implicit diffusion, `smooth` by default; `spread` sees far from the start.
        norm: see `StepNorm`; batch norm by default, with |gamma| where steps are certified.
        h: time step.
        sign: of the layer; by default minus for symmetric layers, which damps, and plus for double ones.
        rescale: shrink the first weights of symmetric layers so that h ||K||^2 < 1 (spec 1.7 [P]). Off by default, a
            choice of ours: the weights then are those of any other layer. Without it no theorem covers the first steps,
            unless `certified`.
        certified: bound the couplings' norms in every forward so that steps never expand (symmetric layers with the
            minus sign and parabolic dynamics; norms `nonnegative` or `none`).
        **options: of the coupling.

    Raises:
        UsageError: no steps, an odd width for Hamiltonian dynamics, a scheme with other than parabolic ones, a backend
            where nothing is solved, options that the coupling does not have, a certificate that cannot be had.
        UnknownNameError: an unknown choice; the message names the nearest.
    """
    check_choice("dynamics", dynamics, get_args(Dynamics))
    check_choice("layer", layer, get_args(Layer))
    check_choice("scheme", scheme, get_args(Scheme))
    if sign is not None:
        check_choice("sign", sign, get_args(SignWord))
    if diffusion_init is not None:
        check_choice("diffusion_init", diffusion_init, get_args(DiffusionInit))
    if not isinstance(steps, int) or steps < 1:
        raise UsageError(f"steps must be a whole number, at least 1; got {steps!r}.")
    if scheme != "explicit" and dynamics != "parabolic":
        raise UsageError(f"scheme={scheme!r} is for parabolic dynamics; got {dynamics}. Use scheme='explicit'.")
    for name, value in {"backend": backend, "diffusion_init": diffusion_init}.items():
        if scheme in EXPLICIT and value is not None:
            raise UsageError(f"scheme={scheme!r} solves nothing, so {name}={value!r} has no use. Use scheme='imex'.")
    if rescale and layer == "double":
        raise UsageError("rescale is for symmetric layers, whose norms bound a step; got layer='double'. Leave it out.")
    if dynamics == "hamiltonian" and channels % 2:
        raise UsageError(f"Hamiltonian steps halve the channels; got {channels}. Use {channels - 1} or {channels + 1}.")
    how: dict[str, Any] = {"norm": norm or ("nonnegative" if certified else "batch"), "h": h}

    def explicit(width: int, number: int) -> ExplicitStep:
        kernel = _coupling(coupling, width, number, options)
        direction: Sign = -1 if (sign or DAMPING[layer]) == "minus" else 1
        if layer == "symmetric":
            return SymmetricStep(kernel, sign=direction, rescale=rescale, **how)
        second = _coupling(coupling, width, number + 1, options)
        return DoubleStep(kernel, second, sign=direction, **how)

    def step(number: int) -> TimeStep:
        if dynamics == "hamiltonian":
            return HamiltonianStep(explicit(channels // 2, number), explicit(channels // 2, number + 1))
        if scheme == "explicit":
            return explicit(channels, number)
        if scheme == "split":
            diffusion = SymmetricStep(channel_coupling("depthwise", channels, channels), rescale=rescale, **how)
        else:
            diffusion = ImplicitDiffusion(channels, backend=backend or "fourier", init=diffusion_init or "smooth", h=h)
        return DiffusionReaction(explicit(channels, number), diffusion, scheme, h=h)

    kind = BLOCKS[dynamics]
    if options.get("stencil") == "3":
        made = [step(number) for number in range(steps)]
        for later in made[1:]:
            later.load_state_dict(made[0].state_dict())
        block = kind(*made)
    else:
        block = kind.copies(step(0), steps)
    return certify(block) if certified else block


def _coupling(name: CouplingName, width: int, number: int, options: CouplingOptions) -> ChannelCoupling:
    """A square coupling; `number` decides whose turn it is with `stencil="3"`."""
    own = cast(dict[str, Any], {**options})
    if own.get("stencil") == "3":
        own["stencil"] = "3v" if number % 2 else "3h"
    if "lattice_neighbours" in own:
        own["neighbours"] = own.pop("lattice_neighbours")
    return channel_coupling(name, width, width, **own)
