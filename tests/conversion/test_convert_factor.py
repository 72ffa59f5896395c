"""The nearest additive hierarchy: exact for what is one, never worse than its parts, a minimum for the moment."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from torchmg.conversion.bases import improve, start
from torchmg.conversion.block_diagonal import diagonal, spread
from torchmg.conversion.factor import Factors, dense, factorise
from torchmg.errors import GroupError, ShapeError, UsageError


def relative(made: Tensor, goal: Tensor) -> float:
    return ((made - goal).norm() / goal.norm()).item()


def planted(d: int, a: int, b: int, groups: list[int], taps: int, seed: int = 0) -> Factors:
    """Random operators of a hierarchy a d -> b d."""
    draw = torch.Generator().manual_seed(seed)
    factors = Factors([], [], [])

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    for level, g in enumerate(groups):
        rows, columns = b * d >> level, a * d >> level
        factors.levels.append(normal(rows, columns // g, taps))
        if level < len(groups) - 1:
            factors.restrict.append(normal(columns // 2, columns // g))
            factors.prolong.append(normal(rows, rows // 2 // g))
    return factors


def matrix(blocks: Tensor, groups: int) -> Tensor:
    """A grouped (out, in / groups) weight written out, by torch's own block_diag."""
    return torch.block_diag(*blocks.unflatten(0, (groups, -1)))


def oracle(factors: Factors, groups: list[int]) -> Tensor:
    """The recursion of the definition, tap by tap."""

    def level(i: int, tap: int) -> Tensor:
        own = matrix(factors.levels[i][..., tap], groups[i])
        if i == len(groups) - 1:
            return own
        up, down = matrix(factors.prolong[i], groups[i]), matrix(factors.restrict[i], groups[i])
        return own + up @ level(i + 1, tap) @ down

    return torch.stack([level(0, tap) for tap in range(factors.levels[0].shape[2])], 2)


def weighted_error(weight: Tensor, made: Tensor, moment: Tensor) -> float:
    root = torch.linalg.cholesky(moment)
    seen = [torch.einsum("oit,ij->ojt", kernel, root).norm() for kernel in (weight - made, weight)]
    return (seen[0] / seen[1]).item()


HIERARCHIES = [
    (64, [8, 4, 1]),
    (64, [16, 8, 4, 1]),
    (32, [8, 1]),
    (24, [6, 3, 1]),
    (12, [6, 3, 1]),
    (8, [4, 2, 1]),
    (7, [1]),
]


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(HIERARCHIES), st.integers(1, 3), st.integers(1, 3), st.sampled_from([1, 9]), st.integers(0, 2**16)
)
def test_a_hierarchy_comes_back_exactly(sizes: tuple[int, list[int]], a: int, b: int, taps: int, seed: int) -> None:
    d, groups = sizes
    factors = planted(d, a, b, groups, taps, seed)
    weight = dense(factors, groups)
    assert relative(weight, oracle(factors, groups)) < 1e-13
    found, error = factorise(weight, groups, sweeps=0)
    assert error < 1e-10
    assert relative(dense(found, groups), weight) < 1e-10
    for part in ("levels", "restrict", "prolong"):
        assert [x.shape for x in getattr(found, part)] == [x.shape for x in getattr(factors, part)]
    single, error = factorise(weight.float(), groups)
    assert error < 1e-6
    assert relative(dense(single, groups), weight) < 1e-6


def test_deficient_ranks_are_as_exact() -> None:
    groups = [8, 4, 1]
    factors = planted(64, 1, 2, groups, 1)
    factors.restrict[0][:5] = 0  # a group without restriction, half another
    factors.levels[2] = factors.levels[2][:, :1] * factors.levels[2][:1]
    for weight in (dense(factors, groups), spread(diagonal(torch.randn(3, 64, 64).double(), 8)).permute(1, 2, 0)):
        found, error = factorise(weight, groups)
        assert error < 1e-12
        assert relative(dense(found, groups), weight) < 1e-12
    assert factorise(torch.zeros(8, 8, 1), [2, 1])[1] == 0


def test_block_diagonal_plus_low_rank_is_recovered() -> None:
    draw = torch.Generator().manual_seed(1)
    u, v = torch.randn(64, 4, generator=draw).double(), torch.randn(4, 96, generator=draw).double()
    blocks = spread(torch.randn(8, 8, 12, 1, generator=draw))[0]
    weight = (blocks + u @ v)[..., None]
    found, error = factorise(weight, [8, 4, 2, 1])
    assert error < 1e-12
    assert relative(dense(found, [8, 4, 2, 1]), weight) < 1e-12


