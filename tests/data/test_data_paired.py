"""Pictures and masks move together: against torch's own resizing, and with pictures that show their labels."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from torchmg.data.paired import PLACES, PairedPreparation
from torchmg.errors import ShapeError, UnknownNameError, UsageError

MEAN, STD = (0.4, 0.5, 0.3), (0.2, 0.3, 0.25)


def pairs(n: int, height: int, width: int, seed: int = 0, classes: int = 11) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    inputs = torch.randint(0, 256, (n, 3, height, width), generator=random, dtype=torch.uint8)
    return inputs, torch.randint(0, classes, (n, height, width), generator=random, dtype=torch.uint8)


def normalised(inputs: torch.Tensor) -> torch.Tensor:
    return (inputs.double() / 255 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def by_hand(picture, mask, row, preparation, crop):
    """One sample by torch's resizing, in float64, and slices: a canvas large enough for whatever the crop may show."""
    place, down, right, mirror = row.tolist()
    scale = preparation.scales[place]
    size = [max(1, int(side * scale + 0.5)) for side in mask.shape]
    picture = F.interpolate(normalised(picture[None]), size, mode="bilinear", align_corners=False)[0]
    mask = F.interpolate(mask[None, None].double(), size, mode="nearest-exact")[0, 0].long()
    corner = []
    for side, drawn in ((0, down), (1, right)):
        room = size[side] - crop[side]
        offset = drawn * (abs(room) + 1) // PLACES
        corner.append(offset if room >= 0 else -offset)
    canvas = torch.zeros(3, 2 * crop[0] + size[0], 2 * crop[1] + size[1], dtype=torch.float64)
    ids = torch.full(canvas.shape[1:], 255)
    inner = (slice(crop[0], crop[0] + size[0]), slice(crop[1], crop[1] + size[1]))
    canvas[:, *inner], ids[inner] = picture, mask
    top, left = corner[0] + crop[0], corner[1] + crop[1]
    canvas, ids = (x[..., top : top + crop[0], left : left + crop[1]] for x in (canvas, ids))
    return (canvas.flip(-1), ids.flip(-1)) if mirror else (canvas, ids)


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    crop=st.none() | st.tuples(st.integers(1, 40), st.integers(1, 40)),
    scales=st.sampled_from([(0.5, 2.0), (1.0, 1.0), (0.75, 1.5), (0.5, 0.9)]),
    seed=st.integers(0, 99),
)
def test_equal_to_resizing_and_slicing(size, crop, scales, seed):
    inputs, targets = pairs(5, *size, seed=seed)
    preparation = PairedPreparation(MEAN, STD, "scale_crop_flip", crop, scales)
    rows = preparation.table(seed, 3, 5)
    assert rows is not None
    pictures, ids = preparation(inputs, targets, rows)
    assert (pictures.dtype, ids.dtype) == (torch.float32, torch.int64)
    for i in range(5):
        wanted, wanted_ids = by_hand(inputs[i], targets[i], rows[i], preparation, crop or size)
        torch.testing.assert_close(pictures[i].double(), wanted, atol=1e-4, rtol=0)
        assert_mostly_equal(ids[i], wanted_ids, targets[i], rows[i], preparation)


def assert_mostly_equal(ids, wanted, mask, row, preparation):
    # nearest-exact computes in floating point and may fall to either side of a tie: where no tie can be, all agree.
    scale = preparation.scales[int(row[0])]
    sizes = [int(side * scale + 0.5) for side in mask.shape]
    pairs = zip(mask.shape, sizes, strict=True)
    ties = any((2 * k + 1) * side % (2 * new) == 0 for side, new in pairs for k in range(new))
    same = ids == wanted
    assert bool(((ids == 255) == (wanted == 255)).all())
    assert ties or bool(same.all())


