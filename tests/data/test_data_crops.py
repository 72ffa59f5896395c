import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms.v2 import RandomResizedCrop

from torchmg.data.crops import AREA, COLUMNS, HIGH, RATIO, evaluation_box, training_box
from torchmg.data.order import draws

lengths = st.one_of(st.integers(1, 40), st.integers(1, 20_000))
rows = st.lists(st.integers(0, HIGH - 1), min_size=COLUMNS, max_size=COLUMNS)
# The ends of the ranges are where rounding would leave the picture.
extreme_rows = st.lists(st.sampled_from([0, 1, HIGH // 2, HIGH - 2, HIGH - 1]), min_size=COLUMNS, max_size=COLUMNS)


@settings(max_examples=300, deadline=None)
@given(lengths, lengths, st.one_of(rows, extreme_rows))
def test_training_box_lies_inside_and_keeps_its_ranges(width, height, row):
    left, top, right, bottom = training_box(width, height, row)
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    wide, high = right - left, bottom - top
    # Each side was rounded by half a pixel at most, from sides whose ratio lies in the range.
    fits_low = (wide + 0.5) / max(high - 0.5, 1e-9) >= RATIO[0] * (1 - 1e-9)
    fits_high = (wide - 0.5) / (high + 0.5) <= RATIO[1] * (1 + 1e-9)
    assert fits_low or wide == width
    assert fits_high or high == height
    if RATIO[0] <= width / height <= RATIO[1]:
        assert (wide + 0.5) * (high + 0.5) >= AREA[0] * width * height * (1 - 1e-9)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), rows)
def test_mirror_and_later_numbers_do_not_move_the_box(width, height, row):
    assert training_box(width, height, row) == training_box(width, height, row[:4])


def test_known_boxes():
    # Least area at ratio 1 (the middle of its log range), in the corners; then nothing fits and the centre is taken.
    assert training_box(100, 100, [0, HIGH // 2, 0, 0]) == (0, 0, 28, 28)
    assert training_box(100, 100, [0, HIGH // 2, HIGH - 1, HIGH - 1]) == (72, 72, 100, 100)
    assert training_box(1000, 10, [HIGH - 1, HIGH - 1, 0, 0]) == (493, 0, 506, 10)
    assert training_box(1, 10_000, [HIGH - 1, HIGH - 1, 0, 0]) == (0, 4999, 1, 5000)


@pytest.mark.parametrize(("width", "height"), [(500, 375), (120, 300)])
def test_distributed_as_random_resized_crop(width, height):
    # Kolmogorov and Smirnov's distance of 4,000 boxes from each; beyond this bound in 1 of 1,000 such tests.
    size = 4000
    ours = torch.tensor([training_box(width, height, row) for row in draws(1, 0, size, HIGH, COLUMNS).tolist()])
    torch.manual_seed(0)
    theirs = torchvision_boxes(width, height, size)
    for measure in (area, log_ratio, middle_x, middle_y):
        a, b = measure(ours.double()).sort().values, measure(theirs.double()).sort().values
        points = torch.linspace(float(b[0]), float(b[-1]), 50, dtype=torch.float64)
        shares = [torch.searchsorted(values, points, right=True) / size for values in (a, b)]
        assert (shares[0] - shares[1]).abs().max() < 1.95 * math.sqrt(2 / size)


def torchvision_boxes(width, height, size):
    transform = RandomResizedCrop(224, scale=AREA, ratio=RATIO)
    image = torch.zeros(3, height, width)
    boxes = []
    for _ in range(size):
        p = transform.make_params([image])
        boxes.append((p["left"], p["top"], p["left"] + p["width"], p["top"] + p["height"]))
    return torch.tensor(boxes)


def area(boxes):
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def log_ratio(boxes):
    return ((boxes[:, 2] - boxes[:, 0]) / (boxes[:, 3] - boxes[:, 1])).log()


def middle_x(boxes):
    return boxes[:, 0] + boxes[:, 2]


def middle_y(boxes):
    return boxes[:, 1] + boxes[:, 3]


@settings(max_examples=100, deadline=None)
@given(lengths, lengths, st.integers(1, 400))
def test_evaluation_box_lies_inside_at_the_centre(width, height, side):
    left, top, right, bottom = evaluation_box(width, height, side)
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    # The shorter side is cut to 224/256, up to rounding of one pixel of the resized picture.
    short = round(side * 256 / 224)
    assert math.isclose(min(right - left, bottom - top), min(width, height) * side / short, rel_tol=2 / short + 1e-9)
    assert abs((left + right - width) / 2) <= min(width, height) / short
    assert abs((top + bottom - height) / 2) <= min(width, height) / short
