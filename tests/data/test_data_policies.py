"""AutoAugment and RandAugment: tables against torchvision's, and pictures as functions of (seed, epoch, index)."""

import itertools
from collections import Counter

import pytest
import torch
from helpers import picture_batches
from hypothesis import given
from hypothesis import strategies as st
from test_data_actions import TORCHVISION, theirs
from torchvision.transforms import AutoAugment, AutoAugmentPolicy, RandAugment

from torchmg.data import ImageSplit
from torchmg.data import batches as module
from torchmg.data.actions import Actions
from torchmg.data.augment import augmentation_table, flip, margin, pad_crop
from torchmg.data.geometric import MOVES
from torchmg.data.order import CROPS, POLICY, draws
from torchmg.data.policies import AUTOAUGMENT, POLICIES, RANDAUGMENT, magnitude
from torchmg.errors import ShapeError

OURS = {theirs: ours for ours, theirs in TORCHVISION.items()}
SPACES = {10: AutoAugment()._augmentation_space, 31: RandAugment()._augmentation_space}
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)
names = st.sampled_from(list(POLICIES))
sizes = st.tuples(st.integers(1, 100), st.integers(1, 100))


def split(n=40, channels=3, height=9, width=7):
    generator = torch.Generator().manual_seed(n)
    pixels = torch.randint(0, 256, (n, channels, height, width), dtype=torch.uint8, generator=generator)
    return ImageSplit(pixels, torch.arange(n) % 5)


def batches(data, **options):
    channels = data.images.shape[1]
    return picture_batches(data, **{"mean": MEAN[:channels], "std": STD[:channels], "batch_size": 8, **options})


def in_order(some, epoch=0):
    drawn = list(some.epoch(epoch))
    indices = torch.cat([batch.indices for batch in drawn])
    return torch.cat([batch.inputs for batch in drawn])[indices.argsort()]


# ---- the tables


def test_the_policy_is_that_of_the_paper():
    published = AutoAugment(AutoAugmentPolicy.CIFAR10).policies
    expected = [tuple((OURS[op], round(10 * p), level or 0) for op, p, level in pair) for pair in published]
    assert list(AUTOAUGMENT.pairs) == expected


def test_randaugment_draws_any_two_of_its_operations():
    ops = [OURS[op] for op in SPACES[31](31, (8, 8))]
    assert [(one.op, two.op) for one, two in RANDAUGMENT.pairs] == list(itertools.product(ops, ops))
    default = RandAugment()
    assert (default.num_ops, default.magnitude, default.num_magnitude_bins) == (2, 9, RANDAUGMENT.bins)
    assert {(step.tenths, step.level) for pair in RANDAUGMENT.pairs for step in pair} == {(10, 9)}


@given(st.sampled_from([10, 31]), sizes)
def test_strengths(bins, sides):
    space = SPACES[bins](bins, sides)
    for op, (values, _) in space.items():
        expected = [float(value) for value in values] if values.ndim else [0.0] * bins
        assert [magnitude(OURS[op], level, bins, sides) for level in range(bins)] == expected


@given(names, sizes)
def test_actions_are_every_step_with_the_signs_it_may_have(name, sides):
    policy = POLICIES[name]
    space = SPACES[policy.bins](policy.bins, sides)
    expected = {("identity", 0.0)}
    for op, _, level in itertools.chain(*policy.pairs):
        values, signed = space.get(TORCHVISION[op], (torch.tensor(0.0), False))
        value = values[level].item() if values.ndim else 0.0
        expected |= {(op, value), (op, -value if signed else value)}
    actions = policy.actions(sides)
    assert set(actions) == expected
    assert actions[0] == ("identity", 0.0)


# ---- the draws


@pytest.mark.parametrize("name", ["autoaugment", "randaugment"])
def test_pairs_occur_as_often_as_they_should(name):
    policy, size = POLICIES[name], 200_000
    space = SPACES[policy.bins](policy.bins, (32, 32))
    actions = policy.actions((32, 32))
    pairs = Counter(map(tuple, policy.table(3, 1, size).tolist()))
    got = Counter()
    for (one, two), count in pairs.items():
        got[actions[one], actions[two]] += count / size

    def outcomes(step):
        values, signed = space.get(TORCHVISION[step.op], (torch.tensor(0.0), False))
        value = values[step.level].item() if values.ndim else 0.0
        chance = step.tenths / 10
        yield ("identity", 0.0), 1 - chance
        for sign in (1, -1) if signed else (1,):
            yield (step.op, sign * value), chance / (2 if signed else 1)

    expected = Counter()
    for one, two in policy.pairs:
        for (first, p), (second, q) in itertools.product(outcomes(one), outcomes(two)):
            expected[first, second] += p * q / len(policy.pairs)
    expected = {pair: p for pair, p in expected.items() if p}
    assert set(got) == set(expected)
    for pair, p in expected.items():
        assert abs(got[pair] - p) < 5 * (p / size) ** 0.5, pair


@given(names, st.integers(0, 2**64 - 1), st.integers(0, 1000), st.integers(0, 50), st.integers(0, 50))
def test_a_row_depends_on_its_sample_only(name, seed, epoch, size, more):
    few, many = (augmentation_table(name, seed, epoch, n) for n in (size, size + more))
    assert few is not None
    assert many is not None
    assert few.shape == (size, 5)
    assert torch.equal(few, many[:size])


