"""Lightning Fabric, set up for one recipe: device, precision, processes."""

import logging
import os
import warnings
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import torch

from torchmg.errors import MissingExtraError, TorchmgError, UsageError
from torchmg.train.releases import BAD_RELEASES

if TYPE_CHECKING:
    from lightning.fabric import Fabric

    from torchmg.train.settings import Precision


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


def engine(device: str, precision: "Precision", devices: int = 1) -> "Fabric":
    """A launched Fabric: on one device, or as one of the processes that `launch` or torchrun started.

    Args:
        device: as `pick_device` takes it; with several processes the kind alone counts.
        precision: of the recipe.
        devices: processes on this machine, one device each; torchrun may have started more on other machines.

    Raises:
        UsageError: fewer devices here than processes.
        MissingExtraError: lightning is not installed.
        TorchmgError: the installed release is one of those known to be malicious.
    """
    picked = pick_device(device)
    if picked.type == "cuda" and devices > (there := torch.cuda.device_count()):
        raise UsageError(f"devices={devices} needs as many GPUs; here are {there}. Use --devices {there}.")
    check_lightning()
    with warnings.catch_warnings():
        # its imports warn about deprecations inside its own dependencies, which nobody here can act on
        warnings.simplefilter("ignore")
        from lightning.fabric import Fabric
        from lightning.fabric.plugins.precision import MixedPrecision
    # made here, because Fabric by itself turns fp16 on a CPU into bf16
    half = {"bf16": "bf16-mixed", "fp16": "16-mixed"}.get(precision)
    how: dict[str, Any] = {"plugins": MixedPrecision(half, picked.type)} if half else {"precision": "32-true"}  # pyright: ignore
    if devices > 1:
        nodes = int(os.environ.get("WORLD_SIZE", devices)) // devices
        how |= {"devices": devices, "strategy": "ddp", "num_nodes": nodes}
    else:
        how["devices"] = [picked.index] if picked.type == "cuda" else 1
    before = logging.root.manager.disable
    logging.disable(logging.INFO)  # it announces the precision, even to those who asked for quiet
    try:
        fabric = Fabric(accelerator=picked.type, **how)
        fabric.launch()
    finally:
        logging.disable(before)
    return fabric


def check_lightning() -> None:
    """Raise unless lightning is installed, in a release that is safe to import; imports nothing."""
    try:
        installed = version("lightning")
    except PackageNotFoundError as error:
        raise MissingExtraError("Training", "train") from error
    if installed in BAD_RELEASES:
        raise TorchmgError(f"lightning {installed} is a known malicious release: not importing it. Upgrade to >=2.6.6.")
