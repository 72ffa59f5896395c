"""What a model is made of, as multigrid hierarchies."""

from torch import nn

from torchmg.models.mgnet import MgNet
from torchmg.models.resolutions import resolutions
from torchmg.nn.mgic import MGICBlock
from torchmg.nn.sic import SiC


def info(model: nn.Module) -> str:
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
