"""Weights of a model as a safetensors file, and back, or a sentence on what does not fit."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from torchmg.errors import DataError, UsageError


def write_weights(model: nn.Module, path: Path) -> None:
    """Write every parameter and persistent buffer of `model` as safetensors, with its type, tied ones once.

    Raises:
        UsageError: something in the state dictionary is no tensor with values, or of a kind that the format lacks.
        DataError, OSError: the file cannot be written.
    """
    state = model.state_dict()
    if any(name.startswith("_orig_mod.") for name in state):
        raise UsageError("This is what torch.compile returned; save the model that it was given.")
    strange = [name for name, value in state.items() if not _is_plain(value)]
    if strange:
        raise UsageError(f"Only dense tensors that have values can be saved; these are none: {_some(strange)}.")
    first: dict[Any, str] = {}
    facts, kept = {"format": "pt"}, {}
    for name, value in state.items():
        same = first.setdefault(_place(value), name)
        if same != name:
            facts[name] = same  # as safetensors' own save_model notes it
            continue
        alone = value.untyped_storage().nbytes() == value.nbytes
        kept[name] = (value if alone else value.clone()).cpu().contiguous()
    try:
        save_file(kept, path, facts)
    except SafetensorError as error:
        raise DataError(f"{path.name} cannot be written: {error}.") from error
    except (KeyError, RuntimeError, ValueError) as error:
        raise UsageError(f"safetensors cannot hold this {type(model).__name__}: {error}") from error


def read_weights(model: nn.Module, path: Path) -> None:
    """Read every parameter and persistent buffer of `model` from a safetensors file, with the file's types.

    Nothing is read unless all of it fits: names, shapes, and which tensors are tied. Where the file's metadata has a
    sha256, as those of runs do, it has to be the `digest` of what was read.

    Raises:
        DataError: the file is missing, damaged, or does not fit; the message names what does not.
    """
    try:
        if not path.is_file():  # opening a pipe would wait for somebody to write into it
            raise OSError("there is no such file")
        given = load_file(path)
        with safe_open(path, "pt") as file:
            written = (file.metadata() or {}).get("sha256")
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path} cannot be read as safetensors: {error}. Get the file again.") from error
    own = model.state_dict()
    held: dict[Any, str] = {}
    twice = []
    for name in own:
        if name in given and (first := held.setdefault(_place(own[name]), name)) != name:
            twice.append(f"{first} = {name}")
    wrong = {
        "missing": [name for name in own if name not in given and _place(own[name]) not in held],
        "not in the model": [name for name in given if name not in own],
        "of another shape": [
            f"{name} {tuple(value.shape)}, in the model {tuple(own[name].shape)}"
            for name, value in given.items()
            if name in own and own[name].shape != value.shape
        ],
        "one tensor in the model, two in the file": twice,
    }
    found = [f"{what}: {_some(names)}" for what, names in wrong.items() if names]
    if found:
        raise DataError(f"{path} does not fit this {type(model).__name__}. {'; '.join(found)}.")
    tensors = {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }
    for name, value in given.items():
        if name in tensors:  # before, as copying converts
            tensors[name].data = tensors[name].data.to(value.dtype)
    model.load_state_dict(given, strict=False)
    if written not in (None, digest(model.state_dict())):
        raise DataError(f"{path} is damaged: its tensors are not what its sha256 says. Get the file again.")


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Sha256 (hex) of names, types, shapes and values, whatever the order, device and memory layout."""
    hashed = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        plain = tensor.detach().cpu().contiguous()
        hashed.update(f"{name} {plain.dtype} {tuple(plain.shape)}\n".encode())
        hashed.update(plain.flatten().view(torch.uint8).numpy().data)
    return hashed.hexdigest()


def _is_plain(value: object) -> bool:
    return isinstance(value, Tensor) and value.layout is torch.strided and not value.is_meta and not is_lazy(value)


def _place(tensor: Tensor) -> Any:
    """Equal for two names of one tensor."""
    return tensor.data_ptr() or id(tensor), tensor.shape, tensor.stride(), tensor.dtype


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
