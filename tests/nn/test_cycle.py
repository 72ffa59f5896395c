"""Cycles against independent recursions, dense linear algebra, and counts of visits from the textbook."""

from collections import Counter
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from torchmg.errors import UnknownNameError, UsageError
from torchmg.hierarchy import Cycle
from torchmg.nn import MGICBlock, fas_cycle
from torchmg.nn.cycle import Operator, Uses

CYCLES = st.builds(Cycle, st.sampled_from("VWF"), st.integers(0, 2), st.integers(1, 2))


def recursive(x: Tensor, restrict: list[Operator], relax: list[Operator], prolong: list[Operator]) -> Tensor:
    """Algorithm 1 of the MGIC paper written as a recursion over the levels below."""
    if not restrict:
        return relax[0](x)
    coarse = restrict[0](x)
    below = recursive(coarse, restrict[1:], relax[1:], prolong[1:])
    return relax[0](x + prolong[0](below - coarse))


def v_cycle(x: Tensor, restrict: list[Operator], relax: list[Operator], prolong: list[Operator]) -> Tensor:
    """The paper's cycle, every operator used once."""
    return fas_cycle(x, *([[operator] for operator in operators] for operators in (restrict, relax, prolong)))


def dense(rows: int, columns: int) -> Tensor:
    return torch.randn(rows, columns, dtype=torch.float64) / rows**0.5


def test_two_linear_levels_by_hand() -> None:
    fine, coarse, down, up = dense(4, 4), dense(2, 2), dense(2, 4), dense(4, 2)
    identity = torch.eye(4, dtype=torch.float64)
    cycle = fine @ (identity + up @ (coarse - torch.eye(2, dtype=torch.float64)) @ down)
    x = dense(4, 1)
    y = v_cycle(x, [lambda v: down @ v], [lambda v: fine @ v, lambda v: coarse @ v], [lambda v: up @ v])
    assert torch.allclose(y, cycle @ x, atol=1e-12)


def test_numbers_by_hand() -> None:
    """Width 2 and 1: R averages, P copies, the coarse relaxation triples, the fine one squares: ((x + 2 mean)^2)."""
    x = torch.tensor([1.0, 3.0])
    y = v_cycle(x, [lambda v: v.mean()[None]], [lambda v: v**2, lambda v: 3 * v], [lambda v: v.repeat(2)])
    assert y.tolist() == [25.0, 49.0]


@given(levels=st.integers(1, 5))
def test_the_papers_cycle_is_the_recursion(levels: int) -> None:
    widths = [2 ** (levels - index) for index in range(levels)]
    downs = [dense(b, a) for a, b in pairwise(widths)]
    ups = [dense(a, b) for a, b in pairwise(widths)]
    squares = [dense(w, w) for w in widths]
    restrict = [lambda v, m=m: (m @ v).sin() for m in downs]
    prolong = [lambda v, m=m: (m @ v).tanh() for m in ups]
    relax = [lambda v, m=m: (m @ v).cos() for m in squares]
    x = dense(widths[0], 3)
    assert torch.allclose(v_cycle(x, restrict, relax, prolong), recursive(x, restrict, relax, prolong), atol=1e-12)


# ---- other cycles


def cycle_matrix(
    level: int, kind: str, cycle: Cycle, downs: list[Tensor], squares: list[list[Tensor]], ups: list[Tensor]
) -> Tensor:
    """The matrix of a visit of `level`, by products alone; takes the relaxations of the level off their lists."""
    if level == len(downs):
        return squares[level].pop(0)
    width = downs[level].shape[1]
    before = torch.eye(width, dtype=torch.float64)
    for _ in range(cycle.pre):
        before = squares[level].pop(0) @ before
    second = {"V": "", "W": "W", "F": "V"}[kind] if level + 1 < len(downs) else ""
    coarse = cycle_matrix(level + 1, kind, cycle, downs, squares, ups)
    if second:
        coarse = cycle_matrix(level + 1, second, cycle, downs, squares, ups) @ coarse
    correction = ups[level] @ (coarse - torch.eye(len(coarse), dtype=torch.float64)) @ downs[level]
    whole = (torch.eye(width, dtype=torch.float64) + correction) @ before
    for _ in range(cycle.post):
        whole = squares[level].pop(0) @ whole
    return whole


