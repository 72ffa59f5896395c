"""A network under small disturbances: how input perturbations grow over depth, what rounded activations cost.

Both are what the stability theory of symmetric layers is about (lowcost spec 2.2, 3.6 item 4; the quantised networks of
arXiv:2109.00095, of whose features spec 3.3 has the errors).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from torchmg.errors import UsageError
from torchmg.nn.steps import TimeStep
from torchmg.nn.time_steps import TimeSteps
from torchmg.study.rounding import Grid, Quantiser

Seen = Callable[[int, tuple[Any, ...], Tensor], Tensor | None]
"""Called with a site's number, what went in and what came out; what it returns goes on in place of the latter."""


def sites(model: nn.Module) -> tuple[str, ...]:
    """Where a network is looked at: behind every time step, or else behind every block of its stages; dotted paths.

    A block of time steps that does not call its steps one by one (leapfrog, whose state is two maps) is one site.

    Raises:
        UsageError: neither time steps nor `feature_info`.
    """
    if steps := tuple(_steps(model, "")):
        return steps
    found = []
    infos = getattr(model, "feature_info", None)
    for info in infos if isinstance(infos, list) else ():
        stage = model.get_submodule(info["module"])
        inside = [f"{info['module']}.{name}" for name, _ in stage.named_children()]
        found += inside if isinstance(stage, nn.Sequential) else [info["module"]]
    if not found:
        raise UsageError(
            f"A {type(model).__name__} has neither time steps nor feature_info, so nothing says where its depth is "
            "to be measured. Take a classifier of torchmg, such as parabolic or resnet20."
        )
    return tuple(dict.fromkeys(found))


def _steps(module: nn.Module, path: str) -> Iterator[str]:
    one_by_one = type(module).forward is nn.Sequential.forward
    if isinstance(module, TimeStep) or (isinstance(module, TimeSteps) and not one_by_one):
        yield path
        return
    for name, child in module.named_children():
        yield from _steps(child, f"{path}.{name}" if path else name)


