"""Steps of a folded network as operations on planes, one pad for all tensors of one resolution."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from torchmg.inference.graph import ACTS, Step
from torchmg.inference.program import Kind, Op, Plane

TORCH_CHANNELS = 256
"""Dense convolutions of so many input channels are left to torch: their weights outgrow the caches."""
TORCH_WEIGHTS = 524288
"""Linear maps of more weights are left to torch, which reads them once for the whole batch."""

Shapes = dict[int, tuple[int, ...] | None]


def why_torch(step: Step, shapes: Shapes) -> str | None:
    """Why a step is left to torch; None if a program can have it."""
    if step.kind == "torch":
        return f"{step.name}: not planned"
    if any(shapes[value] is None or len(shapes[value] or ()) not in (1, 3) for value in (*step.reads, step.output)):
        return f"{step.kind}: no picture or vector"
    if step.kind == "linear" and step.weight is not None and step.weight.numel() > TORCH_WEIGHTS:
        return "a large linear map: one matrix product for the batch"
    dense = step.kind == "conv" and step.groups == 1
    if dense and step.weight is not None and step.weight.shape[1] >= TORCH_CHANNELS:
        return f"dense convolutions of {TORCH_CHANNELS} channels and more"
    return None


@dataclass
class Draft:
    """Operations in order and the tensors they need, not yet cut into stages."""

    planes: list[Plane]
    ops: list[Op]
    inputs: int
    outputs: list[tuple[int, int, int]]


def lower(steps: Sequence[Step], shapes: Shapes, entries: Sequence[int], exits: Sequence[int]) -> Draft:
    """The operations of steps that read `entries` and whose values `exits` are wanted.

    All steps are such that `why_torch` has nothing to say about them.
    """
    return _Lowering(steps, shapes).run(entries, exits)


def full_shape(shape: tuple[int, ...] | None) -> tuple[int, int, int]:
    """(channels, height, width), also of a vector."""
    assert shape is not None
    if len(shape) == 1:
        return shape[0], 1, 1
    channels, height, width = shape
    return channels, height, width


class _Lowering:
    def __init__(self, steps: Sequence[Step], shapes: Shapes) -> None:
        self.steps, self.shapes = steps, shapes
        self.planes: list[Plane] = []
        self.ops: list[Op] = []
        self.tensors: dict[int, int] = {}
        self.splits: dict[tuple[int, int, tuple[int, int], float], int] = {}
        self.pads: dict[tuple[int, int], int] = {}
        for step in steps:
            height, width = full_shape(shapes[step.inputs[0]])[1:]
            if step.kind == "conv" and step.stride == 1 and (height, width) != (1, 1):
                self.pads[height, width] = max(self.pads.get((height, width), 0), *step.pad)

    def run(self, entries: Sequence[int], exits: Sequence[int]) -> Draft:
        for place, value in enumerate(entries):
            self.tensors[value] = self.plane(full_shape(self.shapes[value]))
            self.ops.append(Op(Kind.LOAD, place, self.tensors[value]))
        for step in self.steps:
            self.step(step)
        outputs = [full_shape(self.shapes[value]) for value in exits]
        for place, value in enumerate(exits):
            self.ops.append(Op(Kind.STORE, self.tensors[value], place, groups=outputs[place][0]))
        return Draft(self.planes, self.ops, len(entries), outputs)

    def plane(self, shape: tuple[int, int, int], *, padded: bool = True) -> int:
        pad = self.pads.get(shape[1:], 0) if padded else 0
        self.planes.append(Plane(*shape, pad=pad))
        return len(self.planes) - 1

    def step(self, step: Step) -> None:
        source = self.tensors[step.inputs[0]]
        if step.kind == "view":
            self.tensors[step.output] = source
            return
        out = self.tensors[step.output] = self.plane(full_shape(self.shapes[step.output]))
        if step.kind == "concat":
            first = 0
            for value in step.inputs:
                self.ops.append(Op(Kind.PLACE, self.tensors[value], out, channel=first))
                first += full_shape(self.shapes[value])[0]
            return
        if step.kind in ("conv", "max", "mean_pool"):
            self.ops.append(self.window(step, source, out))
            return
        kinds = {
            "binary": Kind.BINARY,
            "scale": Kind.SCALE,
            "mul": Kind.MUL,
            "mean": Kind.MEAN,
            "linear": Kind.LINEAR,
            "act": Kind.ACT,
            "copy": Kind.COPY,
        }
        self.ops.append(
            Op(
                kinds[step.kind],
                source,
                out,
                act=ACTS.index(step.act),
                add0=self.tensors[step.inputs[1]] if len(step.inputs) > 1 else -1,
                channel=step.channel,
                alpha=step.alpha,
                beta=step.beta,
                weight=_float(step.weight),
                bias=_float(step.bias),
            )
        )

    def window(self, step: Step, source: int, out: int) -> Op:
        """A convolution or pooling; with a stride, and of every pooling, over the phases of what it reads."""
        weight, kernel, pad, stride = step.weight, step.kernel, step.pad, step.stride
        sizes = self.planes[source].height, self.planes[source].width
        if step.kind == "conv" and sizes == (1, 1) == (self.planes[out].height, self.planes[out].width):
            assert weight is not None
            weight, kernel, pad, stride = weight[:, :, pad[0], pad[1]][..., None, None], (1, 1), (0, 0), 1
            if step.groups == 1 and step.add0 is None and step.add1 is None:
                flat, act = _float(weight.flatten(1)), ACTS.index(step.act)
                return Op(Kind.LINEAR, source, out, act=act, weight=flat, bias=_float(step.bias))
        kind = {"conv": Kind.CONV_PHASED, "max": Kind.MAX_PHASED, "mean_pool": Kind.MEAN_PHASED}[step.kind]
        if step.kind == "conv" and stride == 1 and max(pad) <= self.planes[source].pad:
            kind = Kind.CONV
        else:
            source = self.split(source, stride, pad, float("-inf") if step.kind == "max" else 0.0)
        return Op(
            kind,
            source,
            out,
            act=ACTS.index(step.act),
            add0=-1 if step.add0 is None else self.tensors[step.add0],
            add1=-1 if step.add1 is None else self.tensors[step.add1],
            groups=step.groups,
            kernel=kernel,
            stride=stride,
            pad=pad,
            alpha=step.alpha,
            weight=_float(weight),
            bias=_float(step.bias),
        )

    def split(self, source: int, stride: int, pad: tuple[int, int], fill: float) -> int:
        key = source, stride, pad, fill
        if key not in self.splits:
            whole = self.planes[source]
            height, width = -(-(whole.height + 2 * pad[0]) // stride), -(-(whole.width + 2 * pad[1]) // stride)
            phases = self.plane((whole.channels * stride * stride, height, width), padded=False)
            self.ops.append(Op(Kind.SPLIT, source, phases, stride=stride, pad=pad, fill=fill))
            self.splits[key] = phases
        return self.splits[key]


def _float(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.to(torch.float32).contiguous()
