"""CUDA graphs: a step that the host launches once instead of kernel by kernel.

A small network's step is hundreds of kernels of some microseconds each, which Python cannot launch as fast as a GPU
runs them. Recorded once for each set of shapes, they are launched together.
"""

from collections.abc import Callable

import torch
from torch import Tensor

WARM_UP = 3
"""Calls that run as they are before one is recorded, so that libraries have chosen and allocated what they need."""

Shapes = tuple[tuple[int, ...], ...]


class Captured:
    """A function of tensors that changes state in place, replayed from a CUDA graph once it is warm.

    Every call has its effect once, warm-up calls included. The function must not read device values on the host,
    may branch only on shapes, and returns nothing; what it computes it leaves in tensors that it always uses.

    Args:
        function: called with device tensors.
    """

    def __init__(self, function: Callable[..., None]) -> None:
        self._function = function
        self._calls: dict[Shapes, int] = {}
        self._graphs: dict[Shapes, tuple[torch.cuda.CUDAGraph, tuple[Tensor, ...]]] = {}
        self._stream = torch.cuda.Stream()

    def __call__(self, *inputs: Tensor) -> None:
        """Run the function on these inputs, which are copied to where the graph reads them."""
        key = tuple(tuple(tensor.shape) for tensor in inputs)
        self._calls[key] = self._calls.get(key, 0) + 1
        if self._calls[key] <= WARM_UP:
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                self._function(*inputs)
            torch.cuda.current_stream().wait_stream(self._stream)
            return
        if key not in self._graphs:
            self._record(key, inputs)
        graph, places = self._graphs[key]
        for place, tensor in zip(places, inputs, strict=True):
            place.copy_(tensor, non_blocking=True)
        graph.replay()

    def _record(self, key: Shapes, inputs: tuple[Tensor, ...]) -> None:
        places = tuple(tensor.clone(memory_format=torch.preserve_format) for tensor in inputs)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream):
            self._function(*places)
        self._graphs[key] = graph, places
