"""What is checked, and what counts as passed."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from math import inf, isfinite
from typing import Any, Literal

import torch
from torch import Tensor

from torchmg.errors import UsageError
from torchmg.hierarchy import Cycle
from torchmg.paper.verify.peer import Levels, chain_levels, peer_history, poisson_levels
from torchmg.paper.verify.solvers import SOLVED, ChainSolver, GridSolver, history
from torchmg.tables import Table

GRIDS = (15, 31, 63, 127, 255)
"""Points a side."""
CHANNELS = (16, 64, 256, 1024)
AGREEMENT = 1e-6
"""Largest relative difference to pyamg's residual norms, and largest error of a solution, that pass."""
COMPARED = 1e-4
"""Residual norms are compared until this part of the first one: further down, rounding in 1,024 coupled cells shows."""
BOUND = 0.5
"""A factor per cycle that counts as well below 1: ten cycles gain three digits."""
GROWTH = 0.05
"""A factor that grows by no more than this from one size to the next does not depend on the size."""
CYCLES = 15
Expected = Literal["independent", "fails"]


@dataclass(frozen=True)
class Run:
    """One solver on one size: norms of its residuals, and pyamg's where it has such a method."""

    size: int
    norms: tuple[float, ...]
    peer: tuple[float, ...] | None = None
    error: float | None = None
    """Largest difference to the known solution, where there is one."""

    @property
    def factor(self) -> float:
        """Geometric mean of the last five ratios of residual norms that are above rounding, 1e-10 of the first."""
        return factor(self.norms)

    @property
    def difference(self) -> float | None:
        """Largest relative difference to pyamg's history, see `COMPARED`; infinite where a norm is no number."""
        if self.peer is None:
            return None
        if not all(map(isfinite, (*self.norms, *self.peer))):
            return inf  # comparisons with NaN are all false, so max and <= would pass over it
        pairs = zip(self.norms, self.peer, strict=True)
        return max(abs(ours / theirs - 1) for ours, theirs in pairs if theirs > COMPARED * self.peer[0])


def factor(norms: Sequence[float]) -> float:
    """The asymptotic convergence factor of a history of residual norms; infinite once a norm is no finite number."""
    if not all(map(isfinite, norms)):
        return inf
    kept = [norm for norm in norms if norm > 1e-10 * norms[0]]
    last = min(5, len(kept) - 1)
    return (kept[-1] / kept[-1 - last]) ** (1 / last) if last else 0.0


@dataclass(frozen=True)
class Check:
    """One method over all sizes, and whether it did what theory says."""

    problem: str
    method: str
    runs: tuple[Run, ...]
    expected: Expected = "independent"
    """`independent`: a factor at most `BOUND` that stays with growing size; `fails`: a control, which must not."""

    @property
    def independent(self) -> bool:
        """Whether the factor is at most `BOUND` on every size and grows at most by `GROWTH` from one to the next."""
        factors = [run.factor for run in self.runs]
        return max(factors) <= BOUND and all(b - a <= GROWTH for a, b in pairwise(factors))

    @property
    def passed(self) -> bool:
        """As expected, as pyamg, and at the known solution."""
        agree = all(run.difference is None or run.difference <= AGREEMENT for run in self.runs)
        solved = all(run.error is None or run.error <= AGREEMENT for run in self.runs)
        if self.expected == "fails":
            return agree and not self.independent
        return agree and self.independent and solved