@pytest.mark.parametrize("crop", [None, (20, 60), (70, 30), (90, 90)])
def test_pictures_and_masks_stay_on_each_other(crop):
    # Each picture shows its label: wide blocks, whose inner pixels no interpolation can change.
    blocks = torch.randint(0, 11, (32, 4, 6), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    targets = blocks.repeat_interleave(12, 1).repeat_interleave(12, 2)
    inputs = (targets * 20)[:, None].expand(-1, 3, -1, -1)
    preparation = PairedPreparation((0, 0, 0), (1, 1, 1), "scale_crop_flip", crop)
    rows = preparation.table(0, 0, 32)
    assert rows is not None
    assert set(rows[:, 0].tolist()) == set(range(7))
    pictures, ids = preparation(inputs, targets, rows)
    inner = F.max_pool2d(ids[:, None].float(), 5, 1, 2) == -F.max_pool2d(-ids[:, None].float(), 5, 1, 2)
    inner = inner[:, 0] & (ids != 255)
    inner = F.pad(inner[:, 2:-2, 2:-2], [2] * 4)  # what lies just outside the crop shows at its edge
    assert inner.float().mean() > 0.15
    shown = pictures[:, 0] * 255 / 20
    torch.testing.assert_close(shown[inner], ids[inner].float(), atol=1e-3, rtol=0)
    assert bool((pictures.movedim(1, -1)[ids == 255] == 0).all())
    if crop is None:
        alone = [preparation(inputs[i : i + 1], targets[i : i + 1], rows[i : i + 1]) for i in range(32)]
        assert torch.equal(torch.cat([a for a, _ in alone]), pictures)
        assert torch.equal(torch.cat([b for _, b in alone]), ids)


def test_ignored_pixels_stay_ignored_and_inputs_stay_as_they_were():
    inputs, targets = pairs(3, 9, 8)
    targets[:, 2:5] = 255
    before = inputs.clone(), targets.clone()
    preparation = PairedPreparation(MEAN, STD, "scale_crop_flip", (30, 30))
    rows = torch.tensor([[2, 0, 0, 0], [2, 0, PLACES - 1, 1], [2, PLACES - 1, 0, 0]])
    ids = preparation(inputs, targets, rows)[1]
    assert torch.equal(ids[0, :9, :8], targets[0].long())
    assert torch.equal(ids[1, :9, :8], targets[1].flip(-1).long())  # the far right, then mirrored
    assert torch.equal(ids[2, 21:, :8], targets[2].long())
    assert int((ids == 255).sum()) == 3 * (900 - 72 + 24)
    assert torch.equal(inputs, before[0])
    assert torch.equal(targets, before[1])


def test_plain_is_normalising():
    inputs, targets = pairs(4, 6, 7)
    targets[0, 0] = 255
    for augment in ("none", "scale_crop_flip"):
        pictures, ids = PairedPreparation(MEAN, STD, augment)(inputs, targets, None)
        torch.testing.assert_close(pictures.double(), normalised(inputs), atol=1e-5, rtol=0)
        assert torch.equal(ids, targets.long())
        assert (pictures.dtype, ids.dtype) == (torch.float32, torch.int64)


def test_the_table_is_a_function_of_seed_and_epoch():
    preparation = PairedPreparation(MEAN, STD, "scale_crop_flip")

    def table(*arguments: int) -> torch.Tensor:
        rows = preparation.table(*arguments)
        assert rows is not None
        return rows

    assert table(3, 4, 500).shape == (500, 4)
    assert torch.equal(table(3, 4, 500), table(3, 4, 500))
    assert torch.equal(table(3, 4, 500)[:20], table(3, 4, 20))
    assert not torch.equal(table(3, 4, 500), table(3, 5, 500))
    assert not torch.equal(table(3, 4, 500), table(4, 4, 500))
    assert table(3, 4, 500).amax(0).tolist()[::3] == [6, 1]
    assert 0.4 < table(3, 4, 500)[:, 3].double().mean() < 0.6
    assert PairedPreparation(MEAN, STD).table(3, 4, 500) is None
    assert preparation.scales == (0.5, 0.75, 1, 1.25, 1.5, 1.75, 2)
    with pytest.raises(UsageError, match="epoch"):
        PairedPreparation(MEAN, STD).table(0, -1, 5)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"augment": "scale_crop"}, UnknownNameError, "Did you mean scale_crop_flip"),
        ({"mean": (0.5,)}, ShapeError, "got 1 and 3"),
        ({"std": (0.1, 0.0, 0.1)}, UsageError, "constant channel"),
        ({"augment": "scale_crop_flip", "crop": (0, 5)}, ShapeError, r"\(0, 5\)"),
        ({"crop": (5, 5)}, UsageError, "Use augment=scale_crop_flip"),
        ({"scales": (2.0, 0.5)}, UsageError, "low <= high"),
        ({"scales": (0.5, float("nan"))}, UsageError, "low <= high"),
    ],
)
def test_wrong_arguments(arguments, error, words):
    with pytest.raises(error, match=words):
        PairedPreparation(**{"mean": MEAN, "std": STD, **arguments})


def test_wrong_shapes():
    inputs, targets = pairs(2, 6, 7)
    preparation = PairedPreparation(MEAN, STD, "scale_crop_flip")
    with pytest.raises(ShapeError, match=r"pictures \(B, 3, H, W\)"):
        preparation(inputs[:, :1], targets, None)
    with pytest.raises(ShapeError, match=r"masks \(2, 6, 7\)"):
        preparation(inputs, targets[:, :5], None)
    with pytest.raises(ShapeError, match=r"rows \(2, 4\)"):
        preparation(inputs, targets, torch.zeros(2, 3, dtype=torch.int64))
