"""Building models by name."""

import inspect
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

from torch import nn

from torchmg.errors import CheckpointError, DataError, UnknownNameError, did_you_mean
from torchmg.models import shipped
from torchmg.models.catalog import Entry, find, select
from torchmg.models.weights import read_weights


def create(name: str, *, weights: str | Path | None = None, **options: Any) -> nn.Module:
    """Build a model of the catalogue, randomly initialised (seed with `torch.manual_seed`) or with trained weights.

    It is in training mode, as torch's modules are, with trained weights too: call `.eval()` before predicting.

    Args:
        name: as `torchmg list` shows it.
        weights: the name of weights that ship with torchmg, such as "digits_r1" (`torchmg list` shows them), which
            bring the options that they were trained with; or a safetensors file of a network with these options. Every
            tensor of the network has to be there and no other.
        **options: of its builder; all take `num_classes` and `in_channels`, most `width`, and MGIC models also
            `preset`, `shortcut` and the options of `MGICBlock` such as `group_size` and `coarsest`.

    Raises:
        UnknownNameError: no such model, weights or option; the message names the nearest.
        UsageError: an option's value is impossible, or not that of the weights.
        CheckpointError: the weights are missing, damaged, or of another network.
    """
    entry = find(name)
    file = None if weights is None else Path(weights)
    if file is not None and file.suffix != shipped.ENDING:
        trained = shipped.find(name, str(weights))
        options, file = trained.options_with(options), trained.check()
    known = option_names(entry)
    for option in options:
        if option not in known:
            near = did_you_mean(option, known)
            raise UnknownNameError(f"{name} has no option '{option}'.{near} Options: {', '.join(known)}.")
    model = _builder(entry)(**entry.fixed, **options)
    if file is not None:
        try:
            read_weights(model, file)
        except DataError as error:
            raise CheckpointError(str(error)) from error
    return model


def description(name: str) -> str:
    """What a model of the catalogue is, in one sentence: the first of its builder's documentation."""
    return (inspect.getdoc(_builder(find(name))) or "").partition("\n")[0]


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
