"""Orders of channels: blocks that were mixed up are found again, and nothing is made worse."""

import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from torchmg.conversion.order import energy_within, group_order, group_orders
from torchmg.errors import GroupError, ShapeError, UsageError


def blocky(rows: int, columns: int, groups: int, seed: int, noise: float = 0.3) -> Tensor:
    """Strengths with strong diagonal blocks."""
    strength = noise * torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed))
    same = torch.arange(groups).repeat_interleave(rows // groups)[:, None] == torch.arange(groups).repeat_interleave(
        columns // groups
    )
    return strength + 0.5 * same


def is_permutation(order: Tensor) -> bool:
    return order.dtype == torch.int64 and torch.equal(order.sort().values, torch.arange(len(order)))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 8), st.integers(1, 6), st.integers(1, 6), st.integers(0, 2**16))
def test_orders_never_have_less_within_their_groups(groups: int, high: int, wide: int, seed: int) -> None:
    strength = torch.rand(groups * high, groups * wide, generator=torch.Generator().manual_seed(seed)) ** 4
    rows, columns = group_orders(strength, groups)
    assert is_permutation(rows)
    assert is_permutation(columns)
    assert energy_within(strength[rows][:, columns], groups) >= energy_within(strength, groups) * (1 - 1e-6)
    again = group_orders(strength, groups)
    assert torch.equal(again[0], rows)
    assert torch.equal(again[1], columns)
    square = strength @ strength.T
    order = group_order(square, groups)
    assert is_permutation(order)
    assert energy_within(square[order][:, order], groups) >= energy_within(square, groups) * (1 - 1e-6)


@pytest.mark.parametrize(
    ("rows", "columns", "groups"), [(64, 64, 8), (96, 32, 8), (60, 60, 5), (48, 72, 12), (128, 128, 2)]
)
def test_mixed_blocks_are_found_again(rows: int, columns: int, groups: int) -> None:
    strength = blocky(rows, columns, groups, seed=rows)
    draw = torch.Generator().manual_seed(1)
    mixed_rows, mixed_columns = torch.randperm(rows, generator=draw), torch.randperm(columns, generator=draw)
    mixed = strength[mixed_rows][:, mixed_columns]
    found = group_orders(mixed, groups)
    assert energy_within(mixed[found[0]][:, found[1]], groups) == pytest.approx(energy_within(strength, groups))
    # Rows and columns of one group are those of one block.
    blocks = mixed_rows[found[0]] // (rows // groups), mixed_columns[found[1]] // (columns // groups)
    for side in blocks:
        assert bool((side.view(groups, -1) == side.view(groups, -1)[:, :1]).all())
    assert torch.equal(blocks[0].view(groups, -1)[:, 0], blocks[1].view(groups, -1)[:, 0])
    if rows == columns:
        both = strength[mixed_rows][:, mixed_rows]
        order = group_order(both, groups)
        assert energy_within(both[order][:, order], groups) == pytest.approx(energy_within(strength, groups))


def test_groups_that_are_coupled_become_neighbours() -> None:
    """Blocks within blocks: the order is nested, as coarser levels read it."""
    strength = blocky(64, 64, 8, 0, 0.1) + blocky(64, 64, 4, 1, 0.1) + blocky(64, 64, 2, 2, 0.1)
    mixed = torch.randperm(64, generator=torch.Generator().manual_seed(2))
    order = group_order(strength[mixed][:, mixed], 8)
    rows, columns = group_orders(strength[mixed], 8)
    for found in (mixed[order], mixed[rows], columns):
        for groups in (8, 4, 2):
            blocks = (found // (64 // groups)).view(groups, -1)
            assert bool((blocks == blocks[:, :1]).all())


def test_what_is_best_already_stays() -> None:
    strength = blocky(32, 64, 8, 4)
    for order in (*group_orders(strength, 8), group_order(blocky(32, 32, 8, 5), 8), *group_orders(strength * 0, 4)):
        assert torch.equal(order, torch.arange(len(order)))


def test_a_thousand_channels_take_seconds() -> None:
    strength = torch.rand(1024, 1024, generator=torch.Generator().manual_seed(0))
    for find in (group_orders, group_order):
        begun = time.process_time()
        find(strength, 64)
        assert time.process_time() - begun < 2 * torch.get_num_threads() + 2


def test_bad_requests_are_named() -> None:
    with pytest.raises(ShapeError, match="matrix"):
        group_orders(torch.rand(4, 4, 1), 2)
    with pytest.raises(ShapeError, match="as many of both"):
        group_order(torch.rand(4, 8), 2)
    with pytest.raises(GroupError):
        group_orders(torch.rand(4, 6), 4)
    with pytest.raises(UsageError, match="finite"):
        group_orders(torch.full((4, 4), float("inf")), 2)
