"""The cycle against an independent recursion and dense linear algebra."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from torchmg.nn import MGICBlock, v_cycle
from torchmg.nn.cycle import Operator


def recursive(x: Tensor, restrict: list[Operator], relax: list[Operator], prolong: list[Operator]) -> Tensor:
    """Algorithm 1 written as a recursion over the levels below."""
    if not restrict:
        return relax[0](x)
    coarse = restrict[0](x)
    below = recursive(coarse, restrict[1:], relax[1:], prolong[1:])
    return relax[0](x + prolong[0](below - coarse))


def dense(rows: int, columns: int) -> Tensor:
    return torch.randn(rows, columns, dtype=torch.float64)


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
def test_the_cycle_is_the_recursion(levels: int) -> None:
    widths = [2 ** (levels - index) for index in range(levels)]
    downs = [dense(b, a) for a, b in pairwise(widths)]
    ups = [dense(a, b) for a, b in pairwise(widths)]
    squares = [dense(w, w) for w in widths]
    restrict = [lambda v, m=m: (m @ v).sin() for m in downs]
    prolong = [lambda v, m=m: (m @ v).tanh() for m in ups]
    relax = [lambda v, m=m: (m @ v).cos() for m in squares]
    x = dense(widths[0], 3)
    assert torch.allclose(v_cycle(x, restrict, relax, prolong), recursive(x, restrict, relax, prolong), atol=1e-12)


@given(levels=st.integers(1, 5))
def test_operators_run_once_in_the_order_of_a_v_without_pre_relaxation(levels: int) -> None:
    calls: list[str] = []

    def note(name: str) -> Operator:
        def call(x: Tensor) -> Tensor:
            calls.append(name)
            return x

        return call

    coarse = range(levels - 1)
    names = [[note(f"{letter}{index}") for index in coarse] for letter in "RP"]
    v_cycle(torch.ones(1), names[0], [note(f"B{index}") for index in range(levels)], names[1])
    down = [f"R{index}" for index in coarse]
    up = [name for index in reversed(coarse) for name in (f"P{index}", f"B{index}")]
    assert calls == [*down, f"B{levels - 1}", *up]


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
