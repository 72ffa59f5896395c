"""A folded network: a list of steps between values, each step with weights of its own, in the order of execution."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

StepKind = Literal[
    "conv", "max", "mean_pool", "binary", "scale", "mul", "mean", "linear", "act", "copy", "concat", "view", "torch"
]
Act = Literal["none", "relu", "relu6", "hardswish", "hardsigmoid", "sigmoid", "silu", "gelu"]
ACTS: tuple[Act, ...] = ("none", "relu", "relu6", "hardswish", "hardsigmoid", "sigmoid", "silu", "gelu")
"""In the order of the executor's enumeration."""


@dataclass(frozen=True)
class Ref:
    """A value of the network inside the arguments of a torch call."""

    value: int


@dataclass
class Step:
    """One operation on batches of images.

    conv: act(weight * inputs[0] + bias + add0) + add1, all of stride and padding (vertical, horizontal).
    linear: act(weight inputs[0] + bias) of vectors. binary: act(alpha inputs[0] + beta inputs[1]).
    act: act(alpha inputs[0] + beta). mul: inputs[0] * inputs[1] of one shape; scale: inputs[1] is one number for each
    channel. max, mean_pool: over windows; mean: over all pixels. copy: channels from `channel` on. concat: inputs one
    after the other. view: another shape, the same numbers. torch: `call(*args, **kwargs)`.

    `add0` and `add1` are values, or None. Weights are float64 until they are used.
    """

    kind: StepKind
    inputs: list[int]
    output: int
    weight: Tensor | None = None
    bias: Tensor | None = None
    groups: int = 1
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    pad: tuple[int, int] = (0, 0)
    act: Act = "none"
    add0: int | None = None
    add1: int | None = None
    alpha: float = 1.0
    beta: float = 1.0
    channel: int = 0
    call: Callable[..., Any] | None = None
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    name: str = ""

    @property
    def reads(self) -> list[int]:
        """All values that the step needs."""
        return [*self.inputs, *(value for value in (self.add0, self.add1) if value is not None)]


@dataclass
class Network:
    """Steps from one input to one output.

    Attributes:
        steps: in an order in which they can be carried out.
        shapes: for each value the shape of one image's share, (channels, height, width) or (channels,); None where
            only torch knows it.
        input, output: the values that enter and leave.
    """

    steps: list[Step]
    shapes: dict[int, tuple[int, ...] | None]
    input: int
    output: int

    def users(self) -> dict[int, list[Step]]:
        """The steps that read each value."""
        users: dict[int, list[Step]] = {value: [] for value in self.shapes}
        for step in self.steps:
            for value in set(step.reads):
                users[value].append(step)
        return users
