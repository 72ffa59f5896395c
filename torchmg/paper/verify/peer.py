"""pyamg, given the operators that the library's modules were given: an independent walk over the same levels."""

from typing import Any

import numpy as np

from torchmg.errors import MissingExtraError
from torchmg.hierarchy import Cycle
from torchmg.paper.verify.solvers import CHAIN_SMOOTHING, SMOOTHING, SOLVED

Levels = list[dict[str, Any]]


def check_peer() -> None:
    """Raise `MissingExtraError` when pyamg is not installed."""
    try:
        import pyamg  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("Checking against pyamg", "verify") from error


def _tridiagonal(middle: np.ndarray) -> Any:
    from scipy import sparse

    beside = -np.ones(len(middle) - 1)
    return sparse.diags_array([beside, middle, beside], offsets=(-1, 0, 1))  # pyright: ignore[reportArgumentType]


def poisson_levels(points: int) -> Levels:
    """A, R and P of every level of a square grid as sparse matrices, from Kronecker products of one dimension's."""
    from scipy import sparse

    levels: Levels = []
    n = points
    while True:
        line = _tridiagonal(2 * np.ones(n))
        eye = sparse.eye_array(n)
        a = (sparse.kron(line, eye) + sparse.kron(eye, line)) * (n + 1) ** 2
        levels.append({"A": a.tocsr()})
        if n == 1:
            return levels
        m = (n - 1) // 2
        interpolate = sparse.lil_array((n, m))
        for j in range(m):
            interpolate[2 * j, j] = interpolate[2 * j + 2, j] = 0.5
            interpolate[2 * j + 1, j] = 1.0
        p = sparse.kron(interpolate, interpolate).tocsr()
        levels[-1].update(P=p, R=(p.T / 4).tocsr())
        n = m


def chain_levels(cells: int) -> Levels:
    """A, R and P of every level of a chain of cells as sparse matrices."""
    from scipy import sparse

    levels: Levels = []
    n = cells
    while True:
        middle = 2 * np.ones(n)
        middle[[0, -1]] = 3
        levels.append({"A": (_tridiagonal(middle) * n**2).tocsr()})
        if n == SOLVED:
            return levels
        p = sparse.kron(sparse.eye_array(n // 2), np.ones((2, 1))).tocsr()
        levels[-1].update(P=p, R=(p.T / 2).tocsr())
        n //= 2


def peer_history(levels: Levels, f: np.ndarray, cycle: Cycle, cycles: int, *, chain: bool = False) -> list[float]:
    """Norms of f - A u over `cycles` cycles from u = 0, by pyamg with damped Jacobi and an exact coarsest level."""
    check_peer()
    import pyamg

    hierarchy = []
    for operators in levels:
        level = pyamg.MultilevelSolver.Level()
        for name, operator in operators.items():
            setattr(level, name, operator)
        hierarchy.append(level)
    solver = pyamg.MultilevelSolver(hierarchy, coarse_solver="pinv")
    omega = CHAIN_SMOOTHING if chain else SMOOTHING
    smoothers = [
        ("jacobi", {"omega": omega, "iterations": times, "withrho": False}) if times else None
        for times in (cycle.pre, cycle.post)
    ]
    pyamg.relaxation.smoothing.change_smoothers(solver, *smoothers)
    norms: list[float] = []
    solver.solve(f, x0=np.zeros_like(f), tol=1e-300, maxiter=cycles, cycle=cycle.kind, residuals=norms)
    return norms
