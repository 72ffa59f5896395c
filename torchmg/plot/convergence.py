"""Convergence of the library's modules as multigrid solvers: residual norms over cycles, factors over sizes."""

from pathlib import Path
from typing import TYPE_CHECKING

from torchmg.paper.verify import Check, Verification
from torchmg.plot.picture import Picture, appearance, check_stem, drawing, save, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FLOOR = 1e-12
"""Residual norms below this part of the first are rounding and not drawn."""


def convergence(verification: Verification, stem: str | Path = "verify") -> Picture:
    """Draw residual norms on the largest size (line: ours, ring: pyamg) and factors over sizes; controls are dashed.

    Args:
        verification: what `verify` found.
        stem: file name without ending; `.png`, `.svg` and `.csv` are written, those of an earlier picture replaced.

    Raises:
        MissingExtraError: matplotlib is not installed.
        UsageError: the files cannot be written, or would replace another table.
    """
    rows = verification.data()
    stem = check_stem(stem, rows.columns)
    problems = list(dict.fromkeys(check.problem for check in verification.checks))
    with drawing(10, 2.9 * len(problems)) as figure:
        grid = figure.subplots(len(problems), 2, squeeze=False, width_ratios=(3, 2))
        for (left, right), problem in zip(grid, problems, strict=True):
            checks = [check for check in verification.checks if check.problem == problem]
            for index, check in enumerate(checks):
                _residuals(left, check, index)
                _factors(right, check, index)
            _axes(left, right, checks, problem)
        grid[-1][0].set_xlabel("cycle")
        grid[-1][1].set_xlabel("size: points a side, or channels")
        figure.suptitle("Lines: the library's modules. Rings: pyamg. Dashed: controls that must fail.", fontsize=10)
        return save(figure, stem, rows)


def _look(check: Check, index: int) -> dict[str, object]:
    style = (0, (4, 2)) if check.expected == "fails" else "-"
    return {"color": appearance(index)["color"], "linestyle": style, "linewidth": 1.4}


def _residuals(axes: "Axes", check: Check, index: int) -> None:
    run = check.runs[-1]
    shown = [norm / run.norms[0] for norm in run.norms]
    shown = [norm for norm in shown if FLOOR < norm < 1e4]
    axes.plot(range(len(shown)), shown, **_look(check, index), label=check.method)  # pyright: ignore[reportArgumentType]
    if run.peer:
        peer = [norm / run.peer[0] for norm in run.peer if FLOOR < norm / run.peer[0] < 1e4]
        ring = {"marker": "o", "markersize": 5, "markerfacecolor": "none", "linestyle": "none"}
        axes.plot(range(len(peer)), peer, color=appearance(index)["color"], **ring)  # pyright: ignore[reportArgumentType]


def _factors(axes: "Axes", check: Check, index: int) -> None:
    points = [(run.size, run.factor) for run in check.runs if run.factor < 1.2]
    if points:
        look = {**_look(check, index), "marker": appearance(index)["marker"], "markersize": 4}
        axes.plot(*zip(*points, strict=True), **look)  # pyright: ignore[reportArgumentType]


def _axes(left: "Axes", right: "Axes", checks: list[Check], problem: str) -> None:
    sizes = [run.size for run in checks[0].runs]
    left.set_yscale("log")
    left.set_ylim(FLOOR, 1e2)
    left.set_title(f"{problem}, size {sizes[-1]}", fontsize=10, parse_math=False, loc="left")
    left.set_ylabel("residual / first")
    left.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    right.set_xscale("log", base=2)
    right.set_xticks(sizes, [str(size) for size in sizes])
    right.minorticks_off()
    right.set_ylim(0, 1.2)
    right.axhline(1, color="#999999", linewidth=0.8)
    right.set_ylabel("factor a cycle")
    for axes in (left, right):
        tidy(axes)
