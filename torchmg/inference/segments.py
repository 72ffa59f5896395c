"""A folded network cut into runs of native programs and what is left to torch between them."""

from dataclasses import dataclass, replace
from math import prod

from torchmg.inference.graph import Network, Step
from torchmg.inference.lower import why_torch


@dataclass(frozen=True)
class Segment:
    """Steps that run together.

    Attributes:
        native: whether as one program; else in torch, one after the other.
        steps: in order.
        entries: values that are read and made before.
        exits: values that are made and read after.
    """

    native: bool
    steps: list[Step]
    entries: list[int]
    exits: list[int]


def cut(network: Network) -> tuple[list[Segment], dict[int, str]]:
    """The segments in order, and for the output of every step that torch has the reason."""
    reasons = {step.output: why for step in network.steps if (why := why_torch(step, network.shapes)) is not None}
    while True:
        segments = _segments(network, reasons)
        idle = [s for s in segments if s.native and len(segments) > 1 and not any(map(_multiplies, s.steps))]
        if not idle:
            return segments, reasons
        for segment in idle:
            reasons |= {step.output: "little work between such steps" for step in segment.steps}


def _multiplies(step: Step) -> bool:
    return step.kind in ("conv", "linear")


def _segments(network: Network, reasons: dict[int, str]) -> list[Segment]:
    # A torch step comes after the native ones of its level, and before those of the next.
    made: dict[int, tuple[int, bool]] = {network.input: (0, False)}
    levels: dict[tuple[int, bool], list[Step]] = {}
    for step in network.steps:
        left = step.output in reasons
        before = [made[value] for value in step.reads]
        level = max((at + (by_torch and not left) for at, by_torch in before), default=0)
        made[step.output] = level, left
        levels.setdefault((level, left), []).append(step)
    last: dict[int, tuple[int, bool]] = {network.output: (len(levels) + len(network.steps), True)}
    for place, steps in levels.items():
        for step in steps:
            for value in step.reads:
                last[value] = max(last.get(value, place), place)
    segments = []
    for place in sorted(levels):
        steps = levels[place]
        inside = {step.output for step in steps}
        entries = list(dict.fromkeys(value for step in steps for value in step.reads if value not in inside))
        exits = [step.output for step in steps if last.get(step.output, place) > place]
        segments.append(Segment(not place[1], steps, entries, exits))
    return segments


def network_macs(network: Network, reasons: dict[int, str]) -> tuple[int, int]:
    """Multiply-adds of convolutions and linear maps for one image: of native programs, and in all that is known."""
    native = total = 0
    for step in network.steps:
        shape = network.shapes[step.output]
        if step.weight is None or shape is None:
            continue
        macs = step.weight.numel() * prod(shape[1:])
        total += macs
        native += 0 if step.output in reasons else macs
    return native, total


def in_single(network: Network) -> Network:
    """The network with its weights in float32."""
    steps = [
        replace(
            step,
            weight=None if step.weight is None else step.weight.float().contiguous(),
            bias=None if step.bias is None else step.bias.float().contiguous(),
        )
        for step in network.steps
    ]
    return replace(network, steps=steps)
