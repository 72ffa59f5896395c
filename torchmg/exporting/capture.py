"""A network as one graph with a free batch size, taken from a copy of it."""

import copy

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from torchmg.errors import ExportError
from torchmg.inference.capture import CannotOptimizeError, reason, silence
from torchmg.inference.folded import folded


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


def folded_or_itself(model: nn.Module, shape: tuple[int, ...], dtype: torch.dtype) -> nn.Module:
    """The network that `torchmg.optimize` makes of float32 images' models, as plain convolutions; others as they are.

    Normalisations are in the convolutions' weights then, and whoever reads the file need not know how to fold them.
    """
    if len(shape) != 3 or dtype != torch.float32:
        return model
    try:
        return folded(model, shape)
    except CannotOptimizeError:  # what `capture` says of it is meant for exporting
        return model


@torch.no_grad()
def capture(model: nn.Module, x: Tensor) -> ExportedProgram:
    """The graph of `model`, for any batch size.

    Source lines are removed from it: they name folders of whoever exports.

    Raises:
        ExportError: torch cannot express the model as one graph, or not with a free batch size.
    """
    try:
        with silence():
            program = torch.export.export(model, (x,), dynamic_shapes=({0: Dim("batch")},))
    except Exception as error:
        raise ExportError(
            f"{type(model).__name__} is not one graph with a free batch size, says torch.export: {reason(error)}"
        ) from error
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    program.example_inputs = None
    return program
