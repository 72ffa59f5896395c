"""Any model by one text: of the catalogue, of timm or torchvision, or a user's `file.py:factory`."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

from torch import nn

from torchmg.errors import UnknownNameError, UsageError, did_you_mean
from torchmg.models.libraries import library_of
from torchmg.models.outside import build_outside
from torchmg.models.registry import create


def build(spec: str, **options: Any) -> nn.Module:
    """A model of any kind, randomly initialised unless options ask for weights.

    Args:
        spec: a name of the catalogue; `timm:NAME` or `torchvision:NAME`, see `build_outside`; or a user's
            `path/to/file.py:factory`, which is called with the options.
        **options: of the model; `num_classes` and `in_channels` mean the same for all but a user's.

    Raises:
        UnknownNameError: no such model, option, weights, or factory in the file.
        UsageError: the file is missing or fails, the factory does not return an `nn.Module`, or another library does
            not take the options.
        DataError: weights cannot be fetched.
        MissingExtraError: timm is not installed.
    """
    if library_of(spec):
        return build_outside(spec, **options)
    if ".py:" not in spec:
        return create(spec, **options)
    file, _, factory_name = spec.rpartition(":")
    factory = _factory(Path(file), factory_name)
    try:
        model = factory(**options)
    except Exception as error:
        raise UsageError(f"{factory_name}() in {file} failed: {type(error).__name__}: {error}") from error
    if not isinstance(model, nn.Module):
        raise UsageError(f"{factory_name}() in {file} returned {type(model).__name__}, not a torch.nn.Module.")
    return model


def _factory(path: Path, name: str) -> Any:
    if not path.is_file():
        raise UsageError(f"There is no file {path} (looked in {path.resolve().parent}). Write path/to/file.py:factory.")
    module_spec = importlib.util.spec_from_file_location(f"torchmg_user_{path.stem}", path)
    assert module_spec is not None
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[module_spec.name] = module  # dataclasses and pickling look the module up by name
    try:
        module_spec.loader.exec_module(module)
    except Exception as error:
        raise UsageError(f"{path} cannot be run: {type(error).__name__}: {error}") from error
    if callable(factory := getattr(module, name, None)):
        return factory
    public = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
    raise UnknownNameError(f"{path} has no callable '{name}'.{did_you_mean(name, public)}")
