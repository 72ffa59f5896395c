"""How parameters and MACs of one block or coupling grow with its width: counts, local slopes, fitted exponents.

What is counted are real modules on the meta device, so widths beyond any memory cost nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log
from statistics import linear_regression
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from torchmg.counting.report import count
from torchmg.errors import UsageError
from torchmg.hierarchy import CouplingName, check_choice
from torchmg.nn.coupling import ChannelCoupling, channel_coupling
from torchmg.nn.mgic import MGICBlock
from torchmg.nn.mgnet import DataFeature
from torchmg.nn.relax import FeedForward, Residual
from torchmg.nn.sic import SiC
from torchmg.tables import Table

SIDE = 32
"""Height and width of the maps on which MACs are counted; every MAC here is for each pixel, so no exponent knows it."""
LARGEST = 2**16
"""Widest block; beyond it are sizes that a tensor cannot have, not sizes that anybody trains."""
NEIGHBOURS = 0.0025
"""How near a local slope must be to the next wider one's to count as asymptotic, see `Growth.asymptotic`."""
LIKE_A_POWER = 1.3
"""Factor between a lower-order term's share in two changes of the slope for it to be one term, one power below; a
term half a power below gives 1.41 at doublings, a logarithm nearly 2."""
COLUMNS = ("family", "channels", "parameters", "MACs", "parameters_slope", "MACs_slope")


class FromZero(nn.Module):
    """A solver (u, f) -> u that starts from u = 0, as on a network's finest resolution: f -> u, shapes kept."""

    def __init__(self, solver: DataFeature | SiC) -> None:
        super().__init__()
        self.solver = solver

    def forward(self, f: Tensor) -> Tensor:
        """Features of the data f."""
        return self.solver(torch.zeros_like(f), f)


class AtEveryPlace(nn.Module):
    """A block of vectors (batch, channels) at every place of a map (batch, channels, height, width), shapes kept."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """The block's result at every place."""
        vectors = x.movedim(1, -1)
        return self.block(vectors.flatten(0, -2)).view_as(vectors).movedim(-1, 1)


def _coupling(name: CouplingName, channels: int, **options: Any) -> ChannelCoupling:
    return channel_coupling(name, channels, channels, **options)


Builder = Callable[[int, int, int], nn.Module]
FAMILIES: Mapping[str, Builder] = MappingProxyType(
    {
        "dense": lambda channels, group_size, coarsest: Residual(channels),
        "mgic": lambda channels, group_size, coarsest: MGICBlock(channels, group_size=group_size, coarsest=coarsest),
        "mgnet": lambda channels, group_size, coarsest: FromZero(DataFeature(channels)),
        "mgiad": lambda channels, group_size, coarsest: FromZero(
            SiC(channels, group_size=group_size, coarsest=coarsest)
        ),
        "mlp": lambda channels, group_size, coarsest: AtEveryPlace(FeedForward(channels)),
        "mgic_mlp": lambda channels, group_size, coarsest: AtEveryPlace(
            MGICBlock(channels, relax="mlp", dims=0, group_size=group_size, coarsest=coarsest)
        ),
        "full": lambda channels, group_size, coarsest: _coupling("full", channels),
        "pointwise": lambda channels, group_size, coarsest: _coupling("pointwise", channels),
        "separable": lambda channels, group_size, coarsest: _coupling("separable", channels),
        "union": lambda channels, group_size, coarsest: _coupling("union", channels),
        # With all nine taps it would be the union; the star is what lean ResNets have.
        "lean": lambda channels, group_size, coarsest: _coupling("lean", channels, stencil="5"),
        "grouped": lambda channels, group_size, coarsest: _coupling("grouped", channels, group_size=group_size),
        "shuffle": lambda channels, group_size, coarsest: _coupling("shuffle", channels, group_size=group_size),
        "depthwise": lambda channels, group_size, coarsest: _coupling("depthwise", channels),
        "chain": lambda channels, group_size, coarsest: _coupling("chain", channels),
        "block_chain": lambda channels, group_size, coarsest: _coupling("block_chain", channels, group_size=group_size),
        "lattice": lambda channels, group_size, coarsest: _coupling("lattice", channels),
        "multigrid": lambda channels, group_size, coarsest: _coupling(
            "multigrid", channels, group_size=group_size, coarsest=coarsest
        ),
        "circulant": lambda channels, group_size, coarsest: _coupling("circulant", channels),
        "circulant_fft": lambda channels, group_size, coarsest: _coupling(
            "circulant", channels, evaluate="channel_fft"
        ),
    }
)
"""Name -> one block or coupling of (channels, group_size, coarsest): first fully coupled blocks and the multigrid ones
in their place, then single 3x3 channel couplings c -> c."""
LOGARITHMIC = "circulant_fft"
"""The family whose MACs have a logarithm in them: c log2 c for the transforms beside c for the products."""


