"""Which levels a cycle visits, how often, and how often it relaxes on each. No torch."""

from dataclasses import dataclass
from typing import get_args

from torchmg.errors import UsageError
from torchmg.hierarchy.rules import CycleKind, check_choice


def below(kind: CycleKind, level: int, levels: int) -> tuple[CycleKind, ...]:
    """The visits that a visit of `level` makes of the next coarser one: the coarsest of all `levels` gets only one."""
    if level + 2 == levels:
        return ("V",)
    return {"V": ("V",), "W": ("W", "W"), "F": ("F", "V")}[kind]


@dataclass(frozen=True)
class Cycle:
    """A way of walking the levels.

    `V` visits every level once, `W` visits each coarser level twice in a row, `F` first as itself and then as a V. The
    coarsest level, which stands for a solve, is visited once whenever the one above it is visited, and relaxed `solve`
    times in each visit, whatever `pre` and `post` say (pyamg does so too). Trottenberg, Oosterlee, Schueller,
    "Multigrid", 2001, section 2.4.

    Raises:
        UnknownNameError: an unknown kind; the message names the nearest.
        UsageError: `pre` or `post` below 0, `solve` below 1, or no relaxation at all above the coarsest level.
    """

    kind: CycleKind = "V"
    pre: int = 0
    """Relaxations of a level before its restriction; 0 in the MGIC paper."""
    post: int = 1
    """Relaxations of a level after its correction; 1 in the MGIC paper."""
    solve: int = 1
    """Relaxations of the coarsest level in each of its visits; 1 in the MGIC paper, `pre + post` in the MGiaD paper."""

    def __post_init__(self) -> None:
        check_choice("cycle", self.kind, get_args(CycleKind))
        for name, least in (("pre", 0), ("post", 0), ("solve", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise UsageError(f"{name} must be a whole number of relaxations, at least {least}; got {value!r}.")
        if self.pre + self.post == 0:
            raise UsageError("pre and post are both 0: no level but the coarsest would relax. Use post=1.")

    def __str__(self) -> str:
        return f"{self.kind}({self.pre},{self.post})"

    def visits(self, levels: int) -> list[int]:
        """How often each of `levels` levels is visited, finest first.

        Level l: once (V), 2^l times (W), l + 1 times (F); the coarsest as often as the one above it.
        """
        counts = [0] * levels

        def visit(level: int, kind: CycleKind) -> None:
            counts[level] += 1
            if level < levels - 1:
                for coarser in below(kind, level, levels):
                    visit(level + 1, coarser)

        visit(0, self.kind)
        return counts

    def relaxations(self, levels: int) -> list[int]:
        """How often each level relaxes, finest first."""
        *fine, coarsest = self.visits(levels)
        return [*((self.pre + self.post) * count for count in fine), self.solve * coarsest]