@dataclass(frozen=True)
class Verification:
    """All checks; `print` shows a table."""

    checks: tuple[Check, ...]
    peer: str | None
    """pyamg's version, or None where it is not installed."""

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    def table(self) -> Table:
        """A row for each method: the factor on every size, ours and pyamg's, the difference to pyamg, the verdict."""
        rows = []
        for check in self.checks:
            differences = [run.difference for run in check.runs if run.difference is not None]
            errors = [run.error for run in check.runs if run.error is not None]
            rows.append(
                (
                    check.problem,
                    check.method,
                    " ".join(str(run.size) for run in check.runs),
                    " ".join(_factor(run.factor) for run in check.runs),
                    " ".join(_factor(factor(run.peer)) for run in check.runs if run.peer) or None,
                    f"{max(differences):.0e}" if differences else None,
                    f"{max(errors):.0e}" if errors and check.expected == "independent" else None,
                    check.expected,
                    "passed" if check.passed else "FAILED",
                )
            )
        columns = ["problem", "method", "sizes", "factor a cycle", "by pyamg", "to pyamg", "to solution"]
        columns += ["expected", "verdict"]
        return Table(columns, rows, "The library's modules as multigrid solvers", self._note())

    def _note(self) -> str:
        against = (
            f"by pyamg: the factors of pyamg {self.peer}. to pyamg: largest relative difference to its residual norms, "
            f"at most {AGREEMENT:g}."
            if self.peer
            else "pyamg is not installed: nothing was compared with it (pip install 'torchmg[verify]')."
        )
        return (
            "sizes: points a side, or channels. factor a cycle: what the last five cycles leave of a residual, on "
            f"average. independent: at most {BOUND}, and growing at most {GROWTH} from size to size; fails: a control "
            f"that must not be. {against}"
        )

    def data(self) -> Table:
        """A row for every norm of a residual."""
        rows = [
            (check.problem, check.method, run.size, cycle, norm, run.peer[cycle] if run.peer else None)
            for check in self.checks
            for run in check.runs
            for cycle, norm in enumerate(run.norms)
        ]
        return Table(["problem", "method", "size", "cycle", "residual", "residual_pyamg"], rows, self.table().title)

    def __str__(self) -> str:
        return str(self.table())


def _factor(value: float) -> str:
    return f"{value:.3f}" if value < 10 else "diverges"


def verify(grids: Sequence[int] = GRIDS, channels: Sequence[int] = CHANNELS, seed: int = 0) -> Verification:
    """Check the cycle between resolutions and between widths against theory, a known solution and pyamg.

    Args:
        grids: points a side, each 2^k - 1; at least two of them.
        channels: lengths of the chain, `SOLVED` times a power of two; at least two.
        seed: of the right-hand sides.

    Raises:
        UsageError: other sizes.
    """
    for name, sizes, is_size in (("grids", grids, _is_grid), ("channels", channels, _is_chain)):
        if len(sizes) < 2 or list(sizes) != sorted(set(sizes)) or not all(is_size(size) for size in sizes):
            rule = "2^k - 1" if name == "grids" else f"{SOLVED} * 2^k"
            raise UsageError(f"{name} must be two or more rising sizes of the form {rule}; got {tuple(sizes)}.")
    peer = find_spec("pyamg") is not None
    with one_thread():
        checks = [*_poisson(grids, seed, peer), *_nonlinear(grids), *_chain(channels, seed, peer)]
    return Verification(tuple(checks), _version() if peer else None)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread: on tensors this small, threads wait for each other longer than they work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _is_grid(size: int) -> bool:
    return size >= 3 and size & (size + 1) == 0


def _is_chain(size: int) -> bool:
    cells, rest = divmod(size, SOLVED)
    return cells > 1 and rest == 0 and cells & (cells - 1) == 0


def _version() -> str:
    from importlib.metadata import version

    return version("pyamg")


