"""How parameters and MACs of one block grow with its width: counts, local slopes, fitted exponents.

What is counted are real modules on the meta device, so widths beyond any memory cost nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log
from statistics import linear_regression
from types import MappingProxyType

import torch
from torch import Tensor, nn

from torchmg.counting.report import count
from torchmg.errors import UsageError
from torchmg.hierarchy import check_choice
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
    }
)
"""Name -> one block of (channels, group_size, coarsest): fully coupled ones and the multigrid ones in their place."""


@dataclass(frozen=True)
class Fit:
    """A fitted exponent: least-squares slope of log(count) over log(width) on the widths `start` to `end`."""

    exponent: float
    start: int
    end: int
    settled: bool
    """Whether the widest two local slopes agree to two decimals; otherwise wider blocks would give another exponent."""


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
        decimal. A single width is no proof, hence `Fit.settled`.
        """
        slopes = self.slopes
        first = len(slopes) - 1
        while first and abs(slopes[first - 1] - slopes[first]) < NEIGHBOURS:
            first -= 1
        return first

    def fit(self) -> Fit:
        """The exponent on the asymptotic part."""
        first, slopes = self.asymptotic, self.slopes
        widths, counts = self.widths[first:], self.counts[first:]
        line = linear_regression([log(c) for c in widths], [log(n) for n in counts])
        # The widest slope is about as far from its limit as from the one before.
        settled = len(slopes) > 1 and abs(slopes[-1] - slopes[-2]) < 2 * NEIGHBOURS
        return Fit(line.slope, widths[0], widths[-1], settled)


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
            a transformer's feed-forward layer, `mgic_mlp` the block that replaces it.
        widths: at least two, in any order.
        group_size: of the multigrid families.
        coarsest: width of full coupling in the multigrid families; its square is the part that does not grow, so that
            wide ones hide the slope until the block is much wider. 16 for both here, though `SiC` alone has 64.

    Raises:
        UnknownNameError: no such family; the message names the nearest.
        UsageError: fewer than two widths, or sizes below 1 or above 65,536.

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
    title = f"One block over width; MACs on maps of {SIDE}x{SIDE}; slopes from the next narrower width"
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
        note += "\nNot settled: the slope still changes in its second decimal; wider blocks will tell."
    return Table(("family", "count", "exponent", "from", "to", "settled"), rows, "Exponents of the width", note)
