import pytest
import torch
from helpers import picture_batches
from hypothesis import given, settings
from hypothesis import strategies as st

from torchmg.data import ImageSplit
from torchmg.data import batches as module
from torchmg.data.batches import bounds
from torchmg.errors import ShapeError, UnknownNameError, UsageError

MEAN, STD = (0.5, 0.4), (0.2, 0.3)


def split(n=23):
    images = torch.randint(0, 256, (n, 2, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(n))
    return ImageSplit(images, torch.arange(n) % 3)


def batches(n=23, batch_size=4, **options):
    return picture_batches(split(n), batch_size=batch_size, mean=MEAN, std=STD, **options)


def whole(some, epoch):
    """An epoch with its samples in the order of the split."""
    parts = list(some.epoch(epoch))
    indices = torch.cat([part.indices for part in parts])
    images = torch.cat([part.inputs for part in parts])
    return images[indices.argsort()]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 200), st.integers(1, 50))
def test_bounds_cover_every_place_once(size, batch_size):
    pairs = bounds(size, batch_size)
    assert [place for first, last in pairs for place in range(first, last)] == list(range(size))
    assert all(last - first == batch_size for first, last in pairs[:-1])
    smallest = min(2, size, batch_size)
    assert smallest <= pairs[-1][1] - pairs[-1][0] <= batch_size + 1


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**64 - 1), st.integers(0, 50), st.integers(1, 30), st.integers(1, 30))
def test_augmented_samples_do_not_depend_on_the_batch_size(seed, epoch, one, two):
    options = {"seed": seed, "augment": "crop_flip"}
    first, second = (whole(batches(batch_size=size, **options), epoch) for size in (one, two))
    assert torch.equal(first, second)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 99), st.integers(0, 9), st.integers(1, 9), st.data())
def test_a_late_start_draws_the_same_batches(seed, epoch, batch_size, data):
    some = batches(batch_size=batch_size, seed=seed, augment="crop_flip")
    start = data.draw(st.integers(0, len(some)))
    unbroken = list(some.epoch(epoch))[start:]
    resumed = list(batches(batch_size=batch_size, seed=seed, augment="crop_flip").epoch(epoch, start))
    assert len(resumed) == len(unbroken) == len(some) - start
    for one, two in zip(unbroken, resumed, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_evaluation_is_in_order_and_normalised():
    data = split()
    got = list(batches(shuffle=False).epoch(0))
    assert [len(batch.targets) for batch in got] == [4, 4, 4, 4, 4, 3]
    assert torch.equal(torch.cat([batch.indices for batch in got]), torch.arange(23))
    assert torch.equal(torch.cat([batch.targets for batch in got]), data.labels)
    expected = (data.images.double() / 255 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    assert torch.allclose(torch.cat([batch.inputs for batch in got]).double(), expected, rtol=1e-5, atol=1e-6)
    assert got[0].inputs.dtype == torch.float32


def test_labels_follow_their_images():
    data = split()
    for batch in batches().epoch(3):
        assert torch.equal(batch.targets, data.labels[batch.indices])


def test_a_single_last_sample_joins_the_batch_before():
    assert [len(batch.targets) for batch in batches(21, 4).epoch(0)] == [4, 4, 4, 4, 5]
    assert [len(batch.targets) for batch in batches(3, 1).epoch(0)] == [1, 1, 1]
    assert [len(batch.targets) for batch in batches(1, 4).epoch(0)] == [1]


@pytest.mark.parametrize("augment", ["none", "crop_flip"])
def test_channels_last_changes_the_format_only(augment):
    plain, last = (batches(augment=augment, channels_last=flag) for flag in (False, True))
    for one, two in zip(plain.epoch(1), last.epoch(1), strict=True):
        assert torch.equal(one.inputs, two.inputs)
        assert one.inputs.is_contiguous()
        assert two.inputs.is_contiguous(memory_format=torch.channels_last)


def test_the_split_is_neither_copied_nor_changed():
    data = split()
    before = data.pixel_hash()
    some = picture_batches(data, batch_size=4, mean=MEAN, std=STD, augment="crop_flip")
    list(some.epoch(0))
    assert some._held[0].data_ptr() == data.images.data_ptr()
    assert data.pixel_hash() == before


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"batch_size": 0}, UsageError, "batch_size=0"),
        ({"mean": (0.5,)}, ShapeError, "mean with 2 values"),
        ({"std": (0.5, 0.5, 0.5)}, ShapeError, "std with 2 values"),
        ({"std": (0.5, 0.0)}, UsageError, "constant channel"),
        ({"seed": -1}, UsageError, "seed"),
        ({"augment": "crops"}, UnknownNameError, "Did you mean crop"),
    ],
)
def test_bad_requests(options, error, words):
    with pytest.raises(error, match=words):
        picture_batches(split(), **{"batch_size": 4, "mean": MEAN, "std": STD, **options})


@pytest.mark.parametrize("start", [-1, 7])
def test_a_start_outside_the_epoch_is_refused_at_once(start):
    with pytest.raises(UsageError, match="An epoch has 6 batches"):
        batches().epoch(0, start)


@pytest.mark.gpu
@pytest.mark.parametrize("fits", [True, False])
@pytest.mark.parametrize("channels_last", [True, False])
def test_a_gpu_gives_the_same_batches(monkeypatch, fits, channels_last):
    monkeypatch.setattr(module, "_fits", lambda size, device: fits or device.type == "cpu")
    options = {"augment": "crop_flip", "channels_last": channels_last}
    here, there = batches(**options), batches(device="cuda", **options)
    assert there.resident == fits
    assert there._held[0].device.type == ("cuda" if fits else "cpu")
    for one, two in zip(here.epoch(2), there.epoch(2), strict=True):
        assert torch.equal(one.inputs, two.inputs.cpu())
        assert torch.equal(one.targets, two.targets.cpu())
        assert two.indices.device.type == "cpu"


@pytest.mark.parametrize("augment", ["none", "crop_flip"])
def test_an_epoch_is_its_plan_and_the_pixels_of_it(augment):
    some = batches(augment=augment)
    assert some.resident
    for plan, batch in zip(some.plan(3, 2), some.epoch(3, 2), strict=True):
        assert torch.equal(plan.indices, batch.indices)
        assert torch.equal(plan.chosen, batch.indices)
        inputs, targets = some.samples(plan.chosen, plan.rows)
        assert torch.equal(inputs, batch.inputs)
        assert torch.equal(targets, batch.targets)
        assert (plan.rows is None) == (augment == "none")


def test_pixels_are_a_function_of_what_was_chosen_and_drawn():
    some = batches(augment="crop_flip")
    chosen, rows = torch.tensor([5, 5, 7]), torch.tensor([[1, 1, 0], [0, 2, 1], [1, 1, 0]])
    unshifted, _ = batches().samples(chosen, None)
    got, _ = some.samples(chosen, rows)
    assert torch.equal(got[0], unshifted[0])
    assert torch.equal(got[2], unshifted[2])
    assert not torch.equal(got[1], unshifted[1])
