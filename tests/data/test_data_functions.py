"""Functions to be approximated, against closed forms; arrays that cannot be fitted; folds that hold out everything."""

from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from torchmg.data.arrays import ArrayPreparation, ArraySet, ArraySplit
from torchmg.data.folds import folded
from torchmg.data.functions import WaveSum, load_functions, load_signed_distance, signed_distance, star, uniform_points
from torchmg.errors import DataError, ShapeError, UsageError


def numbered(train: int, test: int) -> ArraySet:
    """Samples whose input and target are their number."""
    numbers = torch.arange(train + test, dtype=torch.float32)[:, None]
    return ArraySet(
        "n", ("n",), ArraySplit(numbers[:train], numbers[:train]), ArraySplit(numbers[train:], numbers[train:])
    )


# Sums of waves -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dims", "waves"), [(1, 4), (2, 16), (3, 7)])
def test_a_sum_of_waves_has_mean_0_and_variance_1(dims: int, waves: int) -> None:
    """On a periodic grid the mean of products of waves below half the sampling rate is their integral."""
    side = torch.arange(20, dtype=torch.float64) / 10 - 1
    grid = torch.tensor(list(product(side.tolist(), repeat=dims)), dtype=torch.float64)
    for seed in range(3):
        values = WaveSum(seed, dims, waves)(grid)
        assert abs(values.mean()) < 1e-12
        assert abs(values.var(correction=0) - 1) < 1e-12


def test_a_sum_of_waves_is_what_is_stated() -> None:
    f = WaveSum(3)
    x = uniform_points(20, 2)
    for point, value in zip(x, f(x), strict=True):
        terms = [
            a * torch.sin(torch.pi * (w[0] * point[0] + w[1] * point[1]) + b)
            for a, w, b in zip(f.amplitudes, f.vectors, f.phases, strict=True)
        ]
        assert abs(sum(terms) - value) < 1e-12
    longest = f.amplitudes * f.vectors.double().norm(dim=1)
    assert torch.allclose(longest, longest[0])
    both = [tuple(w) for w in torch.cat([f.vectors, -f.vectors]).tolist()]
    assert len(set(both)) == 32
    assert f.vectors.abs().max() <= 4
    assert not torch.equal(f(x), WaveSum(4)(x))
    assert len(WaveSum(0, 2, 40).vectors) == 40


def test_samples_are_the_function_at_the_points_and_a_smaller_set_is_part_of_a_larger() -> None:
    data, smaller = load_functions(1), load_functions(1, points=100)
    assert (len(data.train), len(data.test), data.shape, data.num_classes) == (800, 200, (2, 1, 1), 1)
    for split in (data.train, data.test):
        assert torch.equal(split.targets.flatten(), WaveSum(1)(split.inputs.flatten(1)).float())
    assert torch.equal(smaller.train.inputs, data.train.inputs[:80])
    assert torch.equal(load_functions(2).train.inputs, data.train.inputs)
    assert data.hashes() == load_functions(1).hashes() != load_functions(2).hashes()
    assert set(data.hashes()) == {"train_inputs", "train_targets", "test_inputs", "test_targets"}


def test_points_are_exact_in_float32_and_fill_the_square() -> None:
    points = uniform_points(4000, 2)
    assert torch.equal(points.float().double(), points)
    assert points.abs().max() <= 1
    quadrants = torch.bincount((points > 0).long() @ torch.tensor([1, 2]), minlength=4)
    assert (quadrants - 1000).abs().max() < 150


# Signed distance -----------------------------------------------------------------------------------------------------

BOX = torch.tensor([[-0.5, -0.25], [0.5, -0.25], [0.5, 0.25], [-0.5, 0.25]], dtype=torch.float64)


def box_distance(x: Tensor) -> Tensor:
    """Closed form of the signed distance to BOX."""
    q = x.abs() - torch.tensor([0.5, 0.25], dtype=torch.float64)
    return q.clamp_min(0).norm(dim=1) + q.amax(1).clamp_max(0)


@pytest.mark.parametrize("corners", [BOX, BOX.flip(0), BOX.repeat_interleave(2, 0), BOX.repeat(2, 1)])
def test_the_distance_to_a_box_is_its_closed_form(corners: Tensor) -> None:
    """Whichever way it is walked along, with doubled corners, and walked along twice."""
    corners = corners.reshape(-1, 2)
    x = torch.cat([uniform_points(2000, 2), corners, torch.tensor([[0.0, 0.0], [0.9, 0.25], [-0.9, -0.25]])])
    assert (signed_distance(x, corners) - box_distance(x)).abs().max() < 1e-12


def test_the_distance_to_a_circle_is_its_closed_form() -> None:
    """A polygon of n corners lies within R (1 - cos(pi / n)) of its circle, and so do the distances."""
    angles = torch.arange(500, dtype=torch.float64) * (2 * torch.pi / 500)
    circle, x = 0.7 * torch.stack([angles.cos(), angles.sin()], 1), uniform_points(2000, 2)
    exact = x.norm(dim=1) - 0.7
    error = (signed_distance(x, circle) - exact).abs().max()
    assert error <= 0.7 * (1 - torch.cos(torch.tensor(torch.pi / 500, dtype=torch.float64))) + 1e-12


