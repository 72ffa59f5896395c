import hashlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torchmg.data.order import draws, epoch_order, order_hash
from torchmg.errors import UsageError

seeds = st.integers(0, 2**64 - 1)
epochs = st.integers(0, 2**32 - 1)


@settings(max_examples=30, deadline=None)
@given(seeds, epochs, st.integers(0, 200))
def test_order_is_a_pure_permutation(seed, epoch, size):
    order = epoch_order(seed, epoch, size)
    assert order.dtype == torch.int64
    assert sorted(order.tolist()) == list(range(size))
    torch.manual_seed(1)
    assert torch.equal(order, epoch_order(seed, epoch, size))


def test_order_is_constant():
    # Written down so that no release of a library changes the meaning of a seed unnoticed.
    assert epoch_order(0, 0, 8).tolist() == [6, 3, 5, 0, 7, 2, 1, 4]
    assert epoch_order(2**33 + 5, 7, 8).tolist() == [1, 3, 5, 0, 6, 4, 7, 2]
    assert draws(0, 0, 2, (9, 9, 2), 3).tolist() == [[3, 8, 0], [8, 8, 0]]


def test_seeds_epochs_and_streams_differ():
    orders = {tuple(epoch_order(seed, epoch, 50).tolist()) for seed in (0, 1, 2**32, 2**32 + 1) for epoch in range(4)}
    assert len(orders) == 16
    # seed and epoch are separate words, not a sum
    assert not torch.equal(epoch_order(1, 2, 50), epoch_order(2, 1, 50))


def test_streams_are_independent():
    size = 20_000
    order = epoch_order(3, 4, size).double()
    values = draws(3, 4, size, 1000, 1)[:, 0].double()
    assert torch.corrcoef(torch.stack([order, values]))[0, 1].abs() < 0.03


@settings(max_examples=30, deadline=None)
@given(seeds, st.integers(0, 1000), st.integers(1, 100), st.integers(0, 100), st.integers(1, 4))
def test_a_row_depends_on_its_sample_only(seed, epoch, size, more, columns):
    few, many = (draws(seed, epoch, n, 9, columns) for n in (size, size + more))
    assert few.shape == (size, columns)
    assert few.dtype == torch.int64
    assert torch.equal(few, many[:size])
    assert few.min() >= 0
    assert few.max() < 9


def test_draws_are_uniform_in_each_column():
    table = draws(5, 0, 18_000, (9, 9, 2), 3)
    for column, high in enumerate((9, 9, 2)):
        counts = torch.bincount(table[:, column], minlength=high)
        assert len(counts) == high
        assert ((counts / 18_000 - 1 / high).abs() < 0.02).all()


@pytest.mark.parametrize(("seed", "epoch"), [(-1, 0), (2**64, 0), (0, -1), (0, 2**32)])
@pytest.mark.parametrize("draw", [lambda s, e: epoch_order(s, e, 4), lambda s, e: draws(s, e, 4, 2, 1)])
def test_out_of_range(draw, seed, epoch):
    with pytest.raises(UsageError, match="lies in 0"):
        draw(seed, epoch)


def test_order_hash_is_a_chain():
    first = order_hash("", torch.tensor([1, 2]))
    assert first == hashlib.sha256(bytes([1, *[0] * 7, 2, *[0] * 7])).hexdigest()
    both = order_hash(first, torch.tensor([3]))
    assert both == hashlib.sha256(first.encode() + bytes([3, *[0] * 7])).hexdigest()
    assert both != order_hash(order_hash("", torch.tensor([2, 1])), torch.tensor([3]))
