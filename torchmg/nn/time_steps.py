"""Steps one after the other as the discretisation of one differential equation: refined in time, and kept smooth."""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from itertools import pairwise
from typing import Self, TypeVar

import torch
from torch import Tensor, nn

from torchmg.errors import UsageError
from torchmg.nn.norm import norms_and_biases
from torchmg.nn.steps import TimeStep

S = TypeVar("S", bound=TimeStep)

SMOOTHING = 1e-6
"""The eps of the smoothed absolute value sqrt(d^2 + eps) - sqrt(eps): quadratic for differences below 1e-3, the size at
which weights of 0.1 agree in two digits. The published constant was not found [P]."""


class TimeSteps(nn.Sequential):
    """Explicit or implicit steps of equal h and kind, applied in order; no weights are shared.

    `TimeSteps.copies(step, n)` gives n steps that start from the same weights, as in the authors' toolbox (lowcost spec
    1.7 [F]).
    """

    @classmethod
    def copies(cls, step: TimeStep, count: int) -> Self:
        """`step` and count - 1 copies of it, with weights of their own that start from the same values.

        Raises:
            UsageError: a count below 1.
        """
        if not isinstance(count, int) or count < 1:
            raise UsageError(f"A block has at least one time step; got {count!r}.")
        return cls(step, *(deepcopy(step) for _ in range(count - 1)))

    @property
    def time(self) -> float:
        """The time that all steps cover together."""
        return sum(step.h for step in self.steps())

    def steps(self) -> Iterator[TimeStep]:
        """The steps in order.

        Raises:
            UsageError: something else in the block.
        """
        for step in self:
            if not isinstance(step, TimeStep):
                raise UsageError(f"A block of time steps is made of steps; got a {type(step).__name__}.")
            yield step

    def refine(self) -> Self:
        """The same equation with twice the steps, see `refined`; a new block."""
        return type(self)(*refined(list(self.steps())))


@torch.no_grad()
def refined(steps: Sequence[S]) -> list[S]:
    """Twice as many steps of half the size, with weights interpolated linearly in time; the given steps stay as is.

    Step j holds the weights of time j h. New step 2 j has them too, and 2 j + 1 the mean of those of j and j + 1; after
    the last one they stay constant. Running statistics of norms are weights in this. With every refinement the steps
    come closer to the flow of one and the same differential equation, explicit Euler's with an error that halves.

    Raises:
        UsageError: no steps, or steps that differ in kind, shapes or h.

    Source: lowcost spec 2.7 [F]; how the last interval is continued is ours.
    """
    if not steps:
        raise UsageError("There are no time steps to refine.")
    for one, other in pairwise(steps):
        _check_alike(one, other)
        if one.h != other.h:
            raise UsageError(f"Steps of one block must have the same h to be refined; got {one.h:g} and {other.h:g}.")
    result = []
    for step, following in zip(steps, [*steps[1:], steps[-1]], strict=True):
        here, between = deepcopy(step), deepcopy(step)
        target = following.state_dict(keep_vars=True)
        for name, value in between.state_dict(keep_vars=True).items():
            if value.is_floating_point():
                value.lerp_(target[name], 0.5)
        here.h = between.h = step.h / 2
        result += [here, between]
    return result


def time_smoothness(net: nn.Module, smoothing: float = SMOOTHING) -> Tensor:
    """How much weights change from step to step: a differentiable scalar to add to the loss, times 1e-4 to 2e-4.

        sum over blocks, pairs of consecutive steps, weights of  sqrt(d^2 + eps) - sqrt(eps),   d = w_{j+1} - w_j

    Blocks are the `TimeSteps` inside of `net`, itself included. Parameters of norms and biases are left out, as from
    weight decay. Zero without blocks, and where all steps of a block have the same weights.

    Args:
        net: any network.
        smoothing: eps; see `SMOOTHING`.

    Raises:
        UsageError: an eps not above 0, or steps of a block that differ in kind or shapes.

    Source: lowcost spec 2.7 [F] (smoothed l1); eps and what is left out are ours.
    """
    if not smoothing > 0:
        raise UsageError(f"The smoothing constant must be above 0; got {smoothing!r}.")
    total = torch.zeros((), device=next((p.device for p in net.parameters()), None))
    for block in (module for module in net.modules() if isinstance(module, TimeSteps)):
        for one, other in pairwise(block.steps()):
            _check_alike(one, other)
            for a, b in zip(_weights(one), _weights(other), strict=True):
                total = total + (((b - a).square() + smoothing).sqrt() - smoothing**0.5).sum()
    return total


def _weights(step: nn.Module) -> list[nn.Parameter]:
    others = norms_and_biases(step)
    return [parameter for parameter in step.parameters() if id(parameter) not in others]


def _check_alike(one: TimeStep, other: TimeStep) -> None:
    shapes = [{name: tuple(t.shape) for name, t in step.state_dict().items()} for step in (one, other)]
    if type(one) is not type(other) or shapes[0] != shapes[1]:
        raise UsageError(
            f"Steps of one block must be alike; got {type(one).__name__} {shapes[0]} and {type(other).__name__} "
            f"{shapes[1]}. Put a change of width between blocks."
        )
