"""Ways of running networks on a GPU for inference, side by side, each as it is called and as a CUDA graph."""

import copy
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

import torchmg
from torchmg.bench.fold import folded
from torchmg.bench.gpu_script import GpuScript
from torchmg.bench.gpu_timing import graphed, interleaved_on, refusal
from torchmg.bench.networks import Speed, Speeds, Subject, compared
from torchmg.bench.timing import Call
from torchmg.kernels.choice import pinned

SLACK = {torch.bfloat16: 0.1, torch.float16: 0.02, torch.float32: 0.01}
"""Largest difference of an engine's output from eager float32 over the largest value; float32 may use TF32."""
GRAPH = " + graph"
"""What is added to the name of an engine whose calls are launched as one CUDA graph."""

Engine = Callable[[nn.Module, Tensor], Call]
"""(a network of its own, in evaluation mode and of the input's type; images in planes) -> a prepared call."""


def eager(model: nn.Module, x: Tensor) -> Call:
    """PyTorch with its own convolutions only, in planes."""
    return _stock(model, x)


def channels_last(model: nn.Module, x: Tensor) -> Call:
    """The same, channels last."""
    return _stock(_last(model), x.contiguous(memory_format=torch.channels_last))


def compiled(model: nn.Module, x: Tensor) -> Call:
    """`torch.compile` of the network with its norms folded, channels last, with torch's own convolutions."""
    torch.compiler.reset()  # or after some networks nothing is compiled
    run = torch.compile(_last(folded(model, x)), dynamic=False)
    return _stock(run, x.contiguous(memory_format=torch.channels_last))


def optimized(model: nn.Module, x: Tensor) -> Call:
    """`torchmg.optimize`."""
    run = torchmg.optimize(model, for_="inference", input=x)
    y = x.contiguous(memory_format=torch.channels_last)

    def call() -> object:
        with torch.inference_mode():
            return run(y)

    return call


ENGINES: Mapping[str, Engine] = {
    "eager": eager,
    "channels_last": channels_last,
    "compile": compiled,
    "torchmg": optimized,
}
"""By name, in the order of tables."""


def time_on_gpu(
    script: GpuScript,
    subjects: Sequence[Subject],
    batch: int,
    *,
    reference: str | None = None,
    engines: Sequence[str] = tuple(ENGINES),
) -> Speeds:
    """Time forward passes of networks in every engine, all in turns, as they are called and as CUDA graphs.

    What cannot run, or computes something else than the network in float32, is left out, and said.

    Args:
        script: device, type and timing.
        subjects: with names of their own.
        batch: images.
        reference: name of the one that the others are compared with, each in its fastest engine.
        engines: names in `ENGINES`.
    """
    calls: dict[tuple[str, str], Call] = {}
    for subject in subjects:
        calls |= {(subject.name, name): call for name, call in _prepare(script, subject, batch, engines).items()}
    names = {f"{model}\n{engine}": call for (model, engine), call in calls.items()}
    times = interleaved_on(script.device, names, **script.timing)
    macs = {subject.name: subject.macs for subject in subjects}
    speeds = Speeds([Speed(m, e, batch, 1, *times[f"{m}\n{e}"], macs[m]) for m, e in calls])
    return speeds if reference is None else compared(speeds, reference)


def _prepare(script: GpuScript, subject: Subject, batch: int, engines: Sequence[str]) -> dict[str, Call]:
    device, dtype = script.device, script.dtype
    found: dict[str, Call] = {}
    x = torch.randn(batch, *subject.input, generator=torch.Generator().manual_seed(0)).to(device)
    with torch.inference_mode(), pinned("aten"):
        wanted = copy.deepcopy(subject.model).to(device).eval()(x)
    x = x.to(dtype)
    for name in engines:
        try:
            call = ENGINES[name](copy.deepcopy(subject.model).to(device, dtype).eval(), x)
            error = _error(call(), wanted)
        except Exception as failure:  # an engine may raise whatever it likes
            script.leave_out(f"{subject.name}, {refusal(name, failure)}")
            continue
        if not error <= SLACK[dtype]:
            script.leave_out(f"{name} computes something else than {subject.name} in float32: off by {error:.1e}.")
            continue
        found[name] = call
        if device.type != "cuda":
            continue
        try:
            replay = graphed(call, device)
            error = _error(replay(), wanted)
        except Exception as failure:
            script.leave_out(f"{subject.name}, {refusal(name + GRAPH, failure)}")
            continue
        if error <= SLACK[dtype]:
            found[name + GRAPH] = replay
        else:
            script.leave_out(f"{name + GRAPH} computes something else than {subject.name}: off by {error:.1e}.")
    return found


def _error(found: object, wanted: Tensor) -> float:
    if not isinstance(found, Tensor):
        raise TypeError(f"an engine returned a {type(found).__name__}")
    return float((found.float() - wanted).abs().max() / wanted.abs().max())


def _stock(run: Callable[[Tensor], Tensor], x: Tensor) -> Call:
    def call() -> object:
        with torch.inference_mode(), pinned("aten"):
            return run(x)

    return call


def _last(model: nn.Module) -> nn.Module:
    return model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
