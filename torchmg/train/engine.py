"""Lightning Fabric, set up for one recipe: device, precision, processes."""

import logging
import warnings
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import torch

from torchmg.errors import MissingExtraError, TorchmgError, UsageError
from torchmg.train.releases import BAD_RELEASES

if TYPE_CHECKING:
    from lightning.fabric import Fabric

    from torchmg.train.recipe import Precision


def pick_device(device: str) -> torch.device:
    """`auto` is the first CUDA device where there is one, else the CPU.

    Raises:
        UsageError: not a device name, or one that this machine lacks.
    """
    if device == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        picked = torch.device(device)
    except RuntimeError:
        picked = torch.device("meta")
    if picked.type == "cpu":
        return picked
    available = torch.cuda.device_count()
    if picked.type == "cuda" and (picked.index or 0) < available:
        return torch.device("cuda", picked.index or 0)
    known = ["auto", "cpu", *(f"cuda:{n}" for n in range(available))]
    raise UsageError(f"There is no device '{device}' here. Devices: {', '.join(known)}.")


def engine(device: str, precision: "Precision") -> "Fabric":
    """A launched Fabric on one device.

    Raises:
        MissingExtraError: lightning is not installed.
        TorchmgError: the installed release is one of those known to be malicious.
    """
    picked = pick_device(device)
    try:
        installed = version("lightning")
    except PackageNotFoundError as error:
        raise MissingExtraError("Training", "train") from error
    if installed in BAD_RELEASES:
        raise TorchmgError(f"lightning {installed} is a known malicious release: not importing it. Upgrade to >=2.6.6.")
    with warnings.catch_warnings():
        # its imports warn about deprecations inside its own dependencies, which nobody here can act on
        warnings.simplefilter("ignore")
        from lightning.fabric import Fabric
    before = logging.root.manager.disable
    logging.disable(logging.INFO)  # it announces the precision, even to those who asked for quiet
    try:
        fabric = Fabric(
            accelerator=picked.type,
            devices=[picked.index] if picked.type == "cuda" else 1,
            precision="bf16-mixed" if precision == "bf16" else "32-true",
        )
        fabric.launch()
    finally:
        logging.disable(before)
    return fabric