@given(levels=st.integers(1, 5), cycle=CYCLES)
def test_a_linear_cycle_is_its_matrix(levels: int, cycle: Cycle) -> None:
    """Every use of a relaxation is another matrix, so a use in the wrong place is seen."""
    widths = [2 ** (levels - index) for index in range(levels)]
    downs = [dense(b, a) for a, b in pairwise(widths)]
    ups = [dense(a, b) for a, b in pairwise(widths)]
    squares = [[dense(w, w) for _ in range(n)] for w, n in zip(widths, cycle.relaxations(levels), strict=True)]
    visits = cycle.visits(levels)
    restrict: list[Uses] = [[lambda v, m=m: m @ v] * n for m, n in zip(downs, visits[:-1], strict=True)]
    prolong: list[Uses] = [[lambda v, m=m: m @ v] * n for m, n in zip(ups, visits[:-1], strict=True)]
    relax: list[Uses] = [[lambda v, m=m: m @ v for m in uses] for uses in squares]
    x = dense(widths[0], 3)
    y = fas_cycle(x, restrict, relax, prolong, cycle)
    matrix = cycle_matrix(0, cycle.kind, cycle, downs, [list(uses) for uses in squares], ups)
    torch.testing.assert_close(y, matrix @ x, rtol=1e-10, atol=1e-10)


def walk(levels: int, cycle: Cycle) -> str:
    """The order in which operators run."""
    calls: list[str] = []

    def note(name: str) -> Uses:
        def call(x: Tensor) -> Tensor:
            calls.append(name)
            return x

        return [call] * 100

    names = [[note(f"{letter}{index}") for index in range(levels - 1)] for letter in "RP"]
    fas_cycle(torch.ones(1), names[0], [note(f"B{index}") for index in range(levels)], names[1], cycle)
    return " ".join(calls)


def test_the_walks_of_textbooks() -> None:
    assert walk(1, Cycle("W", 2, 2)) == "B0"
    assert walk(3, Cycle()) == "R0 R1 B2 P1 B1 P0 B0"
    assert walk(2, Cycle("W", 1, 1)) == walk(2, Cycle("F", 1, 1)) == walk(2, Cycle("V", 1, 1)) == "B0 R0 B1 P0 B0"
    assert walk(3, Cycle("W")) == "R0 R1 B2 P1 B1 R1 B2 P1 B1 P0 B0"
    four = "R1 R2 B3 P2 B2 R2 B3 P2 B2 P1 B1"  # an F from level 1 on: a V of two levels after its own
    assert walk(4, Cycle("F")) == f"R0 {four} R1 R2 B3 P2 B2 P1 B1 P0 B0"
    assert walk(4, Cycle("W")) == f"R0 {four} {four} P0 B0"


@given(levels=st.integers(1, 7), cycle=CYCLES)
def test_visits_and_relaxations_are_those_of_the_walk(levels: int, cycle: Cycle) -> None:
    seen = Counter(walk(levels, cycle).split())
    assert [seen[f"B{index}"] for index in range(levels)] == cycle.relaxations(levels)
    assert [seen[f"R{index}"] for index in range(levels - 1)] == cycle.visits(levels)[:-1]
    assert [seen[f"P{index}"] for index in range(levels - 1)] == cycle.visits(levels)[:-1]
    textbook = {"V": lambda _: 1, "W": lambda level: 2**level, "F": lambda level: level + 1}[cycle.kind]
    fine = [textbook(index) for index in range(levels - 1)]
    assert cycle.visits(levels) == ([*fine, fine[-1]] if fine else [1])


@given(levels=st.integers(1, 5), cycle=CYCLES)
def test_identity_relaxations_make_an_identity_cycle(levels: int, cycle: Cycle) -> None:
    x = dense(8, 2)
    visits = cycle.visits(levels)
    weird: list[Uses] = [[torch.sin] * n for n in visits[:-1]]
    identity: list[Uses] = [[lambda v: v] * n for n in cycle.relaxations(levels)]
    odd: list[Uses] = [[lambda v: 7 * v] * n for n in visits[:-1]]
    assert fas_cycle(x, weird, identity, odd, cycle).equal(x)


def test_impossible_cycles() -> None:
    with pytest.raises(UnknownNameError, match=r"cycle='U'.*V, W, F"):
        Cycle("U")  # pyright: ignore
    with pytest.raises(UsageError, match="pre must be a whole number of relaxations, at least 0; got -1"):
        Cycle(pre=-1)
    with pytest.raises(UsageError, match=r"got 0\.5"):
        MGICBlock(16, pre=0.5)  # pyright: ignore
    with pytest.raises(UsageError, match="Use post=1"):
        MGICBlock(16, post=0)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("norm", ["prolong", "both", "none"])
@pytest.mark.parametrize("relax", ["residual", "bottleneck"])
def test_a_block_is_the_recursion_over_its_own_operators(relax: str, norm: str, training: bool) -> None:
    block = MGICBlock(64, relax=relax, group_size=4, coarsest=4, transfer_norm=norm)
    block.double().train(training)
    assert len(block.relax) == (5 if relax == "residual" else 3)
    x = torch.randn(3, 64, 4, 4, dtype=torch.float64)
    expected = recursive(x, [*block.restrict], [*block.relax], [*block.prolong])
    assert torch.allclose(block(x), expected, atol=1e-12)
