"""The modules as multigrid solvers: against pyamg, known solutions and direct solves; and that a fault is seen."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.sparse.linalg import spsolve
from torch import Tensor

from torchmg import cli
from torchmg.errors import UsageError
from torchmg.hierarchy import Cycle
from torchmg.paper.verify import Verification, checks, verify
from torchmg.paper.verify.checks import CYCLES, Check, Run, factor
from torchmg.paper.verify.peer import chain_levels, poisson_levels
from torchmg.paper.verify.solvers import ChainSolver, GridSolver, chain_laplacian, history
from torchmg.plot.convergence import convergence

SMALL: dict[str, Any] = {"grids": (7, 15, 31), "channels": (16, 32, 64)}


@pytest.fixture(scope="module")
def small() -> Verification:
    return verify(**SMALL)


def test_everything_is_as_expected(small: Verification) -> None:
    assert small.passed, str(small)
    methods = [(check.problem, check.method) for check in small.checks]
    assert [m for p, m in methods if p == "-Laplace u = f"][:5] == [
        "V(1,1)",
        "V(2,1)",
        "W(1,1)",
        "F(1,1)",
        "FAS V(1,1)",
    ]
    against = [run for check in small.checks for run in check.runs if run.peer]
    assert len(against) == (5 + 3) * 3
    assert max(run.difference or 0 for run in against) < 1e-9
    assert all(len(run.peer or ()) == len(run.norms) == CYCLES + 1 for run in against)


@pytest.mark.slow
def test_all_sizes() -> None:
    found = verify()
    assert found.passed, str(found)


@pytest.mark.parametrize("points", [3, 7, 15])
def test_the_grid_solver_solves_what_numpy_solves(points: int) -> None:
    f = torch.randn(1, 1, points, points, dtype=torch.float64)
    u, _ = history(GridSolver(points, Cycle("V", 2, 2)), f, 25)
    dense = poisson_levels(points)[0]["A"].toarray()
    assert np.allclose(u.flatten(), np.linalg.solve(dense, f.flatten()), rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("channels", [16, 64])
def test_the_chain_solver_solves_what_numpy_solves(channels: int) -> None:
    f = torch.randn(1, channels, dtype=torch.float64)
    u, _ = history(ChainSolver(channels, Cycle("W", 2, 2)), f, 30)
    dense = chain_levels(channels)[0]["A"].toarray()
    assert np.array_equal(dense, chain_laplacian(channels).numpy())
    assert np.allclose(u[0], np.linalg.solve(dense, f[0]), rtol=1e-8, atol=1e-12)


def test_jacobi_alone_has_its_known_factor() -> None:
    """The arch is an eigenvector: two sweeps leave (1 - 0.8 * 2 sin^2(pi h / 2))^2 of it."""
    points = 15
    arch, _ = checks._known(points)
    _, norms = history(GridSolver(points, Cycle("V", 1, 1, solve=2), levels=1), arch, 10)
    left = (1 - 0.8 * 2 * np.sin(np.pi / (points + 1) / 2) ** 2) ** 2
    assert factor(norms) == pytest.approx(left, rel=1e-10)


def test_the_full_scheme_equals_the_plain_cycle_on_a_linear_problem() -> None:
    f = torch.randn(1, 1, 15, 15, dtype=torch.float64)
    for kind in ("V", "W", "F"):
        norms = [history(GridSolver(15, Cycle(kind, 1, 1), fas=fas), f, 8)[1] for fas in (True, False)]
        assert np.allclose(*norms, rtol=1e-9)


@pytest.mark.parametrize("fault", ["stencil", "restriction", "prolongation", "smoother", "coarse stencil"])
def test_a_fault_in_the_grid_solver_is_seen(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Faulty(GridSolver):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            relations = self._relations()
            if fault == "smoother":
                relations[0].feature_maps[0].weight.mul_(1.01)
            elif fault == "stencil":
                relations[0].data_maps[0].weight[..., 0, 0] = 1e-3
            elif len(relations) == 1:
                pass
            elif fault == "restriction":
                self.restrict[0].conv.weight.mul_(1.01)
            elif fault == "prolongation":
                self.prolong[0].conv.weight[..., 0, 0] = 0.2
            elif fault == "coarse stencil":
                relations[1].data_maps[0].weight.mul_(1.01)

    monkeypatch.setattr(checks, "GridSolver", Faulty)
    failed = [check.method for check in checks._poisson((7, 15), 0, True) if not check.passed]
    assert "V(1,1)" in failed
    assert "W(1,1)" in failed


@pytest.mark.parametrize("fault", ["restrict", "project", "prolong"])
def test_a_fault_in_the_chain_solver_is_seen(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Faulty(ChainSolver):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            getattr(self.sic, fault)[0].rows[0] *= 1.01

    monkeypatch.setattr(checks, "ChainSolver", Faulty)
    failed = [check.method for check in checks._chain((16, 32), 0, True) if not check.passed]
    # What Pi restricts, the correction takes away again: on a linear problem any Pi gives the same cycle.
    assert bool(failed) == (fault != "project")


def test_verdicts_by_hand() -> None:
    def runs(*factors: float, difference: float = 0.0, error: float | None = None) -> tuple[Run, ...]:
        histories = [tuple(f**k for k in range(8)) for f in factors]
        peers = [tuple(n * (1 + difference) for n in norms) for norms in histories]
        return tuple(Run(7, norms, peer, error) for norms, peer in zip(histories, peers, strict=True))

    assert Check("p", "m", runs(0.3, 0.34)).passed
    assert not Check("p", "m", runs(0.3, 0.36)).passed  # grows
    assert not Check("p", "m", runs(0.51, 0.51)).passed  # slow
    assert not Check("p", "m", runs(0.3, 0.3, difference=2e-6)).passed
    assert not Check("p", "m", runs(0.3, 0.3, error=1e-3)).passed
    assert Check("p", "m", runs(0.3, 0.6), "fails").passed
    assert not Check("p", "m", runs(0.3, 0.3), "fails").passed
    assert factor([1.0, 0.5, 0.25, 1e-11, 1e-12]) == pytest.approx(0.5)


@pytest.mark.parametrize("at", [1, 4, 15])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_norm_that_is_no_number_fails(value: float, at: int) -> None:
    good = tuple(0.3**k for k in range(16))
    bad = (*good[:at], value, *good[at + 1 :])
    for norms, peer in ((bad, good), (bad, None), (good, bad)):
        assert Check("p", "m", (Run(7, good, good), Run(15, good, good))).passed
        assert not Check("p", "m", (Run(7, good, good), Run(15, norms, peer))).passed
        assert not Check("p", "m", (Run(7, norms, peer), Run(15, good, good))).passed


def test_factors_stand_beside_pyamgs(small: Verification) -> None:
    columns = list(small.table().columns)
    ours, theirs = columns.index("factor a cycle"), columns.index("by pyamg")
    beside = {(row[0], row[1]): (row[ours], row[theirs]) for row in small.table().rows}
    assert len([pair for pair in beside.values() if pair[1]]) == 5 + 3
    for left, right in ((str(a).split(), str(b).split()) for a, b in beside.values() if b):
        assert list(map(float, left)) == pytest.approx(list(map(float, right)), abs=2e-3)


def test_the_picture_and_the_rows(small: Verification, tmp_path: Path) -> None:
    picture = convergence(small, tmp_path / "v")
    assert [file.name for file in picture.files] == ["v.png", "v.svg", "v.csv"]
    text = picture.files[1].read_text()
    assert all(word in text for word in ("V(2,1)", "plain correction", "over channels, size 64", "factor a cycle"))
    rows = small.data().rows
    assert len(rows) == sum(len(run.norms) for check in small.checks for run in check.runs)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--grids", "7", "15", "--channels", "16", "32", "--out", str(tmp_path / "v")]
    assert cli.run(["verify", *sizes, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["passed"] is True
    assert {row["verdict"] for row in found["rows"]} == {"passed"}
    assert (tmp_path / "v.png").is_file()


def test_a_failed_check_is_exit_code_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "BOUND", 0.01)
    assert cli.run(["verify", "--grids", "7", "15", "--channels", "16", "32", "--out", str(tmp_path / "v")]) == 1


def test_without_pyamg_the_rest_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "find_spec", lambda _: None)
    found = verify((7, 15), (16, 32))
    assert found.passed
    assert "pip install 'torchmg[verify]'" in str(found)


def test_one_thread_while_it_checks_and_as_many_as_before_after(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> list[Check]:
        raise ArithmeticError(torch.get_num_threads())

    before = torch.get_num_threads()
    monkeypatch.setattr(checks, "_poisson", broken)
    try:
        torch.set_num_threads(2)
        with pytest.raises(ArithmeticError, match="1"):
            verify(**SMALL)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"grids": (15,)}, ["grids", "two or more", "2^k - 1"]),
        ({"grids": (15, 32)}, ["(15, 32)"]),
        ({"grids": (31, 15)}, ["rising"]),
        ({"channels": (8, 16)}, ["channels", "8 * 2^k"]),
        ({"channels": (16, 24)}, ["(16, 24)"]),
    ],
)
def test_impossible_sizes_are_explained(sizes: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        verify(**sizes)
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize("points", [15, 31])
def test_the_nonlinear_solver_finds_what_newton_finds(points: int) -> None:
    """Newton's method with sparse solves; f has all frequencies, enough for u^3 to matter, not too much for B."""
    a = poisson_levels(points)[0]["A"]
    f = 100 * torch.randn(1, 1, points, points, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) + 50
    data, newton = f.flatten().numpy(), np.zeros(points**2)
    for _ in range(20):
        slope = (a + sparse.diags_array(3 * newton**2)).tocsc()
        newton = newton - spsolve(slope, a @ newton + newton**3 - data)
    assert np.abs(a @ newton + newton**3 - data).max() < 1e-8
    assert np.abs(newton**3).max() > 20
    found, _ = history(GridSolver(points, Cycle("V", 1, 1, solve=20), nonlinear=True), f, 40)
    assert np.allclose(found.flatten(), newton, rtol=1e-8, atol=1e-10)
    linear, _ = history(GridSolver(points, Cycle("V", 1, 1)), f, 40)
    assert not np.allclose(linear.flatten(), newton, rtol=0.1)


def test_known_solutions_are_fixed_points_of_the_nonlinear_solver() -> None:
    u, f = checks._known(15)
    solver = GridSolver(15, Cycle("V", 1, 1, solve=20), nonlinear=True)
    moved: Tensor = solver(u, f) - u
    assert moved.abs().max() < 1e-12