@dataclass(frozen=True)
class Fit:
    """A fitted exponent: least-squares slope of log(count) over log(width) on the widths `start` to `end`."""

    exponent: float
    start: int
    end: int
    settled: bool
    """Whether the second decimal stands, see `Growth.settled`; otherwise wider blocks would give another exponent."""


@dataclass(frozen=True)
class Growth:
    """One count over width, narrow to wide; at least two widths."""

    widths: tuple[int, ...]
    counts: tuple[int, ...]

    @property
    def slopes(self) -> tuple[float, ...]:
        """Of log(count) over log(width), between each width and the next wider one."""
        points = pairwise(zip(self.widths, self.counts, strict=True))
        return tuple(log(m / n) / log(c / b) for (b, n), (c, m) in points)

    @property
    def asymptotic(self) -> int:
        """Index of the narrowest width of the asymptotic part, which always holds the widest two.

        The part goes on towards narrow widths as long as the local slope there is within 0.0025 of the next wider one.
        Lower-order terms are one power of the width below the leading one, so that a doubling halves their share: a
        slope is about twice as far from its limit as from the next wider slope, here 0.005, half a unit of the second
        decimal. That alone is no proof, hence `settled`.
        """
        slopes = self.slopes
        first = len(slopes) - 1
        while first and abs(slopes[first - 1] - slopes[first]) < NEIGHBOURS:
            first -= 1
        return first

    @property
    def settled(self) -> bool:
        """Whether wider blocks would give the widest slope again, to half a unit of its second decimal.

        It takes four widths: either the widest three slopes are within 0.0025 of their neighbours; or the widest two
        are within 0.005, and the slope changes as a lower-order term one power below makes it, by half as much with
        every doubling, so that it is about as far from its limit as from the one before. The slope of c log c, or of a
        lower-order term half a power below (an open lattice's border), also moves little from width to width, yet
        has far to go; neither changes like that.
        """
        slopes = self.slopes
        if len(slopes) < 3:
            return False
        earlier, later = slopes[-2] - slopes[-3], slopes[-1] - slopes[-2]
        if max(abs(earlier), abs(later)) < NEIGHBOURS:
            return True
        # What a term one power below takes off a slope, up to one factor; never twice the same.
        shares = [(1 / b - 1 / c) / log(c / b) for b, c in pairwise(self.widths[-4:])]
        ratio = later * (shares[1] - shares[0]), earlier * (shares[2] - shares[1])
        like_a_power = ratio[1] != 0 and 1 / LIKE_A_POWER < ratio[0] / ratio[1] < LIKE_A_POWER
        return abs(later) < 2 * NEIGHBOURS and like_a_power

    def fit(self) -> Fit:
        """The exponent on the asymptotic part."""
        first = self.asymptotic
        widths, counts = self.widths[first:], self.counts[first:]
        line = linear_regression([log(c) for c in widths], [log(n) for n in counts])
        return Fit(line.slope, widths[0], widths[-1], self.settled)


@dataclass(frozen=True)
class Scaling:
    """One family's block over width."""

    family: str
    parameters: Growth
    macs: Growth


