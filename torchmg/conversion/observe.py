"""What layers and blocks of a network meet when it runs: sizes, inputs and outputs."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from torchmg.counting.macs import meta_copy
from torchmg.errors import ShapeError, UsageError

Inputs = Tensor | Sequence[Any] | Mapping[str, Any]
"""What a network is called with: one tensor, positional arguments, or keyword arguments."""


@dataclass
class Seen:
    """What one module met in one forward pass, for each sample of the batch; several calls add up."""

    inside: int = 0
    """Input positions: elements over channels."""
    outside: int = 0
    """Output positions."""
    samples: Counter[tuple[int, ...]] = field(default_factory=Counter)
    """Input sizes (channels, *spatial) and how often a sample came in with them."""


def call(model: nn.Module, inputs: Inputs) -> Any:
    """Run a network on what it takes."""
    if isinstance(inputs, Tensor):
        return model(inputs)
    return model(**inputs) if isinstance(inputs, Mapping) else model(*inputs)


def to_device(inputs: Any, device: torch.device) -> Any:
    """The same inputs with all tensors on a device."""
    if isinstance(inputs, Tensor):
        return inputs.to(device)
    if isinstance(inputs, Mapping):
        return {key: to_device(value, device) for key, value in inputs.items()}
    return tuple(to_device(value, device) for value in inputs) if isinstance(inputs, list | tuple) else inputs


def batch_size(inputs: Inputs) -> int:
    """Samples in a batch: the first axis of the first tensor.

    Raises:
        UsageError: no tensor.
    """
    values = [inputs] if isinstance(inputs, Tensor) else inputs.values() if isinstance(inputs, Mapping) else inputs
    for value in values:
        if isinstance(value, Tensor) and value.dim():
            return value.shape[0]
    raise UsageError("example_input has no tensor. Give a tensor, a tuple of arguments, or a dict of keyword ones.")


def observe(model: nn.Module, axes: Mapping[str, int], example_input: Inputs) -> dict[str, Seen]:
    """Sizes that modules meet in a forward pass of the whole network, which is run without data or memory for any.

    Args:
        model: the network; it is not changed.
        axes: path of every module to watch -> where its channels stand, 1 or -1 for the last axis.
        example_input: what the network takes; tensors of any values.

    Raises:
        ShapeError: the network does not run on it.
    """
    samples = batch_size(example_input)
    ghost = meta_copy(model)
    seen = {path: Seen() for path in axes}

    def watch(path: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            del module
            x, axis = args[0], axes[path]
            seen[path].inside += x.numel() // x.shape[axis] // samples
            seen[path].outside += output.numel() // output.shape[axis] // samples
            seen[path].samples[tuple(x.shape[1:])] += max(x.shape[0] // samples, 1)

        return hook

    for path in axes:
        ghost.get_submodule(path).register_forward_hook(watch(path))
    try:
        with torch.no_grad():
            call(ghost, to_device(example_input, torch.device("meta")))
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        raise ShapeError(f"{type(model).__name__} does not run on this example_input: {error}") from error
    return seen


@contextmanager
def recorded(modules: Sequence[nn.Module], *, outputs: bool = True) -> Iterator[list[list[tuple[Tensor, Tensor]]]]:
    """Keep, while inside, what goes into every module and what leaves it, detached, one pair for each call."""
    pairs: list[list[tuple[Tensor, Tensor]]] = [[] for _ in modules]
    handles: list[RemovableHandle] = []

    def keep(place: int) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
            del module
            x = args[0].detach().clone()  # what follows may work in place
            pairs[place].append((x, output.detach().clone() if outputs else x))

        return hook

    try:
        for place, module in enumerate(modules):
            handles.append(module.register_forward_hook(keep(place)))
        yield pairs
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside, every module's own mode after."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def first_tensor(output: Any) -> Tensor:
    """The first floating tensor in what a network gives: the logits of all task models that are known here.

    Raises:
        UsageError: there is none.
    """
    if isinstance(output, Tensor) and output.is_floating_point():
        return output
    values = output.values() if isinstance(output, Mapping) else output if isinstance(output, list | tuple) else ()
    for value in values:
        if isinstance(value, Tensor | Mapping | list | tuple):
            return first_tensor(value)
    raise UsageError(f"The network gives {type(output).__name__}, in which there is no floating tensor.")
