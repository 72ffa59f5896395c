"""Point clouds: checks, and augmentation as a function of integers, by what it leaves alone and by its statistics."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torchmg.data.clouds import (
    DROPOUT,
    JITTER,
    JITTER_LIMIT,
    STEPS,
    CloudPreparation,
    CloudSet,
    CloudSplit,
    drop_points,
    jitter,
    rotate,
    uniform,
)
from torchmg.errors import ShapeError, UnknownNameError, UsageError


def split(clouds: int = 4, points: int = 6) -> CloudSplit:
    return CloudSplit(torch.randn(clouds, points, 3), torch.arange(clouds) % 2)


def test_a_set_knows_its_shape_and_tells_its_data_apart() -> None:
    one = CloudSet("mine", ("a", "b"), split(), split(3))
    assert (one.shape, one.num_classes, one.task, len(one.train), len(one.test)) == ((3, 6), 2, "points", 4, 3)
    other = CloudSet("mine", ("a", "b"), one.train, split(3))
    same = [key for key, value in one.hashes().items() if other.hashes()[key] == value]
    assert same == ["train_points", "train_labels", "test_labels"]
    inputs, targets = one.train.take(torch.tensor([2, 0]), None)
    assert torch.equal(inputs, one.train.inputs[[2, 0]])
    assert targets.tolist() == [0, 0]


def test_what_no_split_or_set_can_be_is_explained() -> None:
    clouds, labels = torch.zeros(2, 5, 3), torch.zeros(2, dtype=torch.int64)
    with pytest.raises(ShapeError, match=r"\(2, 3, 5\).*transpose"):
        CloudSplit(clouds.transpose(1, 2), labels)
    with pytest.raises(ShapeError, match="with points in them"):
        CloudSplit(clouds[:, :0], labels)
    with pytest.raises(ShapeError, match="one for each cloud"):
        CloudSplit(clouds, labels[:1])
    with pytest.raises(UsageError, match=r"clouds.float\(\)"):
        CloudSplit(clouds.double(), labels)
    with pytest.raises(UsageError, match=r"labels.long\(\)"):
        CloudSplit(clouds, labels.int())
    with pytest.raises(UsageError, match="count from 0"):
        CloudSplit(clouds, labels - 1)
    clouds[1, 2, 0] = math.nan
    with pytest.raises(UsageError, match=r"1 clouds hold NaN.* number 1"):
        CloudSplit(clouds, labels)
    with pytest.raises(ShapeError, match="6 points, test clouds 7"):
        CloudSet("mine", ("a", "b"), split(), split(points=7))
    with pytest.raises(UsageError, match="Label 1 has no name"):
        CloudSet("mine", ("a",), split(), split())
    with pytest.raises(UnknownNameError, match="Did you mean clouds"):
        CloudPreparation("cloud")  # pyright: ignore[reportArgumentType]


def test_without_rows_clouds_are_as_they_are() -> None:
    clouds, labels = torch.randn(2, 5, 3), torch.arange(2)
    inputs, targets = CloudPreparation("clouds")(clouds, labels, None)
    assert torch.equal(inputs, clouds.transpose(1, 2))
    assert targets is labels
    assert CloudPreparation().table(0, 0, 9) is None


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**64 - 1), st.integers(0, 1000), st.integers(2, 9))
def test_a_cloud_meets_the_same_whatever_its_company(seed: int, epoch: int, size: int) -> None:
    prepare, clouds = CloudPreparation("clouds"), torch.randn(size, 20, 3, generator=torch.Generator().manual_seed(1))
    table = prepare.table(seed, epoch, size)
    assert table is not None
    assert table.shape == (size, 3)
    inputs, _ = prepare(clouds, torch.zeros(size), table)
    assert (inputs.shape, inputs.dtype) == ((size, 3, 20), torch.float32)
    alone, _ = prepare(clouds[-1:], torch.zeros(1), table[-1:])
    assert torch.equal(alone[0], inputs[-1])
    assert not torch.equal(inputs[0], prepare(clouds, torch.zeros(size), prepare.table(seed, epoch + 1, size))[0][0])


def test_hashed_numbers_are_uniform_and_independent() -> None:
    seeds = torch.cat([torch.arange(100), 2**32 - 1 - torch.arange(100)])
    u = uniform(seeds, 1, 500)
    assert u.min() > 0
    assert u.max() <= 1
    counts = torch.histc(u, 100, 0, 1)
    chi2 = float(((counts - 1000) ** 2 / 1000).sum())
    assert 50 < chi2 < 160, "99 degrees of freedom"
    table = torch.stack(
        [u[:, :-1].flatten(), u[:, 1:].flatten(), u[:, :-1].roll(1, 0).flatten(), uniform(seeds, 2, 499).flatten()]
    )
    assert (torch.corrcoef(table) - torch.eye(4)).abs().max() < 0.015
    assert len(u.unique()) > 0.99 * u.numel()
    assert torch.equal(uniform(seeds, 1, 7), u[:, :7])


def test_the_hash_is_murmurs() -> None:
    from torchmg.data.clouds import _mix

    def by_hand(h: int) -> int:
        h = (h ^ h >> 16) * 0x85EBCA6B % 2**32
        h = (h ^ h >> 13) * 0xC2B2AE35 % 2**32
        return h ^ h >> 16

    words = [0, 1, 2**31, 2**32 - 1, 0xDEADBEEF]
    assert _mix(torch.tensor(words)).tolist() == [by_hand(word) for word in words]


def test_turning_is_about_z_and_keeps_lengths() -> None:
    cloud = torch.tensor([[[1.0, 0.0, 5.0]]])
    assert torch.allclose(rotate(cloud, torch.tensor([math.pi / 2])), torch.tensor([[[0.0, 1.0, 5.0]]]), atol=1e-6)
    clouds, angles = torch.randn(50, 30, 3), torch.rand(50) * 6
    turned = rotate(clouds, angles)
    assert torch.equal(turned[..., 2], clouds[..., 2])
    gaps = [(c - c.roll(1, 1)).norm(dim=2) for c in (turned, clouds)]
    assert torch.allclose(gaps[0], gaps[1], atol=1e-5)
    assert torch.allclose(rotate(turned, -angles), clouds, atol=1e-5)


def test_jitter_is_normal_and_cut() -> None:
    noise = jitter(torch.zeros(400, 500, 3), torch.arange(400) * 7919)
    assert abs(float(noise.std()) / JITTER - 1) < 0.01
    assert (noise.mean((0, 1)).abs() < 1e-4).all()
    assert noise.abs().max() <= JITTER_LIMIT
    beyond = float((noise.abs() > 2 * JITTER).float().mean())
    assert abs(beyond - 0.0455) < 0.002, "a normal number is beyond 2 sigma with this chance"
    assert (torch.corrcoef(noise.flatten(0, 1).T) - torch.eye(3)).abs().max() < 0.01


def test_points_left_out_repeat_the_first_one_kept() -> None:
    clouds = torch.randn(300, 64, 3)
    ratios = torch.linspace(0, 1.2, 300)
    thinned = drop_points(clouds, ratios, torch.arange(300))
    moved = (thinned != clouds).any(2)
    assert not moved[0].any()
    for i in range(300):
        first = int((~moved[i]).nonzero()[0]) if not moved[i].all() else 0
        assert torch.equal(thinned[i][moved[i]], clouds[i, first].expand(int(moved[i].sum()), 3))
    assert not moved[-1, 0], "one point is always kept"
    shares = moved.float().mean(1)
    assert (shares - ratios.clamp(max=1)).abs().max() < 0.25
    table = CloudPreparation("clouds").table(0, 0, 2000)
    assert table is not None
    drawn = table[:, 1] * (DROPOUT / STEPS)
    assert abs(float(drawn.mean()) - DROPOUT / 2) < 0.02
    assert drawn.max() < DROPOUT
