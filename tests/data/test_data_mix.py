"""CutMix, mixup and erasing: what becomes of pictures and targets, pixel by pixel, and what it depends on."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from torchmg.data import Batches, ImageSplit
from torchmg.data.mix import COLUMNS, MixedPreparation
from torchmg.data.preparation import ImagePreparation

CLASSES = 5
sides = st.integers(1, 12)
seeds = st.integers(0, 2**64 - 1)
chances = st.sampled_from([0.0, 0.3, 1.0])


def distinct(count: int, height: int, width: int) -> ImageSplit:
    """Pictures whose every pixel tells which picture it is of."""
    levels = (torch.arange(count) * 7 + 3) % 256
    images = levels[:, None, None, None].expand(count, 2, height, width).to(torch.uint8).contiguous()
    return ImageSplit(images, torch.arange(count) % CLASSES)


def prepared(height: int, width: int, augment: str = "none", **mixing: float) -> MixedPreparation:
    plain = ImagePreparation((2, height, width), (0.4, 0.4), (0.5, 0.5), augment)
    return MixedPreparation(plain, (2, height, width), CLASSES, **mixing)


def whole(split: ImageSplit, preparation: MixedPreparation, seed: int, epoch: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mixed pictures, mixed targets and plain pictures, of one batch of all samples in order."""
    images, targets = split.take(torch.arange(len(split)))
    mixed, shares = preparation(images, targets, preparation.table(seed, epoch, len(split)))
    return mixed, shares, preparation(images, targets, None)[0]


