"""The choices that decide a hierarchy, each a word with a meaning, and the checks of what people ask for. No torch."""

from typing import Literal, get_args

from torchmg.errors import GroupError, UnknownNameError, UsageError, did_you_mean

StopRule = Literal["le", "le1", "lt1", "ge"]
"""When to stop halving a width w against `coarsest` s: `le` at w <= s, possibly at once (the paper's text);
`le1` at w <= s after at least one coarsening (fits the counts of the paper's Table 5); `lt1` at w < s after
at least one (what the authors' published code does); `ge` while the half is still at least s, so that the coarsest
width is in [s, 2s) (the MGiaD paper, whose counts for three times the width need it)."""

GroupRule = Literal["ceil", "floor", "ceil_down"]
"""How many groups when c / group_size does not divide the widths involved. Of their common divisors, `ceil`
takes the smallest that is at least c / group_size, so that groups are never larger than asked unless nothing
else divides; `floor` the largest not above floor(c / group_size) (the published code: groups may be larger);
`ceil_down` the largest not above ceil(c / group_size)."""

GroupBy = Literal["mid", "outer"]
"""Which width `group_size` and `coarsest` are measured on in a bottleneck: its middle (only this reproduces
the parameters of the paper's Table 5) or the tensor that enters and leaves it."""

TransferNorm = Literal["prolong", "both", "none"]
"""Where a batch normalisation follows a transfer: the prolongation only (the published ResNet code), both (its
MobileNet code), or neither (the equations as printed)."""

TransferInit = Literal["random", "uniform", "gaussian"]
"""`random`: rows u / sum(u), u uniform in [0.5, 1.5); the default, because under `uniform` (plain averages) all
coarse channels of one group start out equal. `gaussian`: normal of mean zero, with the weights of the plain average as
variances, as any other convolution would be drawn: of either sign and with no sum, to ask whether averaging matters."""
TransferGroups = Literal["neighbour", "interleaved", "pair", "linear", "lattice"]
"""Which fine channels share a group: `neighbour`, the same ones as in the relaxation's groups (default, the
published code); `interleaved`, every (c / size)-th one, so that a coarse channel averages over different groups of
the relaxation, as the paper's introduction puts it; `pair`, channels 2j and 2j + 1 only, whatever the relaxation's
groups (the MGiaD paper). Two more fit relaxations that couple neighbours on a grid of channels (lowcost spec 4.3,
definitions ours): `linear`, of a chain, with three taps at 2j - 1, 2j, 2j + 1, full weighting and linear interpolation
as in one-dimensional geometric multigrid; `lattice`, pairs along one axis of a two-dimensional lattice, so that
neighbours stay neighbours (`coarse_lattice`)."""
TransferWeights = Literal["own", "transpose", "fixed"]
"""`own`: P has weights of its own (the paper); `transpose`: P is R transposed, scaled to unit row sums; `fixed`: both
as they were drawn, not trained (they count as parameters all the same, and take no gradient), to ask whether learning
them matters."""

ShortcutKind = Literal["depthwise", "pointwise"]
"""`depthwise`: 3x3 with gcd(in, out) groups (the paper; its code needs in to divide out); `pointwise`: a dense 1x1,
which the paper mentions as the alternative."""

Correction = Literal["fas", "plain"]
"""What is prolonged of a coarser level's result: `fas`, its difference to what was restricted, so that a level that
is solved already stays as it is; `plain`, the result itself, as Algorithm 2 of the MGiaD paper is printed."""

Share = Literal["level", "A", "none"]
"""Which maps the smoothing steps of a level share: `level`, A and B (stationary; MgNet^{A,B}, all of MGiaD); `A`, the
data map only, each step having a feature map B of its own (non-stationary; MgNet^A); `none`, each step has both."""

NormUses = Literal["use", "level"]
"""Whether every smoothing step has batch norms of its own (`use`) or those of a level are shared by its steps (`level`;
some published counts of MgNet leave room for one pair only)."""

CouplingName = Literal[
    "full",
    "grouped",
    "shuffle",
    "depthwise",
    "pointwise",
    "separable",
    "union",
    "lean",
    "circulant",
    "chain",
    "block_chain",
    "lattice",
    "multigrid",
]
"""Channel couplings by name; `torchmg.nn.coupling` says what each is."""

SmootherKind = Literal["conv", "jacobi", "chebyshev", "learned", "adjoint"]
"""What a level's feature map B is: `conv`, a convolution like A; or made of A, so that a level has no weights
but A's: a polynomial in it, `jacobi` of damped Jacobi sweeps, `chebyshev` of Chebyshev's iteration over an interval,
`learned` with free coefficients; or its transpose, `adjoint`, B = h A^T with a positive step h that is learned."""

GridTransferKind = Literal["depthwise", "dense"]
"""How features and residuals change resolution: 3x3 of stride 2, each channel for itself (MGiaD paper) or all to all
(He and Xu)."""

GridInit = Literal["random", "full_weighting", "frozen"]
"""First values of the transfers between resolutions: `random`, as any convolution; `full_weighting`, the stencil
of that name; `frozen`, that stencil, not trained."""

CycleKind = Literal["V", "W", "F"]
"""How often a cycle comes back to coarser levels; see `Cycle`."""

Dims = Literal[0, 1, 2, 3]
"""Axes that a tensor has beside batch and channels: 2 for images, 1 for sequences, 3 for volumes, 0 for vectors."""

RelaxationKind = Literal["conv", "residual", "bottleneck", "mlp"]
"""Relaxations with a closed-form cost: one bare k x k convolution (Eq. 8), the basic residual block (two k x k
convolutions), the bottleneck (1x1, k x k, 1x1), each convolution of the last two with a batch normalisation; the
feed-forward layer of a transformer (two linear maps by way of four times the width, with one layer normalisation)."""


def check_choice(option: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise `UnknownNameError` with the nearest choice unless `value` is one of `choices`."""
    if value not in choices:
        near = did_you_mean(str(value), choices)
        raise UnknownNameError(f"{option}={value!r} is not a choice.{near} Choices: {', '.join(choices)}.")


def check_dims(dims: int) -> None:
    """Raise `UsageError` unless `dims` is one of `Dims`."""
    if dims not in get_args(Dims):
        raise UsageError(
            f"dims={dims!r} is not possible: use 2 for images, 1 for sequences, 3 for volumes, 0 for vectors."
        )


def divisors(number: int) -> list[int]:
    """The positive divisors of `number` in ascending order."""
    return [d for d in range(1, number + 1) if number % d == 0]


def check_groups(channels: int, groups: int, where: str = "a grouped convolution") -> None:
    """Raise `GroupError` unless `channels` can be cut into `groups` equal parts."""
    if groups >= 1 and channels % groups == 0:
        return
    near = sorted(sorted(divisors(channels), key=lambda d: abs(d - groups))[:6])
    raise GroupError(
        f"{channels} channels cannot be cut into {groups} equal groups ({where}). "
        f"Nearest group counts that divide {channels}: {', '.join(map(str, near))}."
    )
