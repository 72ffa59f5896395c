"""A network's first weights from a file, instead of random ones."""

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from torchmg.errors import DataError
from torchmg.models.weights import digest

SHOWN = 3
"""Tensors that a message names before it counts the others."""


def start_from(model: nn.Module, source: str | Path) -> str:
    """Load every tensor of `model` from a file; returns the sha256 (hex) of what it then holds.

    Tensors of another floating-point type are converted; one that the model shares need be there once.

    Args:
        model: in place.
        source: a safetensors file, or a run folder, whose `last.safetensors` is meant.

    Raises:
        DataError: it is missing, no safetensors file, damaged, or its names or shapes are not the model's.
    """
    path = Path(source)
    path = path / "last.safetensors" if path.is_dir() else path
    if not path.is_file():
        raise DataError(f"start_from: there is no file {path}. Name a safetensors file or a run folder with weights.")
    try:
        tensors = load_file(path)
        with safe_open(path, "pt") as file:
            written = (file.metadata() or {}).get("sha256")
    except (SafetensorError, OSError) as error:
        raise DataError(
            f"{path} is not a readable safetensors file: {error}. Files of torch.save have to be converted first."
        ) from error
    state: dict[str, Tensor] = model.state_dict(keep_vars=True)
    _check(tensors, state, path)
    same_types = all(tensor.dtype == state[name].dtype for name, tensor in tensors.items())
    with torch.no_grad():
        model.load_state_dict(tensors, strict=False)
    found = digest(model.state_dict())
    if same_types and written not in (None, found):
        raise DataError(f"{path} is damaged: its tensors are not what its sha256 says. Restore it from a copy.")
    return found


def _check(tensors: dict[str, Tensor], state: dict[str, Tensor], path: Path) -> None:
    shared = {id(state[name]) for name in tensors if name in state}
    missing = [name for name, tensor in state.items() if name not in tensors and id(tensor) not in shared]
    unknown = [name for name in tensors if name not in state]
    shapes = [
        f"{name} is {tuple(tensor.shape)}, the network's {tuple(state[name].shape)}"
        for name, tensor in tensors.items()
        if name in state and tensor.shape != state[name].shape
    ]
    found = {"it lacks": missing, "the network has no": unknown, "other shapes:": shapes}
    if wrong := [f"{what} {_some(names)}" for what, names in found.items() if names]:
        raise DataError(f"{path} does not fit the network that should start from it: {'; '.join(wrong)}.")


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
