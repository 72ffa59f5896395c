"""Bars with markers: against a rasterisation in floating point, and for what makes the task one of reach."""

from math import cos, pi, sin

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torchmg.data import Batches, load
from torchmg.data.qtips import ANGLES, CLASSES, LENGTHS, MEAN, STD, QtipsSet, direction, load_qtips, qtip
from torchmg.errors import UnknownNameError, UsageError
from torchmg.train.tasks import task_of

BACKGROUND, BAR, BLACK, WHITE = 112, 128, 1, 255
lengths, kinds, angles = st.integers(*LENGTHS), st.integers(1, 3), st.integers(0, ANGLES - 1)


def corners(length: int, angle: int) -> tuple[np.ndarray, np.ndarray]:
    """Of each pixel's centre, the place along and across the bar, in pixels from the picture's centre."""
    turn = 2 * pi * angle / ANGLES
    y, x = np.mgrid[:64, :64] - 31.5
    return x * cos(turn) + y * sin(turn), y * cos(turn) - x * sin(turn)


@given(lengths, kinds, angles)
def test_a_picture_is_what_is_stated(length: int, kind: int, angle: int) -> None:
    """In float64, except where a pixel's centre lies on an outline to within what a direction is rounded by."""
    along, across = corners(length, angle)
    wanted = np.full((64, 64), BACKGROUND)
    bar = (np.abs(along) <= length / 2) & (np.abs(across) <= 1)
    wanted[bar] = BAR
    wanted[bar & (along > length / 2 - 2)] = BLACK if kind == 3 else WHITE
    wanted[bar & (along < 2 - length / 2)] = WHITE if kind == 1 else BLACK
    outlines = np.abs(np.abs(along) - length / 2), np.abs(np.abs(along) - length / 2 + 2), np.abs(np.abs(across) - 1)
    sure = np.minimum.reduce(outlines) > 1e-4
    picture, mask = (values.numpy() for values in qtip(length, kind, angle))
    assert picture.dtype == mask.dtype == np.uint8
    assert np.array_equal(picture[sure], wanted[sure])
    assert np.array_equal(mask != 0, picture != BACKGROUND)
    assert set(mask[mask != 0]) == {kind}
    assert abs((mask != 0).sum() - 2 * length) <= 12


