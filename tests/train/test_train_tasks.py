"""What tasks measure, against formulas and libraries: confusion, ignored pixels, explained variance; parts of sets."""

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import jaccard_score, r2_score
from torch.nn import functional as F
from training_runs import small_set

from torchmg.data.fewer import FewerToTrain
from torchmg.data.samples import IGNORE
from torchmg.data.segmentation import PairSplit, SegmentationSet
from torchmg.errors import UsageError
from torchmg.train.model import preparation_for
from torchmg.train.recipe import Recipe
from torchmg.train.tasks import Classification, Regression, Segmentation

CLASSES = ("sky", "road", "car")


def measured(task, batches):
    sums = torch.zeros(task.sums, dtype=torch.float64)
    for outputs, targets in batches:
        task.measure(sums, outputs, targets)
    return task.metrics(sums.tolist())


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 4), st.sampled_from([0.0, 0.3]))
def test_segmentation_is_scikit_learns_jaccard_over_all_labelled_pixels(seed, batches, ignored):
    generator = torch.Generator().manual_seed(seed)
    drawn = []
    for _ in range(batches):
        logits = torch.randn(2, 3, 4, 5, generator=generator)
        targets = torch.randint(0, 3, (2, 4, 5), generator=generator)
        targets[torch.rand(2, 4, 5, generator=generator) < ignored] = IGNORE
        targets[0, 0, 0] = 1
        drawn.append((logits, targets))
    found = measured(Segmentation(CLASSES), drawn)
    logits, targets = torch.cat([x for x, _ in drawn]), torch.cat([y for _, y in drawn])
    known = targets != IGNORE
    truth, guess = targets[known].numpy(), logits.argmax(1)[known].numpy()
    present = sorted(set(truth) | set(guess))
    each = jaccard_score(truth, guess, labels=present, average=None, zero_division=0.0)
    assert found.classes == pytest.approx({CLASSES[i]: 100 * v for i, v in zip(present, each, strict=True)})
    assert found.scores["miou"] == pytest.approx(100 * np.mean(each))
    assert found.scores["accuracy"] == pytest.approx(100 * np.mean(truth == guess))
    expected = F.cross_entropy(logits.double(), targets, ignore_index=IGNORE).item()
    assert found.loss == pytest.approx(expected, rel=1e-5)


def test_a_batch_without_a_labelled_pixel_costs_nothing_and_teaches_nothing():
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    loss = Segmentation(CLASSES).loss(logits, torch.full((1, 2, 2), IGNORE))
    loss.backward()
    assert loss == 0
    assert not logits.grad.any()


def test_regression_is_scikit_learns_r2():
    outputs, targets = torch.randn(50, 2), torch.randn(50, 2)
    found = measured(Regression(), [(outputs[:20], targets[:20]), (outputs[20:], targets[20:])])
    assert found.loss == pytest.approx(F.mse_loss(outputs, targets).item(), rel=1e-6)
    flat = r2_score(targets.flatten().numpy(), outputs.flatten().numpy())
    assert found.score == pytest.approx(100 * flat, rel=1e-5)


def test_classification_counts_samples():
    logits, labels = torch.randn(30, 5), torch.arange(30) % 5
    found = measured(Classification(), [(logits[:7], labels[:7]), (logits[7:], labels[7:])])
    assert found.accuracy == pytest.approx(100 * (logits.argmax(1) == labels).double().mean().item())
    assert found.values("test") == {"test_loss": found.loss, "test_accuracy": found.accuracy}


@pytest.mark.parametrize("task", [Classification(), Segmentation(CLASSES), Regression()])
def test_the_mean_loss_of_training_adds_up_to_that_of_evaluation(task):
    shape, outputs = ((4, 5), (4, 3, 5)) if isinstance(task, Segmentation) else ((4,), (4, 3))
    logits, targets = torch.randn(outputs), torch.randint(0, 3, shape)
    if isinstance(task, Segmentation):
        logits, targets = logits[..., None], targets[..., None]
    if isinstance(task, Regression):
        targets = torch.randn(outputs)
    given_loss, own = (torch.zeros(task.sums, dtype=torch.float64) for _ in range(2))
    task.measure(given_loss, logits, targets, task.loss(logits, targets))
    task.measure(own, logits, targets)
    assert torch.allclose(given_loss, own, rtol=1e-6)


def test_a_part_of_a_set_trains_on_the_same_samples_always_and_tests_on_all():
    data = small_set()
    part, larger = FewerToTrain(data, 20), FewerToTrain(data, 40)
    assert len(part.train) == 20
    assert part.test is data.test
    assert set(part.train.chosen.tolist()) < set(larger.train.chosen.tolist())
    inputs, targets = part.train.take(torch.tensor([3, 3, 7]))
    assert torch.equal(inputs, data.train.images[part.train.chosen[[3, 3, 7]]])
    assert torch.equal(targets, part.train.targets[[3, 3, 7]])
    assert part.hashes()["train_part"] != larger.hashes()["train_part"]
    assert data.hashes().items() <= part.hashes().items()
    for count in (1, len(data.train) + 1):
        with pytest.raises(UsageError, match="cannot be taken"):
            FewerToTrain(data, count)


def test_a_part_of_a_set_is_the_whole_in_all_else_and_can_be_copied():
    data = small_set()
    part = FewerToTrain(data, 20)
    for twin in (part, copy.copy(part), pickle.loads(pickle.dumps(part))):
        for name in ("name", "classes", "num_classes", "shape", "task", "mean", "std"):
            assert getattr(twin, name) == getattr(data, name)
        assert twin.hashes() == part.hashes()
    with pytest.raises(AttributeError, match="no attribute 'levels'"):
        _ = part.levels


def test_a_part_of_a_set_with_masks_is_cropped_as_the_whole_is():
    split = PairSplit(torch.randint(0, 256, (6, 3, 8, 8), dtype=torch.uint8), torch.zeros(6, 8, 8, dtype=torch.uint8))
    data = SegmentationSet("camvid", CLASSES, split, split)
    recipe = Recipe(model="lraspp_mobilenetv3_small", data="camvid", augment="scale_crop_flip", crop=4, subset=3)
    preparation = preparation_for(recipe, FewerToTrain(data, 3))
    inputs, targets = split.take(torch.arange(6))
    found, _ = preparation(inputs, targets, preparation.table(0, 0, 6))
    assert found.shape == (6, 3, 4, 4)
    pixels = split.inputs.double() / 255
    assert preparation(inputs, targets, None)[0].double().mean((0, 2, 3)).abs().max() < 1e-6
    assert data.mean == pytest.approx(pixels.mean((0, 2, 3)).tolist())
