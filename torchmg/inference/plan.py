"""A network planned for one size of images: native programs, and what torch does between them."""

import ctypes
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from torchmg.inference import rules, rules_channels  # noqa: F401  # they fill the table of rules
from torchmg.inference.capture import capture
from torchmg.inference.fold import Folder
from torchmg.inference.fuse import fuse
from torchmg.inference.graph import Network
from torchmg.inference.lower import lower
from torchmg.inference.program import NativeProgram, Program
from torchmg.inference.rule import RULES
from torchmg.inference.segments import Segment, cut, in_single, network_macs
from torchmg.inference.stages import plan as into_stages
from torchmg.inference.torch_run import run_network, run_steps


def fold(model: nn.Module, shape: tuple[int, ...]) -> Network:
    """The folded network of a model in evaluation mode on the CPU, for images of `shape` (channels, height, width).

    Raises:
        CannotOptimizeError: it is no graph with a free batch size, one tensor in and one out.
    """
    network = Folder(capture(model, shape), RULES).network()
    fuse(network)
    return in_single(network)


def programs(network: Network) -> list[tuple[Segment, Program | None]]:
    """The segments of a network, and the programs of the native ones."""
    shapes = network.shapes
    return [
        (part, into_stages(lower(part.steps, shapes, part.entries, part.exits)) if part.native else None)
        for part in cut(network)[0]
    ]


@dataclass(frozen=True)
class Summary:
    """What became of a network.

    Attributes:
        stages, programs: of the native executor; none without it.
        native_macs, macs: multiply-adds of convolutions and linear maps of one image, run natively and in all.
        left: how many steps are left to torch for each reason.
    """

    stages: int
    programs: int
    native_macs: int
    macs: int
    left: dict[str, int]


class Plan:
    """A folded network and its programs; `library` None: all of it runs in torch."""

    def __init__(self, network: Network, library: ctypes.CDLL | None) -> None:
        self.network = network
        self.segments: list[tuple[Segment, NativeProgram | None]] = []
        reasons = cut(network)[1]
        stages = 0
        if library is not None:
            for part, program in programs(network):
                stages += 0 if program is None else len(program.stages)
                self.segments.append((part, None if program is None else NativeProgram(program, library)))
        native, total = network_macs(network, reasons)
        left: dict[str, int] = {}
        for reason in reasons.values():
            left[reason] = left.get(reason, 0) + 1
        count = sum(program is not None for _, program in self.segments)
        self.summary = Summary(stages, count, native if count else 0, total, left)

    def __call__(self, x: Tensor) -> Tensor:
        """The output for a batch of float32 images on the CPU."""
        if not self.segments:
            return run_network(self.network, x)
        values: dict[int, Any] = {self.network.input: x}
        for part, program in self.segments:
            if program is None:
                run_steps(part.steps, self.network.shapes, values)
                continue
            made = program.run([values[value].contiguous() for value in part.entries], torch.get_num_threads())
            for value, y in zip(part.exits, made, strict=True):
                values[value] = y.view(-1, *self._shape(value))
        return values[self.network.output]

    def _shape(self, value: int) -> tuple[int, ...]:
        shape = self.network.shapes[value]
        assert shape is not None
        return shape