def _noise(shape: Sequence[int], seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def _poisson(grids: Sequence[int], seed: int, peer: bool) -> list[Check]:
    """Every cycle from a right-hand side of all frequencies, with and without restricted features, and Jacobi alone."""
    methods: list[tuple[str, Cycle, dict[str, Any], Expected]] = [
        ("V(1,1)", Cycle("V", 1, 1), {"fas": False}, "independent"),
        ("V(2,1)", Cycle("V", 2, 1), {"fas": False}, "independent"),
        ("W(1,1)", Cycle("W", 1, 1), {"fas": False}, "independent"),
        ("F(1,1)", Cycle("F", 1, 1), {"fas": False}, "independent"),
        ("FAS V(1,1)", Cycle("V", 1, 1), {"fas": True}, "independent"),
        ("Jacobi alone", Cycle("V", 1, 1, solve=2), {"levels": 1}, "fails"),
    ]
    levels = {points: poisson_levels(points) for points in grids} if peer else {}
    checks = []
    for name, cycle, options, expected in methods:
        runs = []
        for points in grids:
            # Jacobi alone is quick on noise and slow on an arch; cycles are to be quick on all there is.
            f = _known(points)[0] if expected == "fails" else _noise((1, 1, points, points), seed)
            _, norms = history(GridSolver(points, cycle, **options), f, CYCLES)
            with_peer = peer and expected == "independent"
            runs.append(Run(points, tuple(norms), _peer(levels[points], f, cycle) if with_peer else None))
        checks.append(Check("-Laplace u = f", name, tuple(runs), expected))
    return checks


def _nonlinear(grids: Sequence[int]) -> list[Check]:
    """-Laplace u + u^3 = f with f made from a known u, and the same without what makes it the full scheme."""
    methods: list[tuple[str, dict[str, Any], Expected]] = [
        ("FAS V(1,1)", {}, "independent"),
        ("coarse features from 0", {"fas": False}, "fails"),
        ("plain correction", {"correction": "plain"}, "fails"),
    ]
    checks = []
    for name, options, expected in methods:
        runs = []
        for points in grids:
            u, f = _known(points)
            # The last point is solved by sweeps, because a nonlinear equation is not solved by one.
            solver = GridSolver(points, Cycle("V", 1, 1, solve=20), nonlinear=True, **options)
            found, norms = history(solver, f, 2 * CYCLES)
            runs.append(Run(points, tuple(norms), error=(found - u).abs().max().item()))
        checks.append(Check("-Laplace u + u^3 = f", name, tuple(runs), expected))
    return checks


def _known(points: int) -> tuple[Tensor, Tensor]:
    """(u, f): one arch of height 4, where u^3 weighs about as much as -Laplace u, and f by differences of slices."""
    line = torch.sin(torch.pi * torch.arange(1, points + 1, dtype=torch.float64) / (points + 1))
    u = 4 * line[:, None] * line
    edged = torch.nn.functional.pad(u, (1, 1, 1, 1))
    neighbours = edged[:-2, 1:-1] + edged[2:, 1:-1] + edged[1:-1, :-2] + edged[1:-1, 2:]
    f = (4 * u - neighbours) * (points + 1) ** 2 + u**3
    return u[None, None], f[None, None]


def _chain(channels: Sequence[int], seed: int, peer: bool) -> list[Check]:
    """Cycles over widths.

    A control is the V-cycle of one step each: piecewise constants keep constants only, in R as in P, and orders that
    sum to no more than the operator's, two, do not promise it a factor that stays.
    """
    methods: list[tuple[Cycle, Expected]] = [
        (Cycle("W", 1, 1), "independent"),
        (Cycle("W", 2, 1), "independent"),
        (Cycle("V", 1, 1), "fails"),
    ]
    checks = []
    for cycle, expected in methods:
        runs = []
        for cells in channels:
            f = _noise((1, cells), seed)
            _, norms = history(ChainSolver(cells, cycle), f, CYCLES)
            runs.append(Run(cells, tuple(norms), _peer(chain_levels(cells), f, cycle, chain=True) if peer else None))
        checks.append(Check("-u'' = f over channels", str(cycle), tuple(runs), expected))
    return checks


def _peer(levels: Levels, f: Tensor, cycle: Cycle, *, chain: bool = False) -> tuple[float, ...]:
    return tuple(peer_history(levels, f.flatten().numpy(), cycle, CYCLES, chain=chain))
