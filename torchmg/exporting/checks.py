"""Is the file the network? Both answer the same seeded inputs, and the answers are compared."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from torchmg.errors import ExportError, ShapeError, TorchmgError
from torchmg.inference.capture import reason

BATCHES = (1, 2, 5)
"""Batch sizes at which files are checked: 1 is special in torch, 2 is the one that the graph is taken at, 5 is new."""

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}
"""Largest difference that is rounding, as a part of the largest output: some hundred to a million roundings of each
type, because a deep network adds many up, and in another order in every library."""


@dataclass(frozen=True)
class Check:
    """How far a file's answers are from the network's own, at one batch size."""

    batch: int
    """Samples at once."""
    absolute: float
    """Largest difference of two numbers."""
    relative: float
    """The same, as a part of the network's largest output in magnitude."""
    same_argmax: float | None
    """Percentage of samples (and of places, where outputs have any) whose largest channel is the same; None without
    channels."""


def samples(shape: tuple[int, ...], dtype: torch.dtype) -> list[Tensor]:
    """Normal inputs of each of the sizes in `BATCHES`, the same every time; torch's own state stays as it is."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(size, *shape, generator=generator).to(dtype) for size in BATCHES]


@torch.no_grad()
def eager(model: nn.Module, inputs: list[Tensor]) -> list[Tensor]:
    """What the network itself answers, finite numbers in one tensor for each input.

    Raises:
        ShapeError: the network does not run on such inputs.
        ExportError: it answers with something else.
    """
    answers, name = [], type(model).__name__
    for x in inputs:
        try:
            answer = model(x)
        except TorchmgError:
            raise
        except Exception as error:
            raise ShapeError(f"{name} does not run on {tuple(x.shape)}: {reason(error)}") from error
        if not isinstance(answer, Tensor) or not answer.is_floating_point():
            what = f"a tensor of {answer.dtype}" if isinstance(answer, Tensor) else type(answer).__name__
            name = type(model).__name__
            raise ExportError(f"{name} returns {what}. Wrap it so that it returns one floating-point tensor.")
        if not answer.isfinite().all():
            raise ExportError(
                f"{type(model).__name__} answers with infinite values or NaN, so nothing can be verified."
            )
        answers.append(answer)
    return answers


def compare(run: Callable[[Tensor], Tensor], inputs: list[Tensor], expected: list[Tensor]) -> tuple[Check, ...]:
    """Answers of `run` to every one of `inputs` beside the `expected` ones.

    Raises:
        ExportError: it fails, or answers in another shape or type, with NaN, or farther off than `TOLERANCE`.
    """
    return tuple(_check(run, x, answer) for x, answer in zip(inputs, expected, strict=True))


@torch.no_grad()
def _check(run: Callable[[Tensor], Tensor], x: Tensor, expected: Tensor) -> Check:
    try:
        found = run(x)
    except Exception as error:
        raise ExportError(f"The exported file fails at batch size {len(x)}: {reason(error)}") from error
    if (found.shape, found.dtype) != (expected.shape, expected.dtype):
        is_now, was = (f"{tuple(tensor.shape)} {tensor.dtype}" for tensor in (found, expected))
        raise ExportError(f"The exported file answers a batch of {len(x)} with {is_now}, the network with {was}.")
    absolute = (found.double() - expected.double()).abs().max().item()
    scale = expected.double().abs().max().item()
    relative = absolute / max(scale, torch.finfo(torch.float64).tiny)  # zeros must be zeros
    allowed = TOLERANCE[expected.dtype]
    if not relative <= allowed:  # NaN is no number that is small enough
        raise ExportError(
            f"The exported file does not compute what the network does: at batch size {len(x)} they differ by "
            f"{absolute:.3g} where the largest output is {scale:.3g}; {allowed:.0e} of it is allowed. "
            "A network that draws random numbers in evaluation mode cannot be verified."
        )
    same = None
    if expected.dim() > 1:
        same = 100 * (found.argmax(1) == expected.argmax(1)).double().mean().item()
    return Check(len(x), absolute, relative, same)
