"""The losses of distillation against formulas worked out by hand."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from training_runs import (
    SMALL_MGIC,
    small_set,
)

from torchmg.data.samples import IGNORE
from torchmg.models.options import ModelOptions
from torchmg.train.distill import map_loss, soft_target_loss
from torchmg.train.model import model_for
from torchmg.train.recipe import Recipe, recipe
from torchmg.train.tasks import Classification, Regression, Segmentation
from torchmg.train.teacher import Imitation

STUDENT = Recipe(model="mgic_resnet20", options=SMALL_MGIC, epochs=2, batch_size=40, augment="crop")
NARROW = Recipe(model="resnet20", options=ModelOptions(width=0.25), epochs=1, batch_size=40)
"""A dense teacher whose feature maps have the student's shapes."""


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# ---- losses


@settings(max_examples=20)
@given(st.integers(0, 1000), st.integers(2, 7), st.floats(0.3, 20))
def test_soft_targets_are_the_divergence_by_hand(seed: int, classes: int, temperature: float) -> None:
    ours, theirs = 3 * torch.randn(2, 4, classes, generator=seeded(seed), dtype=torch.float64)
    by_hand = 0.0
    for one, other in zip(ours, theirs, strict=True):
        q, p = ((z / temperature).exp() / (z / temperature).exp().sum() for z in (one, other))
        by_hand += float((p * (p / q).log()).sum())
    assert float(soft_target_loss(ours, theirs, temperature)) == pytest.approx(temperature**2 * by_hand / 4, abs=1e-9)


def test_hot_soft_targets_pull_logits_together() -> None:
    """Hinton et al., equation 4: with the factor T^2 the gradient is (z - v) / N of logits with mean zero."""
    ours, theirs = torch.randn(2, 6, 10, generator=seeded(0), dtype=torch.float64)
    ours, theirs = ours - ours.mean(1, keepdim=True), theirs - theirs.mean(1, keepdim=True)
    for temperature in (1e2, 1e3, 1e4):
        z = ours.clone().requires_grad_()
        soft_target_loss(z, theirs, temperature).backward()
        assert z.grad is not None
        assert torch.allclose(6 * z.grad, (ours - theirs) / 10, rtol=0, atol=10 / temperature)


def test_soft_targets_of_pixels_are_those_of_so_many_samples() -> None:
    ours, theirs = torch.randn(2, 3, 5, 4, 6, generator=seeded(1), dtype=torch.float64)
    flat = (logits.movedim(1, -1).reshape(-1, 5) for logits in (ours, theirs))
    expected = soft_target_loss(*flat, temperature=3.0)
    task = Segmentation(["a", "b", "c", "d", "e"])
    assert torch.allclose(task.imitation(ours, theirs, 3.0), expected, rtol=1e-12)


def test_numbers_are_imitated_without_a_temperature() -> None:
    ours, theirs = torch.randn(2, 7, 3, generator=seeded(2), dtype=torch.float64)
    assert float(Regression().imitation(ours, theirs, 4.0)) == pytest.approx(float((ours - theirs).square().mean()))


@given(st.floats(1e-3, 1e3), st.floats(-2, 2))
def test_the_error_of_maps_is_relative(scale: float, share: float) -> None:
    maps = [scale * torch.randn(2, c, 4, 4, generator=seeded(c), dtype=torch.float64) for c in (3, 5)]
    ours = [share * one for one in maps]
    assert float(map_loss(ours, maps)) == pytest.approx((1 - share) ** 2, rel=1e-9, abs=1e-12)


def test_a_dead_stage_of_the_teacher_gives_a_finite_error() -> None:
    assert map_loss([torch.ones(1, 2)], [torch.zeros(1, 2)]).isfinite()


# ---- the whole loss


def pair(student: Recipe = STUDENT, teacher: Recipe = NARROW) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(5)
    data = small_set()
    return model_for(student, data), model_for(teacher, data).eval().requires_grad_(False)


@pytest.mark.parametrize(("weight", "features"), [(0.9, 0.0), (0.3, 2.0), (0.0, 1.5), (1.0, 0.0)])
def test_the_loss_and_its_gradient_are_the_sum_of_three_terms(weight: float, features: float) -> None:
    chosen = replace(STUDENT, distill_from="run", distill_weight=weight, distill_features=features)
    student, teacher = (network.double().eval() for network in pair())
    x = torch.randn(6, 1, 16, 16, generator=seeded(3), dtype=torch.float64)
    y = torch.arange(6)

    def gradient(loss: Tensor) -> list[Tensor]:
        return list(torch.autograd.grad(loss, list(student.parameters()), materialize_grads=True))

    outputs, taught = student(x), teacher(x)
    q, p = (outputs / 4).log_softmax(1), (taught / 4).softmax(1)
    task = -outputs.log_softmax(1)[torch.arange(6), y].mean()
    soft = 16 * (p * (p.log() - q)).sum() / 6
    pairs = zip(student.forward_features(x), teacher.forward_features(x), strict=True)  # pyright: ignore
    maps = sum((a - b).square().sum() / b.square().sum() for a, b in pairs) / 3
    expected = (1 - weight) * task + weight * soft + features * maps
    wanted = gradient(expected)

    imitation = Imitation(student, teacher, Classification(), chosen)
    outputs = student(x)
    loss = imitation(x, outputs, Classification().loss(outputs, y))
    assert float(loss.detach()) == pytest.approx(
        float(expected.detach()), rel=1e-5
    )  # a teacher's outputs are compared in float32
    for ours, by_hand in zip(gradient(loss), wanted, strict=True):
        assert torch.allclose(ours, by_hand, rtol=1e-4, atol=1e-6)


def test_who_imitates_himself_has_nothing_to_learn() -> None:
    chosen = replace(STUDENT, distill_from="run", distill_weight=1.0, distill_features=1.0)
    student, teacher = pair(STUDENT, STUDENT)
    teacher.load_state_dict(student.state_dict())
    imitation = Imitation(student.eval(), teacher, Classification(), chosen)
    x = torch.randn(6, 1, 16, 16, generator=seeded(4))
    outputs = student(x)
    task = Classification().loss(outputs, torch.arange(6))
    loss = imitation(x, outputs, task)
    assert float(loss.detach()) == 0
    head = list(student.parameters())[-2:]
    ours, tasks = (torch.autograd.grad(one, head, retain_graph=True) for one in (loss, task))
    for mine, plain in zip(ours, tasks, strict=True):
        assert float(mine.abs().max()) < 1e-5 * float(plain.abs().max())
    assert all(p.grad is None for p in teacher.parameters())


def test_unlabelled_pixels_are_imitated_too() -> None:
    chosen = replace(recipe("camvid"), distill_from="run", distill_weight=1.0)
    task, student, teacher = Segmentation(["a", "b"]), nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, 1).eval()
    x = torch.randn(2, 3, 4, 4, generator=seeded(5))
    outputs = student(x)
    unlabelled = torch.full((2, 4, 4), IGNORE)
    loss = Imitation(student, teacher, task, chosen)(x, outputs, task.loss(outputs, unlabelled))
    assert torch.allclose(loss, soft_target_loss(outputs, teacher(x), 4.0))
    assert float(loss.detach()) > 0
