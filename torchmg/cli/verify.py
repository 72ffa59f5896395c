"""`torchmg verify`: the mathematics, against theory, known solutions and pyamg."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import tyro

from torchmg.cli.output import Output


@dataclass(frozen=True)
class Arguments:
    """Check that the library's modules, given a known operator's weights, are multigrid solvers."""

    grids: tuple[int, ...] = (15, 31, 63, 127, 255)
    """Points a side of the grids, each 2^k - 1."""
    channels: tuple[int, ...] = (16, 64, 256, 1024)
    """Lengths of the chains of channels, each 8 * 2^k."""
    seed: int = 0
    """Of the right-hand sides."""
    out: Path = Path("verify")
    """The picture's file name without ending: .png, .svg and .csv are written."""
    output: Annotated[Output, tyro.conf.OmitArgPrefixes] = field(default_factory=Output)


def main(arguments: Sequence[str]) -> int:
    """Verify; 1 if a check failed."""
    args = tyro.cli(Arguments, args=arguments, prog="torchmg verify")
    import torch

    from torchmg.paper.verify import verify
    from torchmg.train.environment import environment

    found = verify(args.grids, args.channels, args.seed)
    machine = {**environment(torch.device("cpu")), "threads": 1, "pyamg": found.peer}
    args.output.give(found.table(), environment=machine, passed=found.passed)
    if find_spec("matplotlib") is None:
        drawn = "not drawn: pip install 'torchmg[plot]'"
    else:
        from torchmg.plot.convergence import convergence

        drawn = f"{convergence(found, args.out).files[0]} (and .svg, .csv)"
    if not args.output.json:
        print(f"\npicture  {drawn}")
    return 0 if found.passed else 1
