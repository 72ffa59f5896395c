"""Building models by name."""

import inspect
from collections.abc import Callable
from importlib import import_module
from typing import Any, get_args

from torch import nn

from torchmg.errors import UnknownNameError, did_you_mean
from torchmg.models.catalog import Entry, find, select


def create(name: str, **options: Any) -> nn.Module:
    """Build a model of the catalogue, randomly initialised (seed with `torch.manual_seed`).

    Args:
        name: as `torchmg list` shows it.
        **options: of its builder; all take `num_classes` and `in_channels`, most `width`, and MGIC models also
            `preset`, `shortcut` and the options of `MGICBlock` such as `group_size` and `coarsest`.

    Raises:
        UnknownNameError: no such model or option; the message names the nearest.
        UsageError: an option's value is impossible.
    """
    entry = find(name)
    known = option_names(entry)
    for option in options:
        if option not in known:
            near = did_you_mean(option, known)
            raise UnknownNameError(f"{name} has no option '{option}'.{near} Options: {', '.join(known)}.")
    return _builder(entry)(**entry.fixed, **options)


def option_names(entry: Entry) -> list[str]:
    """Names of the options that `create` takes for this model."""
    names: list[str] = []
    for parameter in inspect.signature(_builder(entry)).parameters.values():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            names.extend(get_args(parameter.annotation)[0].__annotations__)
        elif parameter.name not in entry.fixed:
            names.append(parameter.name)
    return names


def list_models(pattern: str = "*") -> list[str]:
    """Names that match a shell pattern, in catalogue order."""
    return [entry.name for entry in select(pattern)]


def _builder(entry: Entry) -> Callable[..., nn.Module]:
    module, function = entry.builder.split(":")
    return getattr(import_module(module), function)
