"""A network as one graph with a free batch size, taken from a copy of it."""

import copy
import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from torchmg.errors import ExportError


def frozen_copy(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode, on the CPU, contiguous; `model` keeps its mode, device, layout and hooks.

    Raises:
        ExportError: the model cannot be copied, or has parameters without values.
    """
    tensors = [*model.parameters(), *model.buffers()]
    if any(tensor.is_meta for tensor in tensors):
        raise ExportError("Some parameters are on the meta device and have no values. Load the weights first.")
    try:
        twin = copy.deepcopy(model)
    except Exception as error:
        raise ExportError(f"{type(model).__name__} cannot be copied: {reason(error)}") from error
    return twin.to(device="cpu", memory_format=torch.contiguous_format).eval()  # pyright: ignore[reportCallIssue]


def input_type(model: nn.Module) -> torch.dtype:
    """What the network computes in: the type of its first floating-point parameter or buffer, float32 without any."""
    tensors = [*model.parameters(), *model.buffers()]
    return next((tensor.dtype for tensor in tensors if tensor.is_floating_point()), torch.float32)


@torch.no_grad()
def capture(model: nn.Module, x: Tensor) -> ExportedProgram:
    """The graph of `model`, for any batch size.

    Source lines are removed from it: they name folders of whoever exports.

    Raises:
        ExportError: torch cannot express the model as one graph, or not with a free batch size.
    """
    try:
        with _silence():
            program = torch.export.export(model, (x,), dynamic_shapes=({0: Dim("batch")},))
    except Exception as error:
        raise ExportError(
            f"{type(model).__name__} is not one graph with a free batch size, says torch.export: {reason(error)}"
        ) from error
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    program.example_inputs = None
    return program


@contextmanager
def _silence() -> Iterator[None]:
    """Hold back the graphs that torch logs and prints before it raises; the exception has the reason."""
    log = logging.getLogger("torch.fx.experimental.symbolic_shapes")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            yield
    finally:
        log.setLevel(level)


def reason(error: BaseException) -> str:
    """The first paragraph of what an exception, or the one that caused it, says, on one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = " ".join(str(error).strip().partition("\n\n")[0].split()) or type(error).__name__
    return text if len(text) <= 600 else f"{text[:600]} ..."
