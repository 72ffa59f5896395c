"""A folded network on a GPU: fused kernels where they fit, torch elsewhere, all of it one CUDA graph a batch shape."""

from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock

import torch
from torch import Tensor

from torchmg.inference.gpu_runner import Runner, Values
from torchmg.inference.gpu_steps import torch_parts
from torchmg.inference.graph import Network
from torchmg.kernels.gpu import support

KEPT = 4
"""CUDA graphs that a plan keeps, each with memory for all of its values; the one used longest ago goes."""
WARM_UPS = 2
"""Runs before a capture: the first compiles kernels and times their launches."""


@dataclass
class Captured:
    """A CUDA graph with the memory that it reads and writes."""

    graph: torch.cuda.CUDAGraph
    entry: Tensor
    exit: Tensor


class GpuPlan:
    """A folded network for one device and type: (batch, channels, height, width) -> what the network makes of it.

    Args:
        network: see `plan.fold`.
        device: CUDA, or the CPU in Triton's interpreter.
        dtype: of weights, values and results: bfloat16, float16 or float32; sums are of float32.
        kernels: whether to use our kernels; else all steps run in torch.

    Attributes:
        why: why our kernels are not used; empty where they are.
    """

    def __init__(self, network: Network, device: torch.device, dtype: torch.dtype, *, kernels: bool = True) -> None:
        self.network, self.device, self.dtype = network, device, dtype
        self.why = support.why_not() if kernels else "switched off"
        if self.why:
            self.runners = torch_parts(network, device, dtype)
        else:
            from torchmg.inference.gpu_parts import fused_parts  # needs Triton

            self.runners = fused_parts(network, device, dtype)
        self._drops = _last_reads(self.runners, network.output)
        self._graphs: OrderedDict[tuple[int, ...], Captured] = OrderedDict()
        self._lock = Lock()

    def run(self, x: Tensor) -> Tensor:
        """The output, launch by launch."""
        values: Values = {self.network.input: x.to(self.dtype).contiguous(memory_format=torch.channels_last)}
        for runner, drops in zip(self.runners, self._drops, strict=True):
            runner.run(values)
            for value in drops:
                del values[value]
        return values[self.network.output]

    def __call__(self, x: Tensor) -> Tensor:
        """The output, on a CUDA device by a CUDA graph; the first call of every batch shape captures one."""
        if x.device.type != "cuda" or torch.cuda.is_current_stream_capturing():
            return self.run(x)
        # What a graph reads must take copies in any mode, also where the first call is one of inference mode.
        with torch.inference_mode(mode=False), torch.no_grad(), torch.cuda.device(x.device), self._lock:
            found = self._graphs.get(tuple(x.shape))
            if found is None:
                found = self._graphs[tuple(x.shape)] = self._capture(x)
                if len(self._graphs) > KEPT:
                    self._graphs.popitem(last=False)
            self._graphs.move_to_end(tuple(x.shape))
            found.entry.copy_(x)
            found.graph.replay()
            return found.exit.clone()

    def _capture(self, x: Tensor) -> Captured:
        entry = torch.empty_like(x, dtype=self.dtype, memory_format=torch.channels_last).copy_(x)
        current, aside = torch.cuda.current_stream(), torch.cuda.Stream()
        aside.wait_stream(current)
        with torch.cuda.stream(aside):
            for _ in range(WARM_UPS):
                self.run(entry)
        current.wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            made = self.run(entry)
        return Captured(graph, entry, made)

    @property
    def kinds(self) -> dict[str, int]:
        """How many runners there are of each kind."""
        found: dict[str, int] = {}
        for runner in self.runners:
            found[runner.kind] = found.get(runner.kind, 0) + 1
        return found

    def __repr__(self) -> str:
        """How many steps became what."""
        told = ", ".join(f"{count} {kind}" for kind, count in sorted(self.kinds.items()))
        name = str(self.dtype).removeprefix("torch.")
        text = f"{len(self.network.steps)} folded steps on {self.device} in {name}: {told}"
        return f"{text} (without our kernels: {self.why})" if self.why else text


def gpu_plan(network: Network, device: torch.device | str, dtype: torch.dtype, *, kernels: bool = True) -> GpuPlan:
    """A plan of a folded network; see `GpuPlan`."""
    return GpuPlan(network, torch.device(device), dtype, kernels=kernels)


def _last_reads(runners: list[Runner], output: int) -> list[list[int]]:
    """For each runner the values that nobody needs after it."""
    seen = {output}
    drops: list[list[int]] = []
    for runner in reversed(runners):
        touched = dict.fromkeys([*runner.reads, *runner.writes])
        drops.append([value for value in touched if value not in seen])
        seen.update(touched)
    return drops[::-1]
