"""A program carried out in plain torch, one operation of one part at a time: slow, and strict about the rules.

It is the oracle of the planner: a part that reads what another one writes, and a tensor that is read after something
else took its memory, raise.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from torchmg.errors import TorchmgError
from torchmg.inference.graph import ACTS
from torchmg.inference.locality import needs, own
from torchmg.inference.program import Kind, Op, Program
from torchmg.inference.torch_run import ACT_CALLS


class RuleError(TorchmgError):
    """A program that breaks the rules of the executor."""


def interpret(program: Program, inputs: Sequence[Tensor]) -> list[Tensor]:
    """The outputs for a batch of external inputs (batch, channels, height, width).

    Raises:
        RuleError: the program breaks the rule of locality, or its tensors overlap.
    """
    images = [_Image(program, [x[i] for x in inputs]).run() for i in range(inputs[0].shape[0])]
    return [torch.stack(outputs) for outputs in zip(*images, strict=True)]


class _Memory:
    """Who lies where, and which channels are there."""

    def __init__(self, program: Program, floats: int, parts: int | None) -> None:
        self.program, self.parts = program, parts
        self.owner = torch.full((floats,), -1, dtype=torch.int32)

    def _span(self, tensor: int) -> slice:
        plane = self.program.planes[tensor]
        channels = plane.channels // (self.parts or 1)
        end = plane.offset + channels * plane.size
        if end > len(self.owner):
            raise RuleError(f"Tensor {tensor} ends at {end} of {len(self.owner)} floats.")
        return slice(plane.offset, end)

    def write(self, tensor: int) -> None:
        self.owner[self._span(tensor)] = tensor

    def check(self, tensor: int) -> None:
        if not bool((self.owner[self._span(tensor)] == tensor).all()):
            raise RuleError(f"Tensor {tensor} was overwritten before it was read.")


class _Image:
    def __init__(self, program: Program, inputs: list[Tensor]) -> None:
        self.program, self.inputs = program, inputs
        self.data = [torch.full((p.channels, p.height, p.width), torch.nan) for p in program.planes]
        self.outputs = [torch.full(shape, torch.nan) for shape in program.outputs]
        self.arena = _Memory(program, program.arena, None)

    def run(self) -> list[Tensor]:
        for stage in self.program.stages:
            ops = self.program.ops[stage.first : stage.first + stage.count]
            fresh = {op.writes for op in ops if op.writes is not None}
            # From the last part to the first: what needs the other order is found.
            for part in reversed(range(stage.parts)):
                scratch = _Memory(self.program, self.program.scratch, stage.parts)
                for op in ops:
                    self.check(op, part, stage.parts, fresh, scratch)
                    self.carry_out(op, part, stage.parts)
                    if op.writes is not None:
                        (scratch if self.program.planes[op.writes].local else self.arena).write(op.writes)
        return self.outputs

    def check(self, op: Op, part: int, parts: int, fresh: set[int], scratch: _Memory) -> None:
        planes = self.program.planes
        if planes[op.cut].channels % parts:
            raise RuleError(f"{parts} parts do not divide the {planes[op.cut].channels} channels of {op}.")
        for tensor, (low, high) in needs(op, planes, part, parts):
            first, last = own(planes[tensor], part, parts)
            if tensor in fresh and not first <= low <= high <= last:
                raise RuleError(f"Part {part} of {parts} reads channels {low} to {high} of tensor {tensor}: {op}.")
            if planes[tensor].local and tensor not in fresh:
                raise RuleError(f"Local tensor {tensor} is read outside its stage: {op}.")
            (scratch if planes[tensor].local else self.arena).check(tensor)
        if op.kind is Kind.CONV and max(op.pad) > planes[op.source].pad:
            raise RuleError(f"Tensor {op.source} has less padding than {op} reads.")

    def carry_out(self, op: Op, part: int, parts: int) -> None:
        """Write the part's share; what the part may not read is not a number."""
        low, high = own(self.program.planes[op.cut], part, parts)
        if op.kind is Kind.LOAD:
            self.data[op.out][low:high] = self.inputs[op.source].view_as(self.data[op.out])[low:high]
            return
        seen = []
        for tensor, (first, last) in needs(op, self.program.planes, part, parts):
            x = torch.full_like(self.data[tensor], torch.nan)
            x[first:last] = self.data[tensor][first:last]
            seen.append(x)
        y = self.result(op, seen, low, high)
        if op.kind is Kind.STORE:
            self.outputs[op.out][op.channel + low : op.channel + high] = y
        elif op.kind is Kind.PLACE:
            self.data[op.out][op.channel + low : op.channel + high] = y
        else:
            self.data[op.out][low:high] = y

    def result(self, op: Op, seen: list[Tensor], low: int, high: int) -> Tensor:
        x, act = seen[0], ACT_CALLS[ACTS[op.act]]
        others = [other[low:high] for other in seen[1:]]
        if op.kind is Kind.COPY:
            return x[low + op.channel : high + op.channel]
        if op.kind in (Kind.STORE, Kind.PLACE):
            return x[low:high]
        if op.kind is Kind.MEAN:
            return x[low:high].mean((1, 2), keepdim=True)
        if op.kind is Kind.ACT:
            return act(op.alpha * x[low:high] + op.beta)
        if op.kind is Kind.BINARY:
            return act(op.alpha * x[low:high] + op.beta * others[0])
        if op.kind in (Kind.SCALE, Kind.MUL):
            return act(x[low:high] * others[0])
        if op.kind is Kind.LINEAR:
            assert op.weight is not None
            return act(F.linear(x.flatten(), op.weight, op.bias)[low:high, None, None])
        if op.kind is Kind.SPLIT:
            return _phases(x, op)[low:high]
        if op.kind in (Kind.MAX_PHASED, Kind.MEAN_PHASED):
            windows = torch.stack(_taps(x, op, self.program.planes[op.out].height, self.program.planes[op.out].width))
            return (windows.amax(0) if op.kind is Kind.MAX_PHASED else windows.sum(0) * op.alpha)[low:high]
        y = self.convolved(op, x)[low:high]
        y = y if op.add0 < 0 else y + others[0]
        y = act(y)
        return y if op.add1 < 0 else y + others[-1]

    def convolved(self, op: Op, x: Tensor) -> Tensor:
        assert op.weight is not None
        if op.kind is Kind.CONV:
            return F.conv2d(x[None], op.weight, op.bias, padding=op.pad, groups=op.groups)[0]
        out = self.program.planes[op.out]
        total = torch.zeros(out.channels, out.height, out.width)
        for tap, shifted in enumerate(_taps(x, op, out.height, out.width)):
            weight = op.weight.flatten(2)[:, :, tap, None, None]
            total = total + F.conv2d(shifted[None], weight, groups=op.groups)[0]
        return total if op.bias is None else total + op.bias[:, None, None]


def _phases(x: Tensor, op: Op) -> Tensor:
    (high, wide), s = op.pad, op.stride
    padded = F.pad(x, (wide, wide, high, high), value=op.fill)
    more_rows, more_columns = -padded.shape[1] % s, -padded.shape[2] % s
    padded = F.pad(padded, (0, more_columns, 0, more_rows), value=op.fill)
    return F.pixel_unshuffle(padded[None], s)[0]


def _taps(x: Tensor, op: Op, height: int, width: int) -> list[Tensor]:
    """For each tap of the window the channels that it sees."""
    s = op.stride
    phases = x.unflatten(0, (-1, s * s))
    return [
        phases[:, dy % s * s + dx % s, dy // s : dy // s + height, dx // s : dx // s + width]
        for dy in range(op.kernel[0])
        for dx in range(op.kernel[1])
    ]
