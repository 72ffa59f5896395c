import pytest
import torch
from helpers import picture_batches
from hypothesis import given, settings
from hypothesis import strategies as st

from torchmg.data.augment import augment, augmentation_table, flip, margin, pad_crop
from torchmg.data.images import ImageSplit
from torchmg.errors import UnknownNameError, UsageError


def slow_crop(image, down, right, padding):
    """One sample, one pixel at a time."""
    result = torch.zeros_like(image)
    channels, height, width = image.shape
    for c in range(channels):
        for y in range(height):
            for x in range(width):
                from_y, from_x = y + down - padding, x + right - padding
                if 0 <= from_y < height and 0 <= from_x < width:
                    result[c, y, x] = image[c, from_y, from_x]
    return result


@settings(max_examples=30, deadline=None)
@given(st.data(), st.integers(1, 5), st.integers(1, 3), st.integers(1, 6), st.integers(1, 6), st.integers(0, 4))
def test_crop_and_flip_equal_the_slow_way(data, batch, channels, height, width, padding):
    images = torch.randn(batch, channels, height, width, generator=torch.Generator().manual_seed(0))
    offset = st.lists(st.integers(0, 2 * padding), min_size=2, max_size=2)
    offsets = torch.tensor(data.draw(st.lists(offset, min_size=batch, max_size=batch)))
    mask = torch.tensor(data.draw(st.lists(st.booleans(), min_size=batch, max_size=batch)))
    slow = torch.stack([slow_crop(image, *o, padding) for image, o in zip(images, offsets.tolist(), strict=True)])
    assert torch.equal(pad_crop(images, offsets, padding), slow)
    slow = torch.stack([image.flip(-1) if m else image for image, m in zip(images, mask, strict=True)])
    assert torch.equal(flip(images, mask), slow)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 9), st.permutations(list(range(8))), st.integers(1, 7))
def test_a_sample_is_the_same_in_any_batch(seed, epoch, order, cut):
    images = torch.randn(8, 3, 6, 5, generator=torch.Generator().manual_seed(0))
    table = augmentation_table("crop_flip", seed, epoch, 8)
    assert table is not None
    whole = augment(images, table)
    for part in (order[:cut], order[cut:]):
        indices = torch.tensor(part)
        assert torch.equal(augment(images[indices], table[indices]), whole[indices])


def test_no_shift_is_the_identity():
    images = torch.randn(3, 2, 5, 5)
    assert torch.equal(pad_crop(images, torch.full((3, 2), 4)), images)
    assert augment(images, augmentation_table("none", 0, 0, 3)) is images


@pytest.mark.parametrize("channels", [2, 3])
def test_memory_format_is_kept(channels):
    plain = torch.randn(4, channels, 8, 8)
    last = plain.contiguous(memory_format=torch.channels_last)
    table = augmentation_table("crop_flip", 0, 0, 4)
    one, two = (augment(images, table) for images in (plain, last))
    assert torch.equal(one, two)
    assert one.is_contiguous()
    assert two.is_contiguous(memory_format=torch.channels_last)


def test_tables():
    crop, both = (augmentation_table(name, 1, 2, 500) for name in ("crop", "crop_flip"))
    assert crop is not None
    assert both is not None
    assert torch.equal(crop[:, :2], both[:, :2])
    assert crop[:, 2].sum() == 0
    assert set(both[:, 2].tolist()) == {0, 1}
    assert set(both[:, 0].tolist()) == set(range(9))
    assert not torch.equal(both, augmentation_table("crop_flip", 1, 3, 500))


def test_bad_requests():
    with pytest.raises(UnknownNameError, match=r"Unknown augmentation 'cropflip'\. Did you mean crop_flip"):
        augmentation_table("cropflip", 0, 0, 1)
    with pytest.raises(UsageError, match="seed"):
        augmentation_table("crop", -1, 0, 1)


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(32, 32, 4), (28, 28, 4), (16, 16, 2), (8, 8, 1), (3, 3, 1), (16, 64, 2), (96, 96, 12)],
)
def test_pictures_move_by_an_eighth_of_their_shorter_side(height: int, width: int, expected: int) -> None:
    assert margin(height, width) == expected


def test_batches_of_small_pictures_move_by_their_own_margin() -> None:
    """A bright pixel in the middle of 16 x 16 lands within 2 pixels each way, and reaches all 25 places."""
    images = torch.zeros(2000, 1, 16, 16, dtype=torch.uint8)
    images[:, :, 8, 8] = 255
    split = ImageSplit(images, torch.zeros(2000, dtype=torch.int64))
    batches = picture_batches(split, batch_size=500, mean=(0.0,), std=(1.0,), augment="crop")
    places = torch.cat([batch.inputs.flatten(1).argmax(1) for batch in batches.epoch(0)])
    assert sorted(places.unique().tolist()) == [16 * row + column for row in range(6, 11) for column in range(6, 11)]
