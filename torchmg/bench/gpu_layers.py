"""Single grouped convolutions on a GPU, one pass at a time: our kernels, cuDNN in both layouts, `torch.compile`."""

from collections.abc import Callable, Mapping
from functools import partial
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from torchmg.bench.gpu_floors import PASSES, Pass, floor, layer_bytes
from torchmg.bench.gpu_script import GpuScript
from torchmg.bench.gpu_timing import layer_ms, refusal, sets_beyond_cache
from torchmg.bench.script import Target
from torchmg.bench.timing import Call
from torchmg.kernels.shape import Shape

TORCH = ("planes", "channels_last")
"""cuDNN's, by layout; the better one is what ours is compared with."""
TARGETS = {"bandwidth": 0.7, "speed_up": 2.5}
"""Share of the measured copy bandwidth, and times as fast as cuDNN in its better layout."""
TARGET_GROUPS = (8, 16, 32)
SLACK = {torch.bfloat16: 0.03, torch.float16: 0.01, torch.float32: 0.01}
"""Largest difference from cuDNN over the largest value, for sums of products of this type; float32 may use TF32."""

Run = Callable[[Tensor, Tensor, Tensor, Shape], Tensor]
"""(input, weight, gradient of the output, sizes) -> what the pass makes."""


class Layer(NamedTuple):
    """One case.

    Attributes:
        kernel: height and width of the kernel.
        channels: in and out.
        side: height and width of the map.
        group: channels of a group.
        batch: images.
    """

    kernel: int
    channels: int
    side: int
    group: int
    batch: int = 128

    @property
    def shape(self) -> Shape:
        """Stride 1, and a padding that keeps the map's size."""
        pad, n = self.kernel // 2, self.channels
        return Shape(self.batch, n, n, n // self.group, self.side, self.side, self.kernel, self.kernel, 1, pad, pad)


def torch_pass(which: Pass) -> Run:
    """A pass by torch's own operators, in the layout of its tensors."""

    def run(x: Tensor, weight: Tensor, grad: Tensor, shape: Shape) -> Tensor:
        pad = (shape.pad_h, shape.pad_w)
        if which == "forward":
            return F.conv2d(x, weight, None, shape.stride, pad, 1, shape.groups)
        wanted = [which == "data gradient", which == "weight gradient", False]
        stride = [shape.stride, shape.stride]
        found = torch.ops.aten.convolution_backward(
            grad, x, weight, None, stride, list(pad), [1, 1], False, [0, 0], shape.groups, wanted
        )
        return found[0 if wanted[0] else 1]

    return run


def our_pass(which: Pass) -> Run:
    """A pass by the Triton kernels, on channels-last tensors."""
    from torchmg.kernels.gpu.conv import conv
    from torchmg.kernels.gpu.weights import weight_gradient

    def run(x: Tensor, weight: Tensor, grad: Tensor, shape: Shape) -> Tensor:
        if which == "weight gradient":
            return weight_gradient(x, grad, shape)
        if which == "data gradient":
            return conv(grad, weight, shape, transposed=True)[0]
        return conv(x, weight, shape)[0]

    return run


def candidates(which: Pass) -> tuple[dict[str, tuple[Run, torch.memory_format]], list[str]]:
    """Ways of computing a pass, each with the layout of its tensors, and why ours is not among them."""
    planes, last = torch.contiguous_format, torch.channels_last
    torch.compiler.reset()  # or from the ninth case on nothing is compiled
    found: dict[str, tuple[Run, torch.memory_format]] = {
        "planes": (torch_pass(which), planes),
        "channels_last": (torch_pass(which), last),
        "compile": (torch.compile(torch_pass(which), dynamic=False), last),
    }
    try:
        return found | {"torchmg": (our_pass(which), last)}, []
    except ImportError as failure:
        return found, [refusal("torchmg", failure)]


def operands(shape: Shape, device: torch.device, dtype: torch.dtype, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Input, weight and gradient of the output, in planes; numbers of usual sizes."""
    generator = torch.Generator(device).manual_seed(seed)
    scale = prod(shape.weights[1:]) ** -0.5
    sizes = ((shape.inputs, 1.0), (shape.weights, scale), (shape.outputs, 1.0))
    x, weight, grad = (
        (torch.randn(size, device=device, generator=generator) * scale).to(dtype) for size, scale in sizes
    )
    return x, weight, grad


def measure(script: GpuScript, layer: Layer, which: Pass, ways: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A row: milliseconds of every way, the floor beside them, and what ours reaches.

    Args:
        script: device, type and timing.
        layer: sizes.
        which: pass.
        ways: see `candidates`, whose default they are.
    """
    shape, device = layer.shape, script.device
    if ways is None:
        ways, refused = candidates(which)
        script.leave_out(*refused)
    moved = layer_bytes(shape, which, script.dtype.itemsize)
    sets = [operands(shape, device, script.dtype, seed) for seed in range(sets_beyond_cache(device, moved))]
    makes: dict[str, Callable[[int], Call]] = {}
    with torch.no_grad():
        wanted = torch_pass(which)(*sets[0], shape).float()
        for name, (run, layout) in ways.items():
            laid = [[t.contiguous(memory_format=layout) for t in tensors] for tensors in sets]
            try:
                found = run(*laid[0], shape).float()
            except Exception as failure:  # libraries and compilers may raise whatever they like
                script.leave_out(f"{title(layer, which)}: {refusal(name, failure)}")
                continue
            error = float((found - wanted).abs().max() / wanted.abs().max())
            if not error <= SLACK[script.dtype]:
                script.leave_out(f"{title(layer, which)}: {name} computes something else; off by {error:.1e}.")
                continue
            makes[name] = lambda index, run=run, laid=laid: partial(run, *laid[index], shape)
        halves = [(x, torch.empty_like(x)) for x, _, _ in sets]
        makes["copy"] = lambda index: partial(halves[index][1].copy_, halves[index][0])
        ms, refused = layer_ms(device, makes, moved, **script.timing)
    script.leave_out(*(f"{title(layer, which)}: {sentence}" for sentence in refused))
    least = floor(script.peaks, moved, 2 * shape.macs)
    row = layer._asdict() | {"pass": which, "ms": ms, "floor_ms": least.ms, "bound": least.bound, "bytes": moved}
    return row | reached(ms, moved, shape, script.peaks.gbytes)


def reached(ms: Mapping[str, float], moved: float, shape: Shape, gbytes: float) -> dict[str, float]:
    """Of the milliseconds of our kernels: times as fast as cuDNN, share of the copy bandwidth, 10^12 operations a second.

    Args:
        ms: by way; empty is what is returned where ours is not among them.
        moved: bytes at least.
        shape: sizes.
        gbytes: of copies, in 10^9 bytes a second.
    """
    if "torchmg" not in ms:
        return {}
    ours = ms["torchmg"]
    found = {"bandwidth": 1e-6 * moved / ours / gbytes, "tflops": 2e-9 * shape.macs / ours}
    theirs = [ms[name] for name in TORCH if name in ms]
    return found | ({"speed_up": min(theirs) / ours} if theirs else {})


def title(layer: Layer, which: Pass) -> str:
    """For people."""
    k, side = layer.kernel, layer.side
    return f"{k}x{k}, {layer.channels} channels, {side}x{side}, group {layer.group}, {which}"


def targets(rows: list[dict[str, Any]]) -> list[Target]:
    """What should hold of 3x3 convolutions, for each group and pass as the worst of its maps."""
    found = []
    for group in TARGET_GROUPS:
        for which in PASSES:
            chosen = [r for r in rows if (r["kernel"], r["group"], r["pass"]) == (3, group, which)]
            for key, text in (("bandwidth", "share of copy bandwidth"), ("speed_up", "over cuDNN's better layout")):
                values = [row[key] for row in chosen if key in row]
                if values:
                    found.append(Target(f"GPU, 3x3, group {group}, {which}: {text}", TARGETS[key], min(values)))
    return found
