"""The warm start `match`: units learn to give what the dense originals give, from a few batches without labels."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from torchmg.conversion.observe import Inputs, call, evaluating, recorded, to_device
from torchmg.errors import DivergedError, UsageError

STEPS = 200
"""Batches that units learn from, half of them with the dense network's features and half with their own."""
RATE = 3e-3
"""Adam's first rate, which falls to zero as a half cosine; the losses are relative, so it fits any width."""


def batches_of(data: Iterable[Any]) -> list[Inputs]:
    """The inputs in `data`: tensors or dicts as they are; of pairs (inputs, targets) the first.

    Raises:
        UsageError: nothing in it, or an entry of another kind.
    """
    found: list[Inputs] = []
    for entry in data:
        entry = entry[0] if isinstance(entry, list | tuple) and entry else entry
        if not isinstance(entry, Tensor | Mapping):
            raise UsageError(
                f"data must give tensors, dicts of them, or pairs (inputs, targets); got {type(entry).__name__}."
            )
        found.append(entry)
    if not found:
        raise UsageError("data gave no batch. A few batches of inputs are enough, 512 samples say.")
    return found


def match(
    dense: nn.Module,
    converted: nn.Module,
    pairs: Sequence[tuple[nn.Module, nn.Module]],
    batches: Sequence[Inputs],
    *,
    steps: int = STEPS,
    rate: float = RATE,
) -> None:
    """Regress every unit on its original, all at once: each step runs the dense network once and every unit once.

    In the first half of the steps a unit gets what its original got; in the second what reaches it in the converted
    network, errors of the units before it included, and still has to give what the original gave. The loss of a unit is
    its squared error relative to the original's squared output, so that no layer counts more for being loud.

    Args:
        dense: the original network.
        converted: the network with the units in place; only their parameters change.
        pairs: (original module in `dense`, its unit in `converted`), each called equally often.
        batches: what the networks are called with, taken in turn.
        steps: see `STEPS`.
        rate: see `RATE`.

    Raises:
        DivergedError: an error that is no finite number.
    """
    originals, units = [old for old, _ in pairs], [new for _, new in pairs]
    parameters = [p for unit in units for p in unit.parameters() if p.requires_grad]
    device = parameters[0].device
    optimizer = torch.optim.Adam(parameters, lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps, 1))
    with evaluating(dense), evaluating(converted):
        for step in range(steps):
            inputs = to_device(batches[step % len(batches)], device)
            with torch.no_grad(), recorded(originals) as targets:
                call(dense, inputs)
            given = targets
            if step >= steps // 2:
                with torch.no_grad(), recorded(units, outputs=False) as given:
                    call(converted, inputs)
            optimizer.zero_grad(set_to_none=True)
            with torch.enable_grad():
                for unit, asked, wanted in zip(units, given, targets, strict=True):
                    with norms_learning(unit):
                        for (x, _), (_, y) in zip(asked, wanted, strict=True):
                            loss = relative_error(unit(x), y)
                            if not torch.isfinite(loss):
                                raise DivergedError("The warm start diverged: an output is no finite number.")
                            loss.backward()
            optimizer.step()
            schedule.step()


def relative_error(y: Tensor, target: Tensor) -> Tensor:
    """Squared error over the squared target, both summed; 0 where they are equal, 1 for an output of zeros."""
    return (y - target).square().sum() / target.square().sum().clamp_min(1e-12)


@torch.no_grad()
def output_errors(
    dense: nn.Module, pairs: Sequence[tuple[nn.Module, nn.Module]], batches: Sequence[Inputs]
) -> list[float]:
    """||unit(x) - original(x)|| / ||original(x)|| of every pair, over what the originals get in the dense network."""
    sums = [[0.0, 0.0] for _ in pairs]
    device = next(dense.parameters()).device
    with evaluating(dense):
        for inputs in batches:
            with recorded([old for old, _ in pairs]) as seen:
                call(dense, to_device(inputs, device))
            for place, (_, unit) in enumerate(pairs):
                with evaluating(unit):
                    for x, y in seen[place]:
                        sums[place][0] += (unit(x) - y).square().sum().item()
                        sums[place][1] += y.square().sum().item()
    return [(error / max(size, 1e-30)) ** 0.5 for error, size in sums]


@torch.no_grad()
def reestimate_norms(model: nn.Module, batches: Sequence[Inputs]) -> None:
    """Give every batch norm that tracks statistics those of `batches`, all weighing the same; nothing else changes."""
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if not norms:
        return
    device = next(model.parameters()).device
    before = [norm.momentum for norm in norms]
    with evaluating(model), norms_learning(model):
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain mean over batches
        for inputs in batches:
            call(model, to_device(inputs, device))
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum


def kept_norms(model: nn.Module) -> dict[nn.Module, dict[str, Tensor]]:
    """Copies of the statistics of every batch norm, which `restore_norms` puts back."""
    return {
        module: {name: buffer.clone() for name, buffer in module.named_buffers(recurse=False)}
        for module in model.modules()
        if isinstance(module, _BatchNorm)
    }


@torch.no_grad()
def restore_norms(kept: Mapping[nn.Module, Mapping[str, Tensor]]) -> None:
    """Put statistics back, where the norms are now."""
    for module, buffers in kept.items():
        for name, buffer in module.named_buffers(recurse=False):
            buffer.copy_(buffers[name])


@contextmanager
def norms_learning(model: nn.Module) -> Iterator[None]:
    """Batch norms in training mode inside, and nothing else."""
    norms = {m: m.training for m in model.modules() if isinstance(m, _BatchNorm)}
    for norm in norms:
        norm.train()
    try:
        yield
    finally:
        for norm, training in norms.items():
            norm.training = training