def test_the_star_is_symmetric_and_its_samples_are_its_distances() -> None:
    x, turn = uniform_points(500, 2), torch.tensor(2 * torch.pi / 5, dtype=torch.float64)
    rotation = torch.stack([torch.stack([turn.cos(), -turn.sin()]), torch.stack([turn.sin(), turn.cos()])])
    assert torch.allclose(signed_distance(x @ rotation.T, star()), signed_distance(x, star()), atol=1e-12)
    centre = signed_distance(torch.zeros(1, 2), star())
    assert -0.35 <= centre < 0
    data = load_signed_distance(points=50)
    assert torch.equal(data.test.targets.flatten(), signed_distance(data.test.inputs.flatten(1), star()).float())
    assert (data.shape, data.classes, data.task) == ((2, 1, 1), ("distance",), "regress")


# Arrays and folds ----------------------------------------------------------------------------------------------------


def test_batches_are_the_chosen_samples_as_they_are() -> None:
    data, preparation = numbered(10, 2), ArrayPreparation()
    inputs, targets = data.train.take(torch.tensor([7, 0]), None)
    assert inputs.flatten().tolist() == targets.flatten().tolist() == [7, 0]
    assert preparation.table(0, 3, 10) is None
    assert preparation(inputs, targets, None) == (inputs, targets)


@given(data=st.data())
def test_every_sample_is_held_out_once(data: st.DataObject) -> None:
    train, test = data.draw(st.integers(1, 30)), data.draw(st.integers(1, 10))
    folds = data.draw(st.integers(2, train + test))
    seed = data.draw(st.integers(0, 2**64 - 1))
    whole = numbered(train, test)
    sets = [folded(whole, fold, folds, seed) for fold in range(folds)]
    held_out = [int(number) for part in sets for number in part.test.inputs]
    assert sorted(held_out) == list(range(train + test))
    for part in sets:
        numbers = torch.cat([part.train.inputs, part.test.inputs]).flatten()
        assert sorted(numbers.tolist()) == list(range(train + test))
        assert torch.equal(part.train.inputs, part.train.targets)
    sizes = [len(part.test) for part in sets]
    assert max(sizes) - min(sizes) <= 1
    assert folded(whole, 0, folds, seed).hashes() == sets[0].hashes()


ones = torch.ones(4, 2)


@pytest.mark.parametrize(
    ("error", "words", "wrong"),
    [
        (
            DataError,
            "1 of 4 inputs are infinite or not a number, first at sample 2",
            lambda: ArraySplit(spoiled(), ones),
        ),
        (DataError, "targets are infinite", lambda: ArraySplit(ones, ones / 0)),
        (UsageError, r"inputs.float\(\)", lambda: ArraySplit(ones.double(), ones)),
        (ShapeError, r"targets\[:, None\]", lambda: ArraySplit(ones, ones[:, 0])),
        (ShapeError, "one target for each of 4 inputs; got 3", lambda: ArraySplit(ones, ones[:3])),
        (ShapeError, "N at least 1", lambda: ArraySplit(ones[:0], ones[:0])),
        (ShapeError, "2 components but 1 names", lambda: ArraySet("a", ("x",), *[ArraySplit(ones, ones)] * 2)),
        (
            ShapeError,
            r"Training inputs are \(2,\) each, test inputs \(1,\)",
            lambda: ArraySet("a", ("x", "y"), ArraySplit(ones, ones), ArraySplit(ones[:, :1], ones)),
        ),
        (UsageError, "2 to 12 folds; got folds=13", lambda: folded(numbered(10, 2), 0, 13)),
        (UsageError, "from 0 to 9; got fold=10", lambda: folded(numbered(10, 2), 10)),
        (UsageError, "40 waves in 2 dimensions", lambda: WaveSum(0, 2, 41)),
        (UsageError, "dims must be 1 to 6; got 0", lambda: WaveSum(0, 0)),
        (UsageError, "A seed lies in", lambda: WaveSum(-1)),
        (UsageError, "at least 5; got 4", lambda: load_functions(points=4)),
        (ShapeError, r"points \(..., 2\); got \(4, 3\)", lambda: WaveSum()(torch.ones(4, 3))),
        (ShapeError, "M at least 3", lambda: load_signed_distance(corners=ones[:2])),
        (ShapeError, r"points \(N, 2\)", lambda: signed_distance(ones[0], BOX)),
    ],
)
def test_what_is_wrong_is_explained(error: type[Exception], words: str, wrong: object) -> None:
    assert callable(wrong)
    with pytest.raises(error, match=words):
        wrong()


def spoiled() -> Tensor:
    x = ones.clone()
    x[2, 1] = torch.nan
    return x