def test_crops_are_those_of_crop_flip_and_draws_have_a_stream_of_their_own():
    both = augmentation_table("crop_flip", 1, 2, 500)
    tables = [augmentation_table(name, 1, 2, 500) for name in POLICIES]
    assert all(torch.equal(table[:, :3], both) for table in tables)
    crops, policy = (draws(1, 2, 20_000, 1000, 1, stream=stream)[:, 0].double() for stream in (CROPS, POLICY))
    assert torch.corrcoef(torch.stack([crops, policy]))[0, 1].abs() < 0.03
    assert not torch.equal(*(augmentation_table("autoaugment", 1, epoch, 500) for epoch in (2, 3)))


def test_draws_are_constant():
    # Written down so that no change of ours or of a library changes the meaning of a seed unnoticed.
    assert AUTOAUGMENT.table(0, 0, 4).tolist() == [[53, 16], [0, 0], [37, 0], [0, 16]]
    assert RANDAUGMENT.table(0, 0, 4).tolist() == [[20, 16], [21, 13], [6, 5], [22, 14]]


# ---- the pictures


@pytest.mark.parametrize("name", ["autoaugment", "randaugment"])
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (3, 9, 7)])
def test_an_epoch_is_torchvisions_operations_then_crop_and_flip(name, shape):
    data = split(150, *shape)
    padding = margin(*shape[1:])
    table = augmentation_table(name, 4, 2, 150, padding)
    actions = POLICIES[name].actions(shape[1:])
    pictures = list(data.images)
    for step in (3, 4):
        pictures = [theirs(one, actions[row[step]]) for one, row in zip(pictures, table.tolist(), strict=True)]
    mean, std = (torch.tensor(values[: shape[0]])[:, None, None] for values in (MEAN, STD))
    normalised = (torch.stack(pictures).float() / 255 - mean) / std
    expected = flip(pad_crop(normalised, table[:, :2], padding), table[:, 2] == 1)
    assert torch.equal(in_order(batches(data, augment=name, seed=4), 2), expected)


@pytest.mark.parametrize("name", ["autoaugment", "randaugment"])
@pytest.mark.parametrize("sides", [(8, 8), (16, 16), (28, 28), (32, 32), (64, 48), (96, 96)])
def test_no_strength_in_use_leaves_a_pixel_to_rounding(name, sides):
    """Every pixel of a move has its own value here, so that none can come from the wrong place unseen."""
    actions = POLICIES[name].actions(sides)
    places = torch.arange(sides[0] * sides[1]).view(sides)
    picture = torch.stack([places % 256, places // 256, torch.full(sides, 255)]).to(torch.uint8)
    moves = [index for index, action in enumerate(actions) if action.op in MOVES]
    assert moves
    got = Actions(actions, (3, *sides))(picture.expand(len(moves), -1, -1, -1), torch.tensor(moves))
    for index, one in zip(moves, got, strict=True):
        assert torch.equal(one, theirs(picture, actions[index])), actions[index]


@given(names, st.integers(0, 2**64 - 1), st.integers(0, 50), st.data())
def test_a_picture_does_not_depend_on_its_company(name, seed, epoch, data):
    some = split(20, *data.draw(st.sampled_from([(3, 9, 7), (1, 5, 6)])))
    options = {"augment": name, "seed": seed}
    whole = in_order(batches(some, **options, batch_size=20), epoch)
    batch_size, world = data.draw(st.integers(4, 20)), data.draw(st.integers(1, 2))
    for rank in range(world):
        share = batches(some, **options, batch_size=batch_size, rank=rank, world=world)
        for batch in share.epoch(epoch, data.draw(st.integers(0, len(share)))):
            assert torch.equal(batch.inputs, whole[batch.indices])
    unshuffled = batches(some, **options, batch_size=batch_size, shuffle=False, channels_last=True)
    assert torch.equal(in_order(unshuffled, epoch), whole)


def test_the_margin_is_the_mean_colour():
    data = split(64, 3, 16, 16)
    some = batches(data, augment="autoaugment", batch_size=64)
    (plan,) = some.plan(0)
    assert plan.rows is not None
    rows = plan.rows.clone()
    rows[:, :3] = torch.tensor([0, 0, 0])  # down and right by the whole padding, not mirrored
    images, _ = some.samples(plan.chosen, rows)
    assert (images[:, :, :2] == 0).all()
    assert (images[:, :, :, :2] == 0).all()


@pytest.mark.parametrize("name", ["crop_flip", "autoaugment", "randaugment"])
def test_pixels_need_no_value_on_the_host(name, monkeypatch):
    """Meta tensors have shapes and no values: whatever asked for one, or for a shape that hangs on it, would raise."""
    monkeypatch.setattr(module, "_fits", lambda size, device: True)
    some = batches(split(), augment=name, device="meta", channels_last=True)
    assert some.resident
    plan = next(some.plan(0))
    images, labels = some.samples(plan.chosen, plan.rows)
    assert images.device.type == labels.device.type == "meta"
    assert images.shape == (8, 3, 9, 7)


def test_two_channels_are_refused():
    with pytest.raises(ShapeError, match="got 2"):
        batches(split(8, channels=2), augment="autoaugment")


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["crop_flip", "autoaugment", "randaugment"])
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28)])
def test_a_cuda_graph_holds_the_pixels_which_are_those_of_the_cpu(name, shape):
    data = split(100, *shape)
    here, there = (batches(data, augment=name, batch_size=20, device=device) for device in ("cpu", "cuda"))
    plan = next(there.plan(0))
    assert plan.rows is not None
    chosen, rows = plan.chosen.clone(), plan.rows.clone()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        there.samples(chosen, rows)
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        images, labels = there.samples(chosen, rows)
    for plan, batch in zip(there.plan(1), here.epoch(1), strict=True):
        chosen.copy_(plan.chosen)
        rows.copy_(plan.rows)
        graph.replay()
        assert torch.equal(images.cpu(), batch.inputs)
        assert torch.equal(labels.cpu(), batch.targets)
