"""A network in evaluation mode as a graph of ATen operations with a free batch size."""

import copy
import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from torchmg.errors import TorchmgError

SAMPLE_BATCH = 2


class CannotOptimizeError(TorchmgError):
    """A network that cannot be planned; the message says why, and the network runs as it is."""


def frozen_copy(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode on the CPU; `model` is left as it is.

    Raises:
        CannotOptimizeError: it cannot be copied, or has parameters without values.
    """
    if any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers())):
        raise CannotOptimizeError("some parameters are on the meta device and have no values")
    try:
        return copy.deepcopy(model).to(device="cpu", memory_format=torch.contiguous_format).eval()  # pyright: ignore[reportCallIssue]
    except Exception as error:
        raise CannotOptimizeError(f"it cannot be copied: {reason(error)}") from error


@torch.no_grad()
def capture(model: nn.Module, shape: tuple[int, ...]) -> ExportedProgram:
    """The functional graph of `model` for a float32 image of `shape` (channels, height, width) and any batch.

    A batch axis that is free for torch.export is one that the network treats image by image or as a whole, never by
    its size; the operations that are planned act image by image, and all others stay with torch.

    Raises:
        CannotOptimizeError: torch cannot express it as one graph with a free batch size.
    """
    x = torch.zeros(SAMPLE_BATCH, *shape)
    try:
        with silence():
            program = torch.export.export(model, (x,), dynamic_shapes=({0: Dim("batch")},))
            return program.run_decompositions({})
    except Exception as error:
        raise CannotOptimizeError(f"it is not one graph with a free batch size: {reason(error)}") from error


@contextmanager
def silence() -> Iterator[None]:
    """Hold back what torch logs and prints before it raises; the exception has the reason."""
    log = logging.getLogger("torch.fx.experimental.symbolic_shapes")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of torch about itself
            yield
    finally:
        log.setLevel(level)


def reason(error: BaseException) -> str:
    """The first paragraph of what an exception, or the one that caused it, says, on one short line."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = " ".join(str(error).strip().partition("\n\n")[0].split()) or type(error).__name__
    return text if len(text) <= 600 else f"{text[:600]} ..."
