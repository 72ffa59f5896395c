"""The hierarchy of resolutions of an MgNet or MGiaD, as a table."""

from collections.abc import Iterable
from itertools import chain

from torch import nn

from torchmg.models.mgnet import MgNet
from torchmg.nn.mgnet import DataFeature
from torchmg.nn.norm import NORMS
from torchmg.nn.sic import SiC
from torchmg.tables import Cell, Table


def resolutions(model: MgNet) -> Table:
    """One row for each resolution, finest first, with the parameters that its modules really have.

    `groups` and `steps` are those of the relation A u = f that passes between resolutions. Where a resolution is solved
    by a cycle over widths, `A and B` and `norms` are sums over all of them, `channel transfers` are its R, Pi and P,
    and `widths` tells how many there are. `R` and `Pi` lead to the next resolution, with their norms if they have any.
    The coefficients of a polynomial B count as B.
    """
    smoothers = [s for s in model.smoothers if isinstance(s, DataFeature | SiC)]
    in_channels = any(isinstance(smoother, SiC) for smoother in smoothers)
    rows = []
    for level, smoother in enumerate(smoothers):
        finest = smoother.finest
        row: list[Cell] = [level, f"1/{2**level}", finest.channels, finest.groups, finest.steps, *_parameters(smoother)]
        if in_channels:
            row[3:3] = [len(smoother.relax) if isinstance(smoother, SiC) else 1]
            row.append(_transfers(smoother) if isinstance(smoother, SiC) else 0)
        last = level == len(smoothers) - 1
        row += [None if last else _size(model.restrict[level]), None]
        if not last and len(model.project):
            row[-1] = _size(model.project[level])
        rows.append(row)
    columns = ["level", "size", "channels", "groups", "steps", "A and B", "norms"]
    if in_channels:
        columns[3:3] = ["widths"]
        columns.append("channel transfers")
    return Table([*columns, "R", "Pi"], rows, _title(model, "MGiaD" if in_channels else "MgNet"), _note(model))


def _title(model: MgNet, kind: str) -> str:
    count = len(model.smoothers)
    scheme = "full approximation scheme" if len(model.project) else "features of each resolution start from 0"
    return f"{kind} hierarchy: {count} resolution{'s' if count > 1 else ''}, {scheme}"


def _note(model: MgNet) -> str:
    return f"parameters {_size(model):,}, of which stem {_size(model.stem):,}, head {_size(model.head):,}"


def _parameters(smoother: DataFeature | SiC) -> tuple[int, int]:
    """(of A and B, of their norms)."""
    relations = [r for r in smoother.modules() if isinstance(r, DataFeature)]
    norms = _size(*(m for r in relations for m in r.modules() if isinstance(m, NORMS)))
    return _size(*relations) - norms, norms


def _transfers(smoother: SiC) -> int:
    """Of R, Pi and P between widths, norms included."""
    return _size(smoother) - _size(smoother.relax)


def _size(*modules: nn.Module) -> int:
    """Parameters of some modules, each tensor once."""
    every: Iterable[nn.Parameter] = chain.from_iterable(module.parameters() for module in modules)
    return sum(parameter.numel() for parameter in {id(p): p for p in every}.values())
