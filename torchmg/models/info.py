"""What a model is made of, as multigrid hierarchies."""

from torch import nn

from torchmg.nn.mgic import MGICBlock
from torchmg.nn.sic import SiC


def info(model: nn.Module) -> str:
    """The hierarchies inside a model: one table for each run of equal blocks, in the order of the network.

    A model without MGIC blocks says so.
    """
    runs: list[tuple[str, str, str]] = []
    for path, module in model.named_modules():
        if isinstance(module, MGICBlock | SiC):
            table = repr(module)
            if runs and runs[-1][2] == table:
                runs[-1] = (runs[-1][0], path, table)
            else:
                runs.append((path, path, table))
    if not runs:
        return f"{type(model).__name__}: no multigrid blocks; every level is the finest one."
    return "\n\n".join(f"{first if first == last else f'{first} to {last}'}\n{table}" for first, last, table in runs)
