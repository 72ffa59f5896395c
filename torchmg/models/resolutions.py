"""The hierarchy of resolutions of an MgNet or MGiaD, as a table."""

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
    rows = [_row(model, level, smoother, in_channels) for level, smoother in enumerate(smoothers)]
    title, note = _title(model, "MGiaD" if in_channels else "MgNet"), _note(model)
    return Table(list(rows[0]), [list(row.values()) for row in rows], title, note)


def _row(model: MgNet, level: int, smoother: DataFeature | SiC, in_channels: bool) -> dict[str, Cell]:
    """Column -> cell of one resolution; without cycles over widths the columns that tell of them are left out."""
    sic = smoother if isinstance(smoother, SiC) else None
    finest, relations = smoother.finest, [r for r in smoother.modules() if isinstance(r, DataFeature)]
    norms = _size(*(m for r in relations for m in r.modules() if isinstance(m, NORMS)))
    row: dict[str, Cell] = {"level": level, "size": f"1/{2**level}", "channels": finest.channels}
    if in_channels:
        row["widths"] = len(sic.relax) if sic else 1
    row |= {"groups": finest.groups, "steps": finest.steps, "A and B": _size(*relations) - norms, "norms": norms}
    if in_channels:
        row["channel transfers"] = _size(sic) - _size(sic.relax) if sic else 0
    for name, transfers in (("R", model.restrict), ("Pi", model.project)):
        row[name] = _size(transfers[level]) if level < len(transfers) else None
    return row


def _title(model: MgNet, kind: str) -> str:
    count = len(model.smoothers)
    scheme = "full approximation scheme" if len(model.project) else "features of each resolution start from 0"
    return f"{kind} hierarchy: {count} resolution{'s' if count > 1 else ''}, {scheme}"


def _note(model: MgNet) -> str:
    return f"parameters {_size(model):,}, of which stem {_size(model.stem):,}, head {_size(model.head):,}"


def _size(*modules: nn.Module) -> int:
    """Parameters of some modules, each tensor once."""
    return sum(parameter.numel() for parameter in nn.ModuleList(modules).parameters())
