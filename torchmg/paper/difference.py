"""How far our accuracy is from the printed one, and whether that is more than chance and rounding explain. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import hypot
from statistics import mean
from typing import Any, Literal

from torchmg.paper.measured import Measured
from torchmg.paper.rows import Accuracy
from torchmg.tables import deviation

TOLERANCE = 0.3
"""Points within which an accuracy counts as the same, whatever the spread."""
DEVIATIONS = 2
"""Joint standard deviations within which it does."""

Verdict = Literal["shortened", "agrees", "differs"]
"""`shortened`: the run was shorter than the paper's, so that its difference says nothing; else whether it is within
the limit."""


@dataclass(frozen=True)
class Difference:
    """Our mean test accuracy minus the printed one."""

    points: float
    limit: float
    """Points that it may be: `TOLERANCE`, or `DEVIATIONS` times the joint standard deviation where that is more. A
    deviation that is not known, as that of a single run, counts as 0."""
    verdict: Verdict


def difference(printed: Accuracy | None, ours: Measured | None, training: Mapping[str, Any]) -> Difference | None:
    """Ours against the printed accuracy; None where one of them does not exist.

    Args:
        printed: of the row.
        ours: the runs that belong to it.
        training: how the paper trained, as far as known (`PaperTable.training`).
    """
    if printed is None or ours is None:
        return None
    points = mean(ours.test) - float(printed.test)
    limit = max(TOLERANCE, DEVIATIONS * hypot(float(printed.spread or 0), deviation(ours.test) or 0))
    if ours.shortened(training):
        return Difference(points, limit, "shortened")
    # Printed numbers have two decimals, so that a difference of exactly the limit may come out a rounding above it.
    return Difference(points, limit, "agrees" if abs(points) <= limit + 1e-9 else "differs")
