"""The warm start `match`: units learn to give what the dense originals give, from a few batches without labels."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from torchmg.conversion.observe import Inputs, call, evaluating, in_mode, place, recorded, to_device, undisturbed
from torchmg.errors import DivergedError, UsageError

STEPS = 200
"""Batches that units learn from, the second half of them with their own features beside the dense network's."""
RATE = 3e-3
"""Adam's first rate, which falls to zero as a half cosine; the losses are relative, so it fits any width."""
Recorded = list[tuple[Tensor, Tensor]]
"""Inputs and outputs of a module, call by call."""


def batches_of(data: Iterable[Any]) -> list[Inputs]:
    """The inputs in `data`: tensors or dicts as they are; of pairs (inputs, targets) the first.

    One tensor or dict alone is one batch.

    Raises:
        UsageError: nothing in it, or an entry of another kind.
    """
    found: list[Inputs] = []
    for entry in [data] if isinstance(data, Tensor | Mapping) else data:
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

    In the first half of the steps a unit gets what its original got; in the second also what reaches it in
    the converted network, errors of the units before it included, and still has to give what the original gave. With
    the latter alone units forget the former on few data, and the network's output is farther off. The loss of a unit is
    its squared error relative to the original's squared output, so that no layer counts more for being loud.

    Units learn in float32 at least, and frozen ones too; type and freezing are theirs again after. Units that are never
    called keep the weights they have.

    Args:
        dense: the original network.
        converted: the network with the units in place; only their parameters and statistics change.
        pairs: (original module in `dense`, its unit in `converted`), each called equally often.
        batches: what the networks are called with, taken in turn.
        steps: see `STEPS`.
        rate: see `RATE`.

    Raises:
        DivergedError: an error that is no finite number.
    """
    originals, units = [old for old, _ in pairs], [new for _, new in pairs]
    learners = [_learner(unit) for unit in units]
    parameters = [p for learner in learners for p in learner.parameters()]
    if not parameters:
        return
    device = parameters[0].device
    optimizer = torch.optim.Adam(parameters, lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps, 1))
    with undisturbed(converted), evaluating(dense), evaluating(converted):
        for step in range(steps):
            inputs = to_device(batches[step % len(batches)], device)
            with torch.no_grad(), recorded(originals) as targets:
                call(dense, inputs)
            given = [targets]
            if step >= steps // 2:
                _hand_in(learners, units)
                with torch.no_grad(), recorded(units, outputs=False) as reached:
                    call(converted, inputs)
                given.append(reached)
            optimizer.zero_grad(set_to_none=True)
            with torch.enable_grad():
                for learner, wanted, *asked in zip(learners, targets, *given, strict=True):
                    with norms_learning(learner):
                        _learn(learner, wanted, asked)
            optimizer.step()
            schedule.step()
    _hand_in(learners, units)


def _learn(learner: nn.Module, wanted: Recorded, asked: Sequence[Recorded]) -> None:
    """Add the gradients of one unit's loss, the mean over the kinds of inputs that it is `asked` for."""
    for inputs in asked:
        for (x, _), (_, y) in zip(inputs, wanted, strict=True):
            loss = relative_error(learner(_single(x)), _single(y)) / len(asked)
            if not torch.isfinite(loss):
                raise DivergedError("The warm start diverged: an output is no finite number. Are there NaNs in data?")
            loss.backward()


def _learner(unit: nn.Module) -> nn.Module:
    """What learns for a unit: a copy that is not frozen and has no half precision."""
    learner = copy.deepcopy(unit).requires_grad_(True).eval()
    for tensor in (*learner.parameters(), *learner.buffers()):
        tensor.data = _single(tensor.data)
    return learner


@torch.no_grad()
def _hand_in(learners: Sequence[nn.Module], units: Sequence[nn.Module]) -> None:
    """Give every unit what its learner has learnt."""
    for learner, unit in zip(learners, units, strict=True):
        own, learnt = ((*m.parameters(), *m.buffers()) for m in (unit, learner))
        for tensor, value in zip(own, learnt, strict=True):
            tensor.copy_(value)


def _single(x: Tensor) -> Tensor:
    """Half precision in single, all else as it is."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def relative_error(y: Tensor, target: Tensor) -> Tensor:
    """Squared error over the squared target, both summed; 0 where they are equal, 1 for an output of zeros."""
    return (y - target).square().sum() / target.square().sum().clamp_min(1e-12)


@torch.no_grad()
def output_errors(
    dense: nn.Module, pairs: Sequence[tuple[nn.Module, nn.Module]], batches: Sequence[Inputs]
) -> list[float | None]:
    """||unit(x) - original(x)|| / ||original(x)|| of every pair, over what the originals get in the dense network.

    None for a pair whose original was never called.
    """
    sums = [[0.0, 0.0] for _ in pairs]
    device = place(dense)
    called = [False] * len(pairs)
    with undisturbed(dense), evaluating(dense):
        for inputs in batches:
            with recorded([old for old, _ in pairs]) as seen:
                call(dense, to_device(inputs, device))
            for which, (_, unit) in enumerate(pairs):
                with evaluating(unit):
                    for x, y in seen[which]:
                        sums[which][0] += (unit(x) - y).double().square().sum().item()
                        sums[which][1] += y.double().square().sum().item()
                        called[which] = True
    errors = [(error / max(size, 1e-30)) ** 0.5 for error, size in sums]
    return [error if ran else None for error, ran in zip(errors, called, strict=True)]


@torch.no_grad()
def reestimate_norms(model: nn.Module, batches: Sequence[Inputs]) -> None:
    """Give every batch norm that tracks statistics those of `batches`, all weighing the same; nothing else changes.

    A norm that is never called keeps its own.
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if not norms:
        return
    device = place(model)
    momenta, statistics = [norm.momentum for norm in norms], kept_norms(model)
    try:
        with undisturbed(model), evaluating(model), norms_learning(model):
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None  # a plain mean over batches
            for inputs in batches:
                call(model, to_device(inputs, device))
    except BaseException:
        restore_norms(statistics)
        raise
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
    restore_norms({norm: statistics[norm] for norm in norms if not norm.num_batches_tracked})


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


def norms_learning(model: nn.Module) -> AbstractContextManager[None]:
    """Batch norms in training mode inside, and nothing else."""
    return in_mode((module for module in model.modules() if isinstance(module, _BatchNorm)), training=True)
