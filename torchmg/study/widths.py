"""Widths at which networks cost alike: by parameters, or by the time of a training step."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from math import log

import torch
from torch.nn import functional as F

from torchmg.bench.networks import torch_threads
from torchmg.bench.timing import interleaved
from torchmg.bench.training import LEARNING_RATE, training_step
from torchmg.models.registry import create
from torchmg.study.members import Member
from torchmg.train.layout import FORMATS, pick_layout
from torchmg.train.recipe import Recipe
from torchmg.train.schedule import sgd

SMALLEST = 2.0
"""Base width below which nothing is tried: three stages would have less than 2, 4 and 8 channels."""


def nearest(cost: Callable[[int], float], wanted: float, least: int = 1) -> int:
    """The whole number from `least` whose cost is nearest to what is wanted, as a ratio; by bisection.

    Args:
        cost: above 0, and never falling. Each number's is asked for once.
        wanted: above 0.
        least: the smallest number that may be taken.
    """
    cost = cache(cost)
    low, high = least, least
    while cost(high) < wanted:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if cost(middle) < wanted else (low, middle)
    return min((low, high), key=lambda number: abs(log(cost(number) / wanted)))


def base_of_equal_cost(member: Member, cost: Callable[[float], float], wanted: float) -> float:
    """The base width, among those that the member can have, at which its cost is nearest to what is wanted."""
    least = max(1, round(SMALLEST / member.step))
    return member.step * nearest(lambda number: cost(member.step * number), wanted, least)


def build(member: Member, base: float, shape: tuple[int, ...] = (1, 28, 28), classes: int = 10) -> torch.nn.Module:
    """A member at a base width, for images of a shape."""
    options = member.built_at(base).given()
    return create(member.model, num_classes=classes, in_channels=shape[0], **options)


def parameters(member: Member, base: float, shape: tuple[int, ...] = (1, 28, 28), classes: int = 10) -> int:
    """Parameters of what the builder makes."""
    return sum(p.numel() for p in build(member, base, shape, classes).parameters())


def step_of(model: torch.nn.Module, recipe: Recipe, shape: tuple[int, ...]) -> Callable[[], object]:
    """A step of training on the CPU, on images that stay the same: forward, loss, backward, SGD."""
    layout = FORMATS[pick_layout(recipe, model, shape, torch.device("cpu"))]
    model = model.train().to(memory_format=layout)  # pyright: ignore[reportCallIssue]
    x = torch.randn(recipe.batch_size, *shape).contiguous(memory_format=layout)
    y = torch.randint(0, 10, (recipe.batch_size,))
    optimizer = sgd(model, replace(recipe, lr=LEARNING_RATE))
    return training_step(lambda: F.cross_entropy(model(x), y, label_smoothing=recipe.label_smoothing), optimizer)


class Steps:
    """Times of training steps over the reference's, on one thread of the CPU, both in turns.

    Args:
        reference: the member that others are compared with.
        base: its base width.
        recipe: batch size and layout.
        shape: of one image.
        rounds: turns of each that count.
    """

    def __init__(
        self, reference: Member, base: float, recipe: Recipe, shape: tuple[int, ...] = (1, 28, 28), rounds: int = 5
    ) -> None:
        self.recipe, self.shape, self.rounds = recipe, shape, rounds
        self._reference = self._step(reference, base)

    def ratio(self, member: Member, base: float) -> float:
        """Median time of a step over that of the reference's."""
        calls = {"reference": self._reference, "member": self._step(member, base)}
        with torch_threads(1):
            times = interleaved(calls, rounds=self.rounds)
        return times["member"].median / times["reference"].median

    def _step(self, member: Member, base: float) -> Callable[[], object]:
        return step_of(build(member, base, self.shape), self.recipe, self.shape)
