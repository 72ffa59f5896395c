"""Projection with data: from the input on, every layer fitted to what reaches it in the network converted so far."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from torchmg.conversion.observe import Inputs, call, evaluating, first_input, place, to_device
from torchmg.conversion.sites import Site
from torchmg.conversion.warm_start import Moments, project
from torchmg.errors import DivergedError

Fit = Callable[[Site, nn.Module, nn.Module, Moments | None], float]
"""Fills a unit from a site's original, as `project` does; returns the fit error."""


@torch.no_grad()
def project_in_order(
    model: nn.Module, units: Sequence[tuple[Site, nn.Module]], batches: Sequence[Inputs], fit: Fit = project
) -> dict[str, float]:
    """Project the original of every site onto its unit, in the order in which the network calls them.

    With x what a layer gets in the original network and z what it gets with the units before it in place, the kernel
    that is projected is the one whose outputs on z are nearest to the old ones on x (`compensated`), in the norm in
    which errors count as z lets them show. Errors of early layers are so made good by later ones, as far as a linear
    map can. Blocks, and what a forward pass does not call, are projected plainly.

    Args:
        model: the original network; it is the same afterwards.
        units: sites and their fresh units, which are filled.
        batches: inputs; the network runs twice a layer on all of them, up to that layer.
        fit: what fills a unit.

    Returns:
        Path of every site -> fit error, see `project`.

    Raises:
        DivergedError: inputs of a layer that are not finite.
    """
    sites = {site.path: (site, model.get_submodule(site.path), unit) for site, unit in units}
    errors: dict[str, float] = {}
    device = place(model)
    placed = [to_device(inputs, device) for inputs in batches]
    with evaluating(model):
        calls = _calls(model, {path: module for path, (_, module, _) in sites.items()}, placed[0])
        installed: list[tuple[nn.Module, nn.Module]] = []
        for path in [*calls, *(path for path in sites if path not in calls)]:
            site, module, unit = sites[path]
            unit.eval()
            moments = None
            if site.shape is not None and path in calls:
                moments = _moments(model, site, module, calls[path], installed, placed)
            errors[path] = fit(site, module, unit, moments)
            installed.append((module, unit))
    return errors


def _calls(model: nn.Module, modules: Mapping[str, nn.Module], inputs: Inputs) -> dict[str, int]:
    """How often a forward pass calls every module, in the order of first calls."""
    counts: Counter[str] = Counter()

    def count(path: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
            del module, args
            counts[path] += 1

        return hook

    handles = [module.register_forward_pre_hook(count(path)) for path, module in modules.items()]
    try:
        call(model, inputs)
    finally:
        for handle in handles:
            handle.remove()
    return dict(counts)


def _moments(
    model: nn.Module,
    site: Site,
    module: nn.Module,
    calls: int,
    installed: Sequence[tuple[nn.Module, nn.Module]],
    batches: Sequence[Inputs],
) -> Moments:
    """In float64, over positions, samples and calls."""
    assert site.shape is not None
    width, rows = site.shape.in_channels, 0
    cross = own = torch.zeros(width, width, dtype=torch.float64, device=place(model))
    for inputs in batches:
        x = _positions(model, site, module, calls, inputs)
        with _standing_in(installed):
            z = _positions(model, site, module, calls, inputs)
        cross, own, rows = cross + x.T @ z, own + z.T @ z, rows + len(z)
    if not bool(torch.isfinite(cross).all() and torch.isfinite(own).all()):
        raise DivergedError(f"What reaches '{site.path}' on `data` is not finite. Are there NaNs in the data?")
    return cross / max(rows, 1), own / max(rows, 1)


def _positions(model: nn.Module, site: Site, module: nn.Module, calls: int, inputs: Inputs) -> Tensor:
    """What a layer gets, (positions, channels) in float64; the network runs no further than that."""
    assert site.shape is not None
    channels_last = site.shape.dims == 0
    seen: list[Tensor] = []

    def hook(module: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        del module
        x = first_input(args, named).double()
        seen.append(x.reshape(-1, x.shape[-1]) if channels_last else x.transpose(0, 1).flatten(1).T)
        if len(seen) == calls:
            raise _ReachedError

    handle = module.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        call(model, inputs)
    except _ReachedError:
        pass
    finally:
        handle.remove()
    if not seen:  # this batch takes another way
        return torch.zeros(0, site.shape.in_channels, dtype=torch.float64, device=place(model))
    return torch.cat(seen)


class _ReachedError(Exception):
    """Ends a forward pass that has come far enough."""


@contextmanager
def _standing_in(pairs: Sequence[tuple[nn.Module, nn.Module]]) -> Iterator[None]:
    """Inside, modules give what their units give."""

    def give(unit: nn.Module) -> Callable[..., Any]:
        def hook(module: nn.Module, args: tuple[Any, ...], named: dict[str, Any], output: Any) -> Any:
            del module, output
            return unit(first_input(args, named))

        return hook

    # Before a user's hooks, which act on what the unit gives.
    handles = [module.register_forward_hook(give(unit), with_kwargs=True, prepend=True) for module, unit in pairs]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
