"""What a model is made of: multigrid hierarchies, and channel couplings with how they scale."""

from collections.abc import Iterator
from dataclasses import dataclass
from inspect import Parameter, signature
from typing import Any

import torch
from torch import nn

from torchmg.models.mgnet import MgNet
from torchmg.models.resolutions import resolutions
from torchmg.nn.certified import WrappedCoupling
from torchmg.nn.coupling import ChannelCoupling
from torchmg.nn.mgic import MGICBlock
from torchmg.nn.sic import SiC
from torchmg.tables import Table

COLUMNS = (
    "where",
    "coupling",
    "channels",
    "kernel",
    "number",
    "parameters",
    "MACs per pixel",
    "grows",
    "reach",
    "norm bound",
)
NOTE = """\
Equal couplings share a row, from the first to the last; parameters and MACs are those of each, MACs for each pixel that
comes out. grows: the weights over the width, other sizes fixed. reach: layers until every channel can influence every
other; -: widths differ, and one layer does not do it. norm bound: no such coupling's operator norm is larger, on maps
of any size, with the weights of now; not how large it is."""


def info(model: nn.Module) -> str:
    """The hierarchies inside a model, then its channel couplings if it has any; see `hierarchies`, `couplings`."""
    table = couplings(model)
    return hierarchies(model) + (f"\n\n{table}" if table else "")


def hierarchies(model: nn.Module) -> str:
    """The hierarchies inside a model, in the order of the network.

    One table for each run of equal blocks with a hierarchy of widths, `MGICBlock` or `SiC`, and one of its resolutions
    for each `MgNet`, before those of its blocks. A model without any says so.
    """
    runs: list[tuple[str, str, str]] = []
    for path, module in model.named_modules():
        table = _table(module)
        if table and runs and runs[-1][2] == table:
            runs[-1] = (runs[-1][0], path, table)
        elif table:
            runs.append((path, path, table))
    if not runs:
        return f"{type(model).__name__}: no multigrid blocks; every level is the finest one."
    return "\n\n".join(f"{_places(first, last)}{table}" for first, last, table in runs)


def _table(module: nn.Module) -> str:
    """The printed hierarchy of a module that has one of its own, else nothing."""
    if isinstance(module, MgNet):
        return str(resolutions(module))
    return repr(module) if isinstance(module, MGICBlock | SiC) else ""


def _places(first: str, last: str) -> str:
    """A line that says where a run stands; none for the model itself."""
    if first == last:
        return f"{first}\n" if first else ""
    return f"{first} to {last}\n"


@dataclass
class _Run:
    """Equal couplings: the first, the places of the first and the last, how many, their largest bound."""

    coupling: ChannelCoupling
    first: str
    last: str
    number: int
    bound: float | None


def couplings(model: nn.Module) -> Table | None:
    """How the channel couplings in a model scale, one row for all that are equal but for their weights.

    Where they stand, which they are with the options that are not the default, widths, kernel, how many; parameters
    and MACs for each output pixel; how the weights grow with the width; after how many layers every channel can
    influence every other, or "never" (None where widths differ and one layer does not couple all); and the largest
    of their `norm_bound`s with the weights of now, to three digits. A coupling that is made of others (multigrid, a
    certified one) is one coupling. On the meta device there are no numbers: reach and bound are None.

    Returns:
        None if there is no `ChannelCoupling`; grouped convolutions of torch are none.
    """
    runs: dict[Any, _Run] = {}
    for path, coupling in _outermost(model):
        key, bound = _sizes(coupling), _bound(coupling)
        run = runs.setdefault(key, _Run(coupling, path, path, 0, bound))
        run.last, run.number = path, run.number + 1
        run.bound = bound if run.bound is None or bound is None else max(run.bound, bound)
    rows = [
        (
            f"{run.first} to {run.last}" if run.number > 1 else run.first or "the model",
            _called(run.coupling),
            f"{run.coupling.in_channels} -> {run.coupling.out_channels}",
            "x".join([str(run.coupling.kernel_size)] * run.coupling.dims),
            run.number,
            run.coupling.num_params(),
            run.coupling.macs_per_pixel(),
            run.coupling.growth,
            _reach(run.coupling),
            None if run.bound is None else float(f"{run.bound:.3g}"),
        )
        for run in runs.values()
    ]
    return Table(COLUMNS, rows, "Channel couplings", NOTE) if rows else None


def _outermost(
    module: nn.Module, path: str = "", seen: set[int] | None = None
) -> Iterator[tuple[str, ChannelCoupling]]:
    """Couplings and their places, none of those inside of others, none twice."""
    seen = set() if seen is None else seen
    if id(module) in seen:
        return
    seen.add(id(module))
    if isinstance(module, ChannelCoupling):
        yield path, module
        return
    for name, child in module.named_children():
        yield from _outermost(child, f"{path}.{name}" if path else name, seen)


def _sizes(coupling: ChannelCoupling) -> Any:
    """What couplings have in common that are equal but for their weights: their kind and all plain attributes."""
    plain = {name: value for name, value in vars(coupling).items() if name[0] != "_" and name != "training"}
    if isinstance(coupling, WrappedCoupling):  # what its factor depends on is not about its shape
        plain = {"coupling": _sizes(coupling.coupling)}
    shapes = [(name, tuple(weight.shape)) for name, weight in coupling.named_parameters()]
    return type(coupling), repr(sorted(plain.items())), repr(shapes)


def _called(coupling: ChannelCoupling) -> str:
    """Its name and the options that differ from the default, `bounded` behind that of what is bounded."""
    if isinstance(coupling, WrappedCoupling):
        return f"{_called(coupling.coupling)}, {coupling.name}"
    # A user's member may have any options; those that it keeps under their names are told.
    own = {**vars(getattr(coupling, "hierarchy", coupling)), **vars(coupling)}
    options = {"stride": 1, "padding": "zeros"} | {
        option.name: option.default
        for option in signature(type(coupling).__init__).parameters.values()
        if option.kind is Parameter.KEYWORD_ONLY and option.default is not None
    }
    given = [f"{name}={own[name]}" for name, default in options.items() if name in own and own[name] != default]
    return ", ".join([coupling.name, *given])


def _reach(coupling: ChannelCoupling) -> int | str | None:
    if _on_meta(coupling):
        return None
    layers = coupling.reach()
    square = coupling.in_channels == coupling.out_channels
    return "never" if layers is None and square else layers


@torch.no_grad()
def _bound(coupling: ChannelCoupling) -> float | None:
    return None if _on_meta(coupling) else coupling.norm_bound().item()


def _on_meta(coupling: ChannelCoupling) -> bool:
    return any(weight.is_meta for weight in coupling.parameters())
