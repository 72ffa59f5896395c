"""What layers and blocks of a network meet when it runs: sizes, inputs and outputs."""

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from torchmg.counting.macs import call_macs, meta_copy
from torchmg.errors import ShapeError, UsageError

Inputs = Tensor | Sequence[Any] | Mapping[str, Any]
"""What a network is called with: one tensor, positional arguments, or keyword arguments."""

Found = TypeVar("Found")


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
    for value in tensors_in(inputs):
        if value.dim():
            return value.shape[0]
    raise UsageError("example_input has no tensor. Give a tensor, a tuple of arguments, or a dict of keyword ones.")


def observe(model: nn.Module, axes: Mapping[str, int], example_input: Inputs) -> dict[str, Seen]:
    """Sizes that modules meet in a forward pass of the whole network, see `tried`.

    Args:
        model: the network; it is not changed.
        axes: path of every module to watch -> where its channels stand, 1 or -1 for the last axis.
        example_input: what the network takes; tensors of any values.

    Raises:
        ShapeError: the network does not run on it.
    """
    samples = max(batch_size(example_input), 1)

    def sizes(copied: nn.Module, inputs: Inputs) -> dict[str, Seen]:
        seen = {path: Seen() for path in axes}

        def watch(path: str) -> Callable[..., None]:
            def hook(module: nn.Module, args: tuple[Any, ...], named: dict[str, Any], output: Tensor) -> None:
                del module
                x, axis = first_input(args, named), axes[path]
                seen[path].inside += x.numel() // x.shape[axis] // samples
                seen[path].outside += output.numel() // output.shape[axis] // samples
                seen[path].samples[tuple(x.shape[1:])] += max(x.shape[0] // samples, 1)

            return hook

        for path in axes:
            copied.get_submodule(path).register_forward_hook(watch(path), with_kwargs=True)
        with torch.no_grad():
            call(copied, inputs)
        return seen

    return tried(model, example_input, sizes)


def macs_of(model: nn.Module, example_input: Inputs) -> int:
    """MACs of one sample of a batch, whatever the network takes, see `tried`.

    Raises:
        ShapeError: the network does not run on it.
    """

    def macs(copied: nn.Module, inputs: Inputs) -> int:
        return sum(call_macs(copied, lambda: call(copied, inputs)).by_path.values())

    return tried(model, example_input, macs) // max(batch_size(example_input), 1)


def tried(model: nn.Module, example_input: Inputs, use: Callable[[nn.Module, Inputs], Found]) -> Found:
    """`use` of a copy of the network in evaluation mode and its inputs, without data or memory for any.

    A network that asks for values, or keeps tensors that are no buffers, does not run so. Then it is a copy with all
    its values, on its own device.

    Raises:
        ShapeError: the network does not run on `example_input`.
    """
    meta = torch.device("meta")
    try:
        return use(meta_copy(model), to_device(example_input, meta))
    except Exception as error:  # the forward of a user's network may raise anything
        device = place(model)
        if device.type == "meta" or any(x.is_meta for x in tensors_in(example_input)):
            raise ShapeError(f"{type(model).__name__} does not run on this example_input: {error}") from error
    real = copied(model, "without example_input and data none is needed").eval()
    try:
        return use(real, to_device(example_input, device))
    except Exception as error:
        raise ShapeError(f"{type(model).__name__} does not run on this example_input: {error}") from error


def copied(model: nn.Module, otherwise: str) -> nn.Module:
    """A copy of a network.

    Args:
        model: the network.
        otherwise: what to do if there can be none, as the end of "... cannot be copied; ".

    Raises:
        UsageError: the network cannot be copied.
    """
    try:
        return copy.deepcopy(model)
    except (RuntimeError, TypeError, NotImplementedError) as error:
        raise UsageError(f"{type(model).__name__} cannot be copied; {otherwise}. The reason: {error}") from error


def first_input(args: Sequence[Any], named: Mapping[str, Any]) -> Tensor:
    """What a layer or block was called with, by place or by name."""
    return args[0] if args else next(iter(named.values()))


@contextmanager
def recorded(modules: Sequence[nn.Module], *, outputs: bool = True) -> Iterator[list[list[tuple[Tensor, Tensor]]]]:
    """Keep, while inside, what goes into every module and what leaves it, detached, one pair for each call.

    That is before and after a user's hooks, which are part of what a module computes.
    """
    pairs: list[list[tuple[Tensor, Tensor]]] = [[] for _ in modules]
    handles: list[RemovableHandle] = []

    def keep(place: int) -> tuple[Callable[..., None], Callable[..., None]]:
        waiting: list[Tensor] = []

        def before(module: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
            del module
            waiting.append(first_input(args, named).detach().clone())  # layers after it may work in place

        def after(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
            del module, args
            x = waiting.pop()
            pairs[place].append((x, output.detach().clone() if outputs else x))

        return before, after

    try:
        for place, module in enumerate(modules):
            before, after = keep(place)
            handles.append(module.register_forward_pre_hook(before, with_kwargs=True, prepend=True))
            handles.append(module.register_forward_hook(after))
        yield pairs
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def in_mode(modules: Iterable[nn.Module], training: bool) -> Iterator[None]:
    """Modules in that mode inside, each in its own after."""
    before = {module: module.training for module in modules}
    for module in before:
        module.training = training
    try:
        yield
    finally:
        for module, own in before.items():
            module.training = own


def evaluating(model: nn.Module) -> AbstractContextManager[None]:
    """Evaluation mode inside, every module's own mode after."""
    return in_mode(model.modules(), training=False)


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


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """What is drawn inside, on the CPU and on the network's device, leaves the generators outside as they were."""
    device = place(model)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


def place(model: nn.Module) -> torch.device:
    """The device of a network: that of its first parameter or buffer."""
    return next((tensor.device for tensor in (*model.parameters(), *model.buffers())), torch.device("cpu"))


def is_meta(model: nn.Module) -> bool:
    """Whether a network, or part of it, has no values."""
    return any(parameter.is_meta for parameter in model.parameters())


def tensors_in(inputs: Any) -> Iterator[Tensor]:
    """All tensors among what a network is called with."""
    if isinstance(inputs, Tensor):
        yield inputs
    elif isinstance(inputs, Mapping | list | tuple):
        for value in inputs.values() if isinstance(inputs, Mapping) else inputs:
            yield from tensors_in(value)
