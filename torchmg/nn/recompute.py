"""Training in less memory: computing a part of a network again in the backward pass instead of keeping it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.checkpoint import checkpoint

Around = Callable[..., Tensor]
"""Calls its first argument with the others, now and perhaps once more."""


def at_once(function: Callable[..., Tensor], *arguments: Any) -> Tensor:
    """Call it, and let autograd keep what it wants."""
    return function(*arguments)


def again(module: nn.Module) -> Around:
    """What calls a function that uses parts of `module` and, in the backward pass, calls it again.

    Autograd keeps the arguments only. Running statistics are those of the first call: gradients and buffers are bit
    for bit as without. A compiler decides for itself what it recomputes, so compiled code is left alone, and so is a
    pass without gradients.

    Args:
        module: whose normalisations must not see the second call.
    """

    def call(function: Callable[..., Tensor], *arguments: Any) -> Tensor:
        if not torch.is_grad_enabled() or torch.compiler.is_compiling():
            return function(*arguments)
        contexts = partial(_first_and_second, module)
        return checkpoint(function, *arguments, use_reentrant=False, context_fn=contexts)

    return call


def _first_and_second(module: nn.Module) -> tuple[nullcontext[None], Any]:
    return nullcontext(), without_statistics(module)


@contextmanager
def without_statistics(module: nn.Module) -> Iterator[None]:
    """Within it, normalisations update copies of their running statistics, which are then thrown away.

    Copies, not a switch, because autograd must keep as many tensors as in the first call.
    """
    norms = [part for part in module.modules() if isinstance(part, _NormBase)]
    own = [(norm, name, buffer) for norm in norms for name, buffer in norm.named_buffers(recurse=False)]
    for norm, name, buffer in own:
        setattr(norm, name, buffer.clone())
    try:
        yield
    finally:
        for norm, name, buffer in own:
            setattr(norm, name, buffer)
