"""Blocks of time steps: refinement converges to one flow, and the penalty on change over time."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.nn.expansion import ExactDiffusion
from torchmg.errors import UsageError
from torchmg.nn.coupling import Depthwise, Full
from torchmg.nn.reaction import DiffusionReaction
from torchmg.nn.steps import DoubleStep, ExplicitStep, SymmetricStep
from torchmg.nn.time_steps import SMOOTHING, TimeSteps, refined, time_smoothness


def step(**options: Any) -> SymmetricStep:
    chosen: dict[str, Any] = {"norm": "none", "act": "tanh", "h": 0.4, "bias": True, **options}
    return SymmetricStep(Full(3, 3, dims=1), **chosen).double()


def block() -> TimeSteps:
    made = TimeSteps(*(step() for _ in range(3)))
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.4)
    return made


def flow(made: TimeSteps, y: Tensor, per_interval: int = 32) -> Tensor:
    """The differential equation with weights linear in time, by classical Runge-Kutta steps between its kinks."""
    steps = list(made.steps())
    first = steps[0]
    assert isinstance(first, ExplicitStep)
    h = first.h / per_interval

    def rate(interval: int, part: float, y: Tensor) -> Tensor:
        here, there = steps[interval].state_dict(), steps[min(interval + 1, len(steps) - 1)].state_dict()
        weights = {name: torch.lerp(here[name], there[name], part) for name in here}
        return (torch.func.functional_call(first, weights, (y,)) - y) / first.h

    for interval in range(len(steps)):
        for i in range(per_interval):
            start, middle, end = (i / per_interval, (i + 0.5) / per_interval, (i + 1) / per_interval)
            k1 = rate(interval, start, y)
            k2 = rate(interval, middle, y + h / 2 * k1)
            k3 = rate(interval, middle, y + h / 2 * k2)
            k4 = rate(interval, end, y + h * k3)
            y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return y


def test_refinement_converges_to_one_flow_with_order_one() -> None:
    made, y = block(), torch.randn(2, 3, 5, dtype=torch.float64)
    with torch.no_grad():
        exact = flow(made, y)
        errors = []
        for _ in range(7):
            errors.append(float(torch.dist(made(y), exact)))
            assert made.time == pytest.approx(1.2)
            made = made.refine()
    ratios = [a / b for a, b in pairwise(errors[2:])]
    assert all(1.8 < ratio < 2.2 for ratio in ratios), errors
    assert errors[-1] < 0.02 * errors[0]


def test_new_steps_lie_between_the_old_ones_which_stay_as_they_are() -> None:
    made = TimeSteps(*(SymmetricStep(Full(3, 3, dims=1), h=0.4) for _ in range(3)))
    for one in made:
        one(torch.randn(4, 3, 5))
    before = {name: value.clone() for name, value in made.state_dict().items()}
    fine = refined(list(made.steps()))
    assert [s.h for s in fine] == [0.2] * 6
    for name in step(norm="batch", bias=False).state_dict():
        old = [s.state_dict()[name] for s in made.steps()]
        new = [s.state_dict()[name] for s in fine]
        assert all(torch.equal(a, b) for a, b in zip(old, new[::2], strict=True))
        if old[0].is_floating_point():
            assert torch.allclose(new[1], (old[0] + old[1]) / 2)
            assert torch.allclose(new[5], old[2])
    assert all(torch.equal(before[name], value) for name, value in made.state_dict().items())
    assert not {id(p) for s in fine for p in s.parameters()} & {id(p) for p in made.parameters()}


def test_a_block_of_implicit_steps_is_refined_too() -> None:
    def implicit() -> DiffusionReaction:
        return DiffusionReaction(Full(2, 2, dims=1), ExactDiffusion(torch.ones(2), 5), h=0.5)

    fine = TimeSteps(implicit(), implicit()).refine()
    assert len(fine) == 4
    for one in fine:
        assert isinstance(one, DiffusionReaction)
        assert one.h == one.reaction.h == 0.25
        assert one.diffusion is not None
        assert getattr(one.diffusion, "h") == 0.25  # noqa: B009 - the protocol's, on a module


def test_copies_start_from_the_same_weights_of_their_own() -> None:
    made = TimeSteps.copies(step(), 3)
    assert all(torch.equal(s.coupling.weight, made[0].coupling.weight) for s in made)
    assert len(list(made.parameters())) == 6
    assert len(made[1:]) == 2


def test_the_penalty_is_its_formula() -> None:
    made = block()
    net = nn.Sequential(nn.Conv1d(3, 3, 1), made, nn.Sequential(TimeSteps.copies(step(norm="batch"), 4)))
    weights = [s.coupling.weight for s in made]
    pairs = [(a.detach(), b.detach()) for a, b in pairwise(weights)]
    expected = sum(((b - a).square() + SMOOTHING).sqrt().sum() - a.numel() * SMOOTHING**0.5 for a, b in pairs)
    penalty = time_smoothness(net)
    assert penalty.item() == pytest.approx(float(expected))
    penalty.backward()
    assert all(w.grad is not None and w.grad.abs().max() <= 2 for w in weights)
    assert all(s.bias.grad is None for s in made)
    difference = float(sum((b - a).abs().sum() for a, b in pairs))
    assert time_smoothness(made, 1e-20).item() == pytest.approx(difference)


def test_the_penalty_is_zero_for_equal_steps_and_smooth_there() -> None:
    made = TimeSteps.copies(step(), 3)
    penalty = time_smoothness(made)
    assert penalty == 0
    penalty.backward()
    assert all(s.coupling.weight.grad.abs().max() == 0 for s in made)
    assert time_smoothness(nn.Linear(2, 2)) == 0
    assert time_smoothness(nn.ReLU()) == 0


def test_refining_lowers_the_penalty_for_each_pair_not_in_sum() -> None:
    """Absolute differences add up along a line, so twice the steps between the same ends cost the same."""
    made = block()
    assert time_smoothness(made.refine(), 1e-20).item() == pytest.approx(time_smoothness(made, 1e-20).item())


def test_bad_requests_say_what_would_work() -> None:
    with pytest.raises(UsageError, match="no time steps"):
        refined([])
    with pytest.raises(UsageError, match="same h"):
        refined([step(), step(h=0.1)])
    with pytest.raises(UsageError, match="alike"):
        refined([step(), SymmetricStep(Depthwise(3, 3, dims=1))])
    with pytest.raises(UsageError, match="alike"):
        time_smoothness(TimeSteps(step(), DoubleStep(Full(3, 3), Full(3, 3))))
    with pytest.raises(UsageError, match="at least one"):
        TimeSteps.copies(step(), 0)
    with pytest.raises(UsageError, match="made of steps"):
        TimeSteps(nn.ReLU()).refine()
    with pytest.raises(UsageError, match="above 0"):
        time_smoothness(block(), 0.0)