@settings(max_examples=60, deadline=None)
@given(seeds, st.integers(0, 9), st.integers(2, 9), sides, sides, st.sampled_from([0.3, 1.0]))
def test_cutmix_pastes_a_box_and_targets_are_shared_by_pixels(
    seed: int, epoch: int, count: int, height: int, width: int, chance: float
) -> None:
    split = distinct(count, height, width)
    mixed, shares, plain = whole(split, prepared(height, width, cutmix=chance), seed, epoch)
    for i in range(count):
        foreign = (mixed[i] != plain[i]).numpy()
        assert np.array_equal(foreign[0], foreign[1]), "channels go together"
        assert torch.equal(mixed[i][:, foreign[0]], plain[i - 1][:, foreign[0]])
        rows, columns = np.flatnonzero(foreign[0].any(1)), np.flatnonzero(foreign[0].any(0))
        pixels = int(foreign[0].sum())
        if pixels:
            assert pixels == (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1), "it is a box"
        expected = np.zeros(CLASSES)
        expected[int(split.labels[i])] += 1 - pixels / (height * width)
        expected[int(split.labels[i - 1])] += pixels / (height * width)
        assert shares[i].numpy() == pytest.approx(expected, abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(seeds, st.integers(0, 9), st.integers(2, 9), st.sampled_from([0.2, 1.0, 4.0]))
def test_mixup_is_linear_in_pictures_and_targets(seed: int, epoch: int, count: int, alpha: float) -> None:
    split = distinct(count, 4, 3)
    preparation = prepared(4, 3, mixup=alpha)
    mixed, shares, plain = whole(split, preparation, seed, epoch)
    certain = np.eye(CLASSES)[split.labels.numpy()]
    x = plain.double().numpy()
    for i in range(count):
        whose = shares[i].double().numpy()
        if split.labels[i] == split.labels[i - 1]:
            continue
        share = whose[int(split.labels[i - 1])]
        assert 0 <= share <= 1
        assert whose == pytest.approx((1 - share) * certain[i] + share * certain[i - 1], abs=1e-6)
        assert mixed[i].numpy() == pytest.approx((1 - share) * x[i] + share * x[i - 1], abs=1e-5)


def test_shares_are_beta_distributed_and_pasted_areas_are_those_of_the_paper() -> None:
    size, side = 20_000, 32
    blends = prepared(side, side, mixup=0.2).table(3, 1, size)[:, -1].double() / 2**24
    # Beta(a, a): mean 1/2, variance 1 / (4 (2a + 1))
    assert blends.mean().item() == pytest.approx(0.5, abs=0.01)
    assert blends.var().item() == pytest.approx(1 / (4 * 1.4), abs=0.01)
    rows = prepared(side, side, cutmix=0.5, mixup=1.0).table(3, 1, size)
    top, bottom, left, right = rows[:, -5:-1].unbind(1)
    cut = (bottom > top) & (right > left)
    assert not (cut & (rows[:, -1] > 0)).any(), "a sample is cut or blended, not both"
    area = ((bottom - top) * (right - left))[cut].double() / side**2
    # the paper's own code, drawn by NumPy: a side sqrt(1 - uniform), a uniform centre, cut at the border
    random = np.random.default_rng(0)
    ratio = np.sqrt(1 - random.uniform(size=size))
    cuts = (side * ratio).astype(int) // 2
    spans = [np.clip(c + cuts, 0, side) - np.clip(c - cuts, 0, side) for c in random.integers(0, side, (2, size))]
    theirs = spans[0] * spans[1] / side**2
    assert cut.double().mean().item() == pytest.approx(0.5 * (theirs > 0).mean(), abs=0.02)
    assert area.mean().item() == pytest.approx(theirs[theirs > 0].mean(), abs=0.01)


@settings(max_examples=40, deadline=None)
@given(seeds, st.integers(0, 9), st.integers(2, 20), sides, sides, chances)
def test_erasing_paints_one_box_in_the_mean_colour_and_leaves_labels(
    seed: int, epoch: int, count: int, height: int, width: int, chance: float
) -> None:
    split = distinct(count, height, width)
    mixed, targets, plain = whole(split, prepared(height, width, erase=chance), seed, epoch)
    assert torch.equal(targets, split.labels)
    for i in range(count):
        gone = (mixed[i] != plain[i]).numpy()
        assert not mixed[i][torch.from_numpy(gone)].any()
        pixels, rows, columns = gone[0].sum(), gone[0].any(1).sum(), gone[0].any(0).sum()
        assert pixels == rows * columns
        assert (pixels > 0) == (chance == 1.0) or chance == 0.3
        # sides are rounded, so that an area is off by half a row and half a column at most
        assert pixels <= 0.4 * height * width + 0.5 * (rows + columns) + 0.25


def batches(split: ImageSplit, **options: object) -> Batches:
    preparation = prepared(6, 6, "crop_flip", cutmix=0.5, mixup=1.0, erase=0.5)
    return Batches(split, preparation, **options)  # pyright: ignore[reportArgumentType]


@settings(max_examples=20, deadline=None)
@given(seeds, st.integers(0, 9), st.integers(2, 9), st.data())
def test_a_late_start_draws_the_same_mixtures(seed: int, epoch: int, batch_size: int, data: st.DataObject) -> None:
    split = distinct(23, 6, 6)
    some = batches(split, batch_size=batch_size, seed=seed)
    start = data.draw(st.integers(0, len(some)))
    unbroken = list(some.epoch(epoch))[start:]
    resumed = list(batches(split, batch_size=batch_size, seed=seed).epoch(epoch, start))
    assert len(resumed) == len(unbroken)
    for one, two in zip(unbroken, resumed, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
        assert two.targets.shape == (len(two.indices), CLASSES)


def test_what_a_sample_draws_does_not_depend_on_the_others_nor_on_what_else_is_on() -> None:
    mixing = {"cutmix": 0.5, "mixup": 1.0, "erase": 0.5}
    long, short = (prepared(9, 7, "crop", **mixing).table(5, 2, size) for size in (50, 20))
    assert torch.equal(long[:20], short)
    erased_only = prepared(9, 7, "crop", erase=0.5).table(5, 2, 50)
    assert torch.equal(erased_only[:, :-5], long[:, :-5])
    assert long.shape[1] == 3 + COLUMNS
    other = prepared(9, 7, "crop", **mixing).table(5, 3, 50)
    assert not torch.equal(other[:, -5:], long[:, -5:])


def test_processes_mix_their_own_part_of_a_batch() -> None:
    """With labels that say who was mixed with whom: no partner comes from another process's part."""
    split = distinct(24, 6, 6)
    for rank in range(2):
        for batch in batches(split, batch_size=8, rank=rank, world=2).epoch(0):
            own = {int(split.labels[i]) for i in batch.indices}
            assert {int(c) for c in batch.targets.sum(0).nonzero()} <= own
            assert torch.allclose(batch.targets.sum(1), torch.ones(len(batch.targets)))
