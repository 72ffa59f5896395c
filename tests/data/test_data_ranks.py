"""Several processes that share an epoch."""

import pytest
import torch
from helpers import picture_batches
from hypothesis import given
from hypothesis import strategies as st

from torchmg.data import ImageSplit
from torchmg.data.batches import bounds, part
from torchmg.errors import UsageError

worlds = st.integers(1, 5)


def split(n):
    images = torch.randint(0, 256, (n, 1, 5, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(n))
    return ImageSplit(images, torch.arange(n) % 7)


def batches(data, **options):
    return picture_batches(data, mean=(0.5,), std=(0.2,), **options)


@given(st.integers(0, 200), st.integers(0, 60), worlds)
def test_parts_are_contiguous_and_nearly_equal(first, size, world):
    parts = [range(200 + 60)[part(first, first + size, rank, world)] for rank in range(world)]
    assert [place for own in parts for place in own] == list(range(first, first + size))
    sizes = [len(own) for own in parts]
    assert max(sizes) - min(sizes) <= 1


@given(st.integers(1, 300), st.integers(1, 40), worlds)
def test_no_rank_gets_fewer_than_two_of_a_shuffled_batch(size, extra, world):
    batch_size = 2 * world + extra - 1
    cuts = bounds(size, batch_size, world)
    assert [place for first, last in cuts for place in range(first, last)] == list(range(size))
    assert all(last - first == batch_size for first, last in cuts[:-1])
    assert min(2 * world, size) <= cuts[-1][1] - cuts[-1][0] < batch_size + 2 * world
    # it joins only where it must
    if size % batch_size >= 2 * world or size < batch_size:
        assert len(cuts) == -(-size // batch_size)


@given(st.data(), worlds, st.integers(0, 2**64 - 1), st.integers(0, 9), st.sampled_from(["none", "crop_flip"]))
def test_all_ranks_together_see_the_batches_of_one_process(data, world, seed, epoch, augment):
    some = split(data.draw(st.integers(2 * world, 40)))
    batch_size = data.draw(st.integers(2 * world, 20))
    options = {"batch_size": batch_size, "seed": seed, "augment": augment}
    alone = batches(some, **options)
    ranks = [batches(some, **options, rank=rank, world=world) for rank in range(world)]
    start = data.draw(st.integers(0, len(ranks[0])))
    drawn = list(zip(*(rank.epoch(epoch, start) for rank in ranks), strict=True))
    assert len(drawn) == len(ranks[0]) - start
    # one process may cut off a last batch that is too small for all ranks; the samples and their order are the same
    ones = list(alone.epoch(epoch, start))
    sizes = [len(parts[0].everyone) for parts in drawn]
    for name in ("indices", "inputs", "targets"):
        together = [torch.cat([getattr(own, name) for own in parts]) for parts in drawn]
        if drawn:
            assert torch.equal(torch.cat(together), torch.cat([getattr(batch, name) for batch in ones]))
        assert [len(values) for values in together] == sizes
    assert sizes[:-1] == [batch_size] * len(sizes[:-1])
    for parts in drawn:
        assert min(len(own.targets) for own in parts) >= 2
        for own in parts:
            assert torch.equal(own.everyone, torch.cat([other.indices for other in parts]))
            assert own.everyone.device.type == "cpu"


@given(st.integers(1, 30), st.integers(1, 12), worlds)
def test_evaluation_is_cut_as_for_one_process_and_parts_may_be_empty(size, batch_size, world):
    some = split(size)
    options = {"batch_size": batch_size, "shuffle": False}
    ranks = [batches(some, **options, rank=rank, world=world).epoch(0) for rank in range(world)]
    for alone, *parts in zip(batches(some, **options).epoch(0), *ranks, strict=True):
        assert torch.equal(alone.inputs, torch.cat([own.inputs for own in parts]))
        assert torch.equal(alone.targets, torch.cat([own.targets for own in parts]))
        assert all(torch.equal(own.everyone, alone.indices) for own in parts)


def test_one_process_is_everyone():
    for batch in batches(split(23), batch_size=4).epoch(0):
        assert torch.equal(batch.everyone, batch.indices)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_size": 4, "rank": 2, "world": 2}, "rank=2 and world=2"),
        ({"batch_size": 4, "rank": -1, "world": 2}, "rank=-1"),
        ({"batch_size": 4, "rank": 0, "world": 0}, "world=0"),
        ({"batch_size": 5, "world": 3}, "batch_size=5. Use batch_size=6"),
        ({"batch_size": 40, "world": 12}, "there are 23 in all. Use 11 or fewer"),
    ],
)
def test_bad_requests(options, words):
    with pytest.raises(UsageError, match=words):
        batches(split(23), **options)


def test_evaluation_needs_no_two_samples():
    assert len(batches(split(3), batch_size=1, world=2, rank=1, shuffle=False)) == 3