def scaling(
    families: Sequence[str] = ("dense", "mgic", "mgiad"),
    widths: Sequence[int] = (64, 128, 256, 512, 1024),
    *,
    group_size: int = 8,
    coarsest: int = 16,
) -> list[Scaling]:
    """Count one block of each family at every width, MACs on maps of 32 x 32.

    Args:
        families: names in `FAMILIES`: `dense` is a basic ResNet block, `mgic` the block that replaces it, `mgnet` two
            fully coupled smoothing steps on A u = f from u = 0, `mgiad` the cycle over widths that replaces them, `mlp`
            a transformer's feed-forward layer, `mgic_mlp` the block that replaces it. The others are one 3x3 channel
            coupling c -> c each, called as in `torchmg.nn.coupling.COUPLINGS` and with their defaults, but for `lean`,
            which has the five taps of lean ResNets (with nine it is `union`), and `circulant_fft`, which is `circulant`
            evaluated by Fourier transforms over the channels.
        widths: at least two, in any order.
        group_size: of the multigrid families, `grouped` and `block_chain`.
        coarsest: width of full coupling in the multigrid families; its square is the part that does not grow, so that
            wide ones hide the slope until the block is much wider. 16 for both here, though `SiC` alone has 64.

    Raises:
        UnknownNameError: no such family; the message names the nearest.
        UsageError: fewer than two widths, sizes below 1 or above 65,536, or widths that a coupling cannot take.

    Warns:
        HierarchyWarning: see `Hierarchy`.
    """
    for family in families:
        check_choice("family", family, tuple(FAMILIES))
    if not families:
        raise UsageError(f"Name at least one family: {', '.join(FAMILIES)}.")
    ordered = check_widths(widths)
    return [_count(family, ordered, group_size, coarsest) for family in dict.fromkeys(families)]


def check_widths(widths: Sequence[int]) -> tuple[int, ...]:
    """The different widths in ascending order; raises `UsageError` where no slope can be fitted to them."""
    for width in widths:
        if not isinstance(width, int) or not 1 <= width <= LARGEST:
            raise UsageError(f"Widths must be whole numbers of channels, 1 to {LARGEST:,}; got {width!r}.")
    ordered = tuple(sorted(set(widths)))
    if len(ordered) < 2:
        raise UsageError(f"A slope needs at least two different widths; got {', '.join(map(str, ordered)) or 'none'}.")
    return ordered


def _count(family: str, widths: tuple[int, ...], group_size: int, coarsest: int) -> Scaling:
    counted = []
    for channels in widths:
        with torch.device("meta"):
            block = FAMILIES[family](channels, group_size, coarsest)
        counted.append(count(block, (channels, SIDE, SIDE)))
    parameters, macs = tuple(c.parameters for c in counted), tuple(c.macs for c in counted)
    return Scaling(family, Growth(widths, parameters), Growth(widths, macs))


def scaling_table(scalings: Sequence[Scaling]) -> Table:
    """Counts of every family and width; a slope is that from the next narrower width to the row's."""
    rows = [
        row
        for s in scalings
        for row in zip(
            [s.family] * len(s.parameters.widths),
            s.parameters.widths,
            s.parameters.counts,
            s.macs.counts,
            (None, *s.parameters.slopes),
            (None, *s.macs.slopes),
            strict=True,
        )
    ]
    title = f"One block or coupling over width; MACs on maps of {SIDE}x{SIDE}; slopes from the next narrower width"
    return Table(COLUMNS, rows, title)


def exponent_table(scalings: Sequence[Scaling]) -> Table:
    """The fitted exponents, and which widths they were fitted to."""
    rows = [
        (s.family, what, f"{fit.exponent:.2f}", fit.start, fit.end, "yes" if fit.settled else "no")
        for s in scalings
        for what, fit in (("parameters", s.parameters.fit()), ("MACs", s.macs.fit()))
    ]
    note = (
        f"Fitted where each local slope is within {NEIGHBOURS} of the next wider one's, at least the widest two widths."
    )
    if any(row[-1] == "no" for row in rows):
        note += (
            "\nNot settled: the slope still changes in its second decimal, or there are fewer than four widths; "
            "wider blocks will tell."
        )
    if any(s.family == LOGARITHMIC for s in scalings):
        note += (
            f"\n{LOGARITHMIC}: its MACs are those of products, linear in the width c, and of transforms, c log2 c; "
            "their exponent falls to 1 more slowly than any width shows."
        )
    return Table(("family", "count", "exponent", "from", "to", "settled"), rows, "Exponents of the width", note)