@contextmanager
def watched(model: nn.Module, names: Sequence[str], seen: Seen) -> Iterator[None]:
    """While active, `seen` is called at every site of a forward pass."""

    def hook(index: int) -> Callable[..., Tensor | None]:
        return lambda _, inputs, output: seen(index, inputs, output)

    handles = [model.get_submodule(name).register_forward_hook(hook(i)) for i, name in enumerate(names)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def full_precision() -> Iterator[None]:
    """While active, convolutions and products on a GPU keep all digits of float32: TF32 would drown perturbations."""
    switches: tuple[Any, ...] = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [switch.allow_tf32 for switch in switches]
    try:
        for switch in switches:
            switch.allow_tf32 = False
        yield
    finally:
        for switch, value in zip(switches, before, strict=True):
            switch.allow_tf32 = value


@torch.no_grad()
def ranges(model: nn.Module, names: Sequence[str], batches: Iterable[Tensor]) -> list[tuple[float, float]]:
    """Smallest and largest value behind every site, over all batches of inputs, in full precision.

    Raises:
        UsageError: a site that the network does not pass once, or that gives no tensor.
    """
    found = [(float("inf"), -float("inf"))] * len(names)
    passed = [0] * len(names)

    def seen(index: int, _: tuple[Any, ...], output: Tensor) -> None:
        if not isinstance(output, Tensor):
            raise UsageError(f"{names[index]} gives a {type(output).__name__}, which cannot be measured.")
        low, high = (value.item() for value in output.aminmax())
        found[index] = (min(found[index][0], low), max(found[index][1], high))
        passed[index] += 1

    count = 0
    with watched(model, names, seen), full_precision():
        for batch in batches:
            model(batch)
            count += 1
    if missed := [name for name, times in zip(names, passed, strict=True) if times != count]:
        raise UsageError(f"The network does not pass {', '.join(missed)} exactly once, so there is no order in depth.")
    return found


@dataclass(frozen=True)
class Course:
    """A ratio over depth: mean and largest over images."""

    mean: tuple[float, ...]
    largest: tuple[float, ...]


@dataclass(frozen=True)
class Disturbed:
    """What disturbances do to one network; courses that end with the logits are one longer than `sites`."""

    sites: tuple[str, ...]
    images: int
    growth: Mapping[float, Course]
    """Size of the perturbation -> |F_j(x + e) - F_j(x)| / |F_j(x)| over |e| / |x|, behind every site and at the
    logits."""
    expansion: Mapping[float, Course]
    """The same size -> |F_j(x + e) - F_j(x)| over that of the site's own input: what theorems bound by 1. Empty where
    a site has several inputs."""
    error: Mapping[int, tuple[float, ...]]
    """Bits -> normalised mean squared error, the sum of |Q_j(x) - F_j(x)|^2 over the sum of |F_j(x)|^2, behind every
    site, its own rounding included, and at the logits, which are not rounded."""
    accuracy: float
    """Of the network as it is, in percent."""
    rounded_accuracy: Mapping[int, float]
    """Bits -> accuracy with rounded activations, in percent."""
    same: Mapping[int, float]
    """Bits -> images that are still given the same class, in percent."""


@torch.no_grad()
def disturb(
    model: nn.Module,
    names: Sequence[str],
    batches: Iterable[tuple[Tensor, Tensor, Tensor]],
    *,
    perturbations: Sequence[float] = (),
    bits: Sequence[int] = (),
    limits: Sequence[tuple[float, float]] = (),
    grid: Grid = "affine",
) -> Disturbed:
    """Perturb the inputs of a classifier, and round what comes out of its sites; its weights stay as they are.

    A perturbation of relative size s adds s |x| / |d| d to an image x with direction d. Rounding takes place behind
    every site, so that errors travel on; everything else is computed in floating point.

    Args:
        model: images (B, C, H, W) to logits (B, classes), in evaluation mode.
        names: as `sites` gives them.
        batches: (images, labels, directions), directions of the shape of the images.
        perturbations: relative sizes.
        bits: of the rounded activations, 2 to 16.
        limits: as `ranges` gives them; needed with bits only.
        grid: see `Grid`.

    Raises:
        UsageError: no batches, or features or logits that are not finite.
    """
    rounders = {b: [Quantiser(low, high, b, grid) for low, high in limits] for b in bits}
    ratios: dict[float, list[Tensor]] = {size: [] for size in perturbations}
    steps: dict[float, list[Tensor]] = {size: [] for size in perturbations}
    squares: dict[int, Tensor] = {}
    right, count, energy, hits, same = 0, 0, torch.zeros(()), dict.fromkeys(bits, 0), dict.fromkeys(bits, 0)
    single = True
    with full_precision():
        for x, labels, direction in batches:
            plain = _trace(model, names, x)
            single = single and plain.single
            sizes = _norms(plain.outputs)
            if not bool(sizes.isfinite().all()):
                raise UsageError("The network gives values that are not finite. Was its training broken off?")
            chosen = plain.outputs[-1].argmax(1)
            count, right = count + len(x), right + int((chosen == labels).sum())
            energy = energy.to(sizes) + sizes.square().sum(1)
            for size in perturbations:
                e = direction * (size * _norm(x) / _norm(direction)).to(x.dtype).view(-1, *(1,) * (x.dim() - 1))
                other = _trace(model, names, x + e)
                apart = _norms(_differences(other.outputs, plain.outputs))
                ratios[size].append(_over(_over(apart, sizes), _norm(e) / _norm(x)))
                if single:
                    steps[size].append(_over(apart[:-1], _norms(_differences(other.inputs, plain.inputs))))
            for b, quantisers in rounders.items():
                other = _trace(model, names, x, quantisers)
                squared = _norms(_differences(other.outputs, plain.outputs)).square().sum(1)
                squares[b] = squares[b] + squared if b in squares else squared
                answers = other.outputs[-1].argmax(1)
                hits[b] += int((answers == labels).sum())
                same[b] += int((answers == chosen).sum())
    if not count:
        raise UsageError("There are no images to disturb the network with.")
    return Disturbed(
        tuple(names),
        count,
        {size: _course(found) for size, found in ratios.items()},
        {size: _course(found) for size, found in steps.items()} if single else {},
        {b: tuple(_over(squared, energy).tolist()) for b, squared in squares.items()},
        100 * right / count,
        {b: 100 * hit / count for b, hit in hits.items()},
        {b: 100 * kept / count for b, kept in same.items()},
    )


@dataclass
class _Trace:
    """One forward pass: what went into every site and what came out, and the logits last."""

    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    single: bool = True


def _trace(model: nn.Module, names: Sequence[str], x: Tensor, rounders: Sequence[Quantiser] = ()) -> _Trace:
    trace = _Trace()

    def seen(index: int, inputs: tuple[Any, ...], output: Tensor) -> Tensor | None:
        trace.single = trace.single and len(inputs) == 1 and isinstance(inputs[0], Tensor)
        rounded = rounders[index](output) if rounders else None
        trace.inputs.append(inputs[0])
        # a copy: what follows may work in place
        trace.outputs.append(output.clone() if rounded is None else rounded.clone())
        return rounded

    with watched(model, names, seen):
        trace.outputs.append(model(x))
    return trace


def _norm(x: Tensor) -> Tensor:
    """Of each sample, float64 (B,)."""
    return torch.linalg.vector_norm(x.flatten(1), dim=1, dtype=torch.float64)


def _norms(tensors: Iterable[Tensor]) -> Tensor:
    return torch.stack([_norm(x) for x in tensors])


def _differences(some: Sequence[Tensor], others: Sequence[Tensor]) -> Iterator[Tensor]:
    return (a - b for a, b in zip(some, others, strict=True))


def _over(one: Tensor, other: Tensor) -> Tensor:
    """The ratio; 0 / 0 is 0."""
    return one / other.clamp_min(torch.finfo(other.dtype).tiny)


def _course(found: Sequence[Tensor]) -> Course:
    every = torch.cat(list(found), 1)
    return Course(tuple(every.mean(1).tolist()), tuple(every.amax(1).tolist()))