@given(lengths, angles)
def test_both_ends_are_needed(length: int, angle: int) -> None:
    """Classes differ in the markers alone, each at one end; between them lies a bar's length less both.

    So no window in which one marker is out of sight tells the class: the middle is the same in all three, the white end
    in white-white and white-black, the black end in white-black and black-black.
    """
    white, mixed, black = (qtip(length, kind, angle)[0] for kind in (1, 2, 3))
    along = torch.from_numpy(corners(length, angle)[0])
    assert torch.equal(white == BAR, black == BAR)
    first, second = (mixed == WHITE), (mixed == BLACK)
    assert torch.equal(white != mixed, second)
    assert torch.equal(mixed != black, first)
    assert torch.equal(white != black, first | second)
    assert first.any()
    assert second.any()
    assert along[first].min() - along[second].max() >= length - 4 - 1e-4
    # The other order of markers is a half turn, which is an angle like any other.
    turned = qtip(length, 2, (angle + ANGLES // 2) % ANGLES)[0]
    assert torch.equal(turned, mixed.flip(0, 1))


def test_a_bar_along_the_rows_is_its_closed_form() -> None:
    picture, mask = qtip(32, 2, 0)
    assert (picture == BACKGROUND).sum() == 64 * 64 - 64
    assert torch.equal(picture[31:33, 16:48], torch.tensor([[BLACK] * 2 + [BAR] * 28 + [WHITE] * 2] * 2).byte())
    assert torch.equal(mask[31:33, 16:48], torch.full((2, 32), 2).byte())


def test_no_library_of_mathematics_can_change_a_direction() -> None:
    exact = [2**20 * f(2 * pi * angle / ANGLES) for angle in range(ANGLES) for f in (cos, sin)]
    assert min(abs(value % 1 - 0.5) for value in exact) > 1e-5
    assert all(abs(a**2 + b**2 - 2**40) < 2**22 for a, b in map(direction, range(ANGLES)))


def test_the_set_is_constant_and_its_splits_have_nothing_in_common() -> None:
    data = load("qtips", "no such folder", download=False)
    assert isinstance(data, QtipsSet)
    assert (data.name, data.task, data.shape, data.num_classes) == ("qtips", "segment", (1, 64, 64), 4)
    assert data.classes == CLASSES == ("background", "white-white", "white-black", "black-black")
    assert (len(data.train), len(data.test)) == (1024, 64)
    # A change here means that no old record compares any more.
    assert data.hashes() == {
        "train_pixels": "c70c65685977235ef43e097cfc5c760c3b2a16c21e6faef7464d514efbc8708a",
        "train_labels": "c8049511beac426b52b0a2b108179a37c8fb9403229cc8729a0f94bce5cba17c",
        "test_pixels": "802a54dc54ec8071b81f9d3278ff305b88220130db21619592ffcecdbbc9d650",
        "test_labels": "391b41f902aedc23de9674d1bbf2e33453c159a5b8f617593a8bc214a2e7f4df",
    }
    pixels = data.train.inputs.double() / 255
    assert abs(pixels.mean() - MEAN[0]) < 0.1 * STD[0]
    assert abs(pixels.std() / STD[0] - 1) < 0.05
    counts = torch.bincount(data.train.targets.amax((1, 2)), minlength=4)
    assert (counts - torch.tensor([0, 341, 341, 341])).abs().max() < 60
    longest = (data.train.targets != 0).sum((1, 2)) / 2
    assert 29 < longest.min() < 34
    assert 57 < longest.max() < 63


@settings(max_examples=10)
@given(st.integers(0, 2**64 - 1), st.integers(1, 300), st.integers(1, 20))
def test_splits_of_any_seed_and_size(seed: int, train: int, test: int) -> None:
    data, larger = load_qtips(seed, train=train, test=test), load_qtips(seed, train=train + 5, test=test)
    assert (len(data.train), len(data.test)) == (train, test)
    assert torch.equal(larger.train.inputs[:train], data.train.inputs)
    assert torch.equal(larger.train.targets[:train], data.train.targets)
    assert not (data.train.inputs[:, None] == data.test.inputs).flatten(2).all(2).any()
    assert data.hashes() == load_qtips(seed, train=train, test=test).hashes()


def test_batches_are_float_pictures_and_ids() -> None:
    data = load_qtips(train=10, test=4)
    batches = Batches(data.train, data.preparation(), batch_size=4)
    pictures, ids, indices = next(batches.epoch(0))
    assert torch.equal(ids, data.train.targets[indices].long())
    assert torch.equal((pictures * STD[0] + MEAN[0]).mul(255).round().byte(), data.train.inputs[indices])
    assert (pictures[:, 0][ids == 0] == 0).all()
    task, sums = task_of(data), torch.zeros(2 + 16, dtype=torch.float64)
    task.measure(sums, torch.nn.functional.one_hot(ids, 4).movedim(3, 1) * 50.0, ids)
    metrics = task.metrics(sums.tolist())
    assert metrics.score == 100
    assert set(metrics.classes) <= set(CLASSES)
    chosen = torch.tensor([3, 1])
    assert torch.equal(data.test.take(chosen)[1], data.test.targets[chosen])


@pytest.mark.parametrize(
    ("error", "words", "wrong"),
    [
        (UsageError, "1 to 59 pixels long.* got 60", lambda: qtip(60, 1, 0)),
        (UsageError, "class is 1 to 3; got 0", lambda: qtip(40, 0, 0)),
        (UsageError, "train must be a whole number of pictures, at least 1; got 0", lambda: load_qtips(train=0)),
        (UsageError, "test must be .* got 2.5", lambda: load_qtips(test=2.5)),  # pyright: ignore[reportArgumentType]
        (UsageError, "A seed lies in", lambda: load_qtips(-1)),
        (UsageError, "both of its ends", lambda: load_qtips(train=1).preparation(crop=32)),
        (UsageError, "crop_flip.* is not for qtips.* Use none", lambda: load_qtips(train=1).preparation("crop_flip")),
        (UnknownNameError, "Did you mean none", lambda: load_qtips(train=1).preparation("nonne")),
    ],
)
def test_what_is_wrong_is_explained(error: type[Exception], words: str, wrong: object) -> None:
    assert callable(wrong)
    with pytest.raises(error, match=words):
        wrong()