@settings(max_examples=10, deadline=None)
@given(
    st.sampled_from([(32, [8, 4, 1]), (24, [3, 2, 1]), (16, [4, 1])]),
    st.sampled_from([(1, 1), (1, 3), (2, 1)]),
    st.integers(0, 2**16),
)
def test_sweeps_fall_from_the_start_and_below_the_blocks_alone(
    sizes: tuple[int, list[int]], ratio: tuple[int, int], seed: int
) -> None:
    """Also where groups of one level cut through those of another (24 channels)."""
    (d, groups), (a, b) = sizes, ratio
    goal = torch.randn(2, b * d, a * d, generator=torch.Generator().manual_seed(seed)).double()
    bases = start(goal, groups)
    errors = [relative(bases.operators[0], goal)]
    for _ in range(8):
        improve(goal, groups, bases)
        errors.append(relative(bases.operators[0], goal))
    assert all(after <= before + 1e-12 for before, after in pairwise(errors))
    blocks = relative(spread(diagonal(goal, groups[0])), goal)
    assert errors[-1] < errors[0] < blocks
    weight = goal.permute(1, 2, 0)
    factors, error = factorise(weight, groups, sweeps=8)
    assert abs(relative(oracle(factors, groups), weight) - error) < 1e-10
    for rows, g in zip(factors.restrict, groups, strict=False):
        square = matrix(rows, g)
        torch.testing.assert_close(square @ square.T, torch.eye(len(square), dtype=torch.float64))


def test_two_levels_with_taps_reach_the_minimum() -> None:
    """No direction in any of the operators lowers the error further."""
    groups = [4, 1]
    weight = torch.randn(16, 16, 2, generator=torch.Generator().manual_seed(3)).double()
    factors, error = factorise(weight, groups, sweeps=2000)
    parts = [*factors.levels, *factors.restrict, *factors.prolong]
    for part in parts:
        part.requires_grad_()
    loss = (dense(factors, groups) - weight).norm() / weight.norm()
    assert abs(loss.item() - error) < 1e-12
    gradients = torch.autograd.grad(loss, parts)
    assert max(g.norm().item() for g in gradients) < 0.01


def moment_of(width: int, seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(4 * width, width // 4, generator=draw) @ torch.randn(width // 4, width, generator=draw)
    x = (x + 0.2 * torch.randn(x.shape, generator=draw)).relu().double()
    return x.T @ x / len(x)


@pytest.mark.parametrize(("d", "a", "b", "groups"), [(64, 1, 1, [8, 4, 1]), (24, 2, 1, [3, 2, 1]), (16, 1, 3, [4, 1])])
def test_the_moment_lowers_the_error_of_the_output(d: int, a: int, b: int, groups: list[int]) -> None:
    weight = torch.randn(b * d, a * d, 3, generator=torch.Generator().manual_seed(5)).double()
    moment = moment_of(a * d)
    plain, _ = factorise(weight, groups)
    first, at_first = factorise(weight, groups, sweeps=0, input_moment=moment)
    found, error = factorise(weight, groups, input_moment=moment)
    errors = [weighted_error(weight, dense(f, groups), moment) for f in (found, first, plain)]
    assert errors[0] < errors[1] < 0.95 * errors[2]
    assert error < at_first
    assert abs(errors[0] - error) < 0.01  # the ridge
    blocks = matrix(torch.ones(b * d, a * d // groups[0]), groups[0])[..., None] * weight
    assert errors[0] < weighted_error(weight, blocks, moment)


def test_the_moment_of_white_inputs_changes_little_and_exact_stays_exact() -> None:
    groups = [8, 4, 1]
    weight = torch.randn(64, 64, 2, generator=torch.Generator().manual_seed(6)).double()
    plain, white = factorise(weight, groups)[1], factorise(weight, groups, input_moment=torch.eye(64))[1]
    assert white < plain + 1e-6
    exact = dense(planted(64, 1, 1, groups, 3), groups)
    found, error = factorise(exact, groups, input_moment=moment_of(64))
    assert error < 1e-10
    assert relative(dense(found, groups), exact) < 1e-8
    assert factorise(exact, groups, input_moment=torch.zeros(64, 64))[1] < 1e-10


def test_bad_requests_are_named() -> None:
    weight = torch.randn(12, 12, 1)
    with pytest.raises(ShapeError, match="Flatten"):
        factorise(weight[None], [1])
    with pytest.raises(UsageError, match="last number of groups is 1"):
        factorise(weight, [2])
    with pytest.raises(GroupError, match="Level 0 of a kernel with 12 channels cannot have 4 groups"):
        factorise(weight, [4, 1])
    with pytest.raises(UsageError, match="finite"):
        factorise(weight * float("nan"), [2, 1])
    with pytest.raises(UsageError, match="sweeps"):
        factorise(weight, [2, 1], sweeps=-1)
    with pytest.raises(ShapeError, match=r"\(12, 12\)"):
        factorise(weight, [2, 1], input_moment=torch.eye(4))
    with pytest.raises(UsageError, match="variances"):
        factorise(weight, [2, 1], input_moment=-torch.eye(12))
