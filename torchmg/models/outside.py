"""Models of other libraries by name: `timm:resnet50`, `torchvision:resnet18`.

Weights are random unless asked for, because fetching them needs a network: `weights="DEFAULT"` (torchvision) or
`pretrained=True` (timm).
"""

import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from torchmg.errors import DataError, MissingExtraError, UnknownNameError, UsageError, did_you_mean
from torchmg.models.catalog import MODELS
from torchmg.models.libraries import library_of

LOADING = frozenset({"cache_dir", "checkpoint_path", "pretrained", "pretrained_strict", "progress"})
"""Options of timm and torchvision that say where weights come from and nothing about the architecture."""
WEIGHTS = ("weights", "weights_backbone")
"""Options of torchvision that name weights."""


def build_outside(spec: str, **options: Any) -> nn.Module:
    """A model of timm or torchvision.

    Args:
        spec: `timm:NAME` as `timm.list_models()` has it, a tag such as `resnet50.a1_in1k` included, or
            `torchvision:NAME` as `torchvision.models.list_models()` has it.
        **options: of the library's own function, and for both `num_classes` and `in_channels` (timm's `in_chans`; in
            torchvision's networks another number of channels replaces the first convolution). timm: `pretrained=True`
            fetches weights. torchvision: `weights`, such as "DEFAULT" or "IMAGENET1K_V2", fetches them; without,
            neither the network's nor its backbone's are.

    Raises:
        UnknownNameError: no such model or weights; the message names the nearest.
        UsageError: `spec` is of no other library, or an option is not one of the model's.
        DataError: weights cannot be fetched.
        MissingExtraError: timm is not installed.
    """
    found = library_of(spec)
    if found is None:
        raise UsageError(f"'{spec}' is no model of another library; write timm:resnet50 or torchvision:resnet18.")
    library, name = found
    return _timm(name, options) if library == "timm" else _torchvision(name, options)


def input_of(model: nn.Module, spec: str) -> tuple[int, ...] | None:
    """Shape of one sample of a model built from `spec`, where something says it.

    Args:
        model: what `build` returned; timm's say what they take (`pretrained_cfg`).
        spec: its name; models of the catalogue have theirs there.

    Returns:
        (channels, height, width), or None for torchvision's models and a user's own, which do not say.
    """
    if spec in MODELS:
        return MODELS[spec].input
    found = library_of(spec)
    if found is None or found[0] != "timm":
        return None
    config = getattr(model, "pretrained_cfg", None) or getattr(model, "default_cfg", None) or {}
    size = config.get("input_size")
    return None if size is None else tuple(size)


def without_weights(spec: str | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that build the same architecture as `options` do, but fetch and read no weights.

    torchvision changes some networks when it is given weights (auxiliary heads, the size of a transformer's images,
    the normalisation inside of GoogLeNet and Inception); those changes become options of their own.

    Args:
        spec: the model's name; only those of other libraries have such options.
        options: as for `build`.

    Raises:
        UnknownNameError: no such model or weights.
    """
    found = library_of(spec) if spec else None
    if found is None:
        return dict(options)
    library, name = found
    kept = {key: value for key, value in options.items() if key not in LOADING}
    if library == "timm" or kept.get("weights") is None:
        return {key: value for key, value in kept.items() if key not in WEIGHTS}
    builder = _builder(name)
    meta = _weights(name, builder, kept["weights"]).meta
    if "categories" in meta:
        kept.setdefault("num_classes", len(meta["categories"]))
    if "aux_loss" in inspect.signature(builder).parameters:
        kept["aux_loss"] = True
    if name.startswith("vit_"):
        kept["image_size"] = meta["min_size"][0]
    if name in ("googlenet", "inception_v3"):
        kept = {"aux_logits": name == "inception_v3", **kept, "transform_input": True}
    return {key: value for key, value in kept.items() if key not in WEIGHTS}


def _timm(name: str, options: dict[str, Any]) -> nn.Module:
    try:
        import timm
    except ImportError as error:
        raise MissingExtraError(f"timm:{name}", "timm") from error
    if not timm.is_model(name):
        known = timm.list_models()
        raise UnknownNameError(f"timm has no model '{name}'.{did_you_mean(name, known)} (timm.list_models() has all)")
    if "in_channels" in options:
        options = {**options, "in_chans": options["in_channels"]}
        del options["in_channels"]
    return _built(f"timm:{name}", lambda: timm.create_model(name, **{"pretrained": False, **options}))


def _torchvision(name: str, options: dict[str, Any]) -> nn.Module:
    builder = _builder(name)
    options = dict(options)
    channels = options.pop("in_channels", 3)
    given = options.get("weights")
    weights = None if given is None else _weights(name, builder, given)
    if channels != 3 and weights is not None:
        raise UsageError(f"The weights of torchvision:{name} are for 3 channels; leave in_channels={channels} out.")
    options["weights"] = weights
    if "weights_backbone" in inspect.signature(builder).parameters:  # its default is to fetch them
        options.setdefault("weights_backbone", None)
    model = _built(f"torchvision:{name}", lambda: builder(**options))
    if channels != 3:
        _take_channels(model, channels, name)
    return model


def _builder(name: str) -> Callable[..., nn.Module]:
    """Torchvision's function of this name."""
    from torchvision import models  # imports for seconds

    known = models.list_models()
    if name not in known:
        near = did_you_mean(name, known)
        raise UnknownNameError(f"torchvision has no model '{name}'.{near} (torchvision.models.list_models() has all)")
    return models.get_model_builder(name)


def _weights(name: str, builder: Callable[..., nn.Module], given: Any) -> Any:
    """The member of torchvision's enumeration for this model that `given` is or names."""
    from torchvision.models import get_model_weights

    kinds = get_model_weights(builder)
    if isinstance(given, kinds):
        return given
    member = str(given).removeprefix(f"{kinds.__name__}.")
    if member not in kinds.__members__:
        near = did_you_mean(member, kinds.__members__) if kinds.__members__ else " It has none."
        raise UnknownNameError(f"torchvision:{name} has no weights '{given}'.{near}")
    return kinds[member]


def _built(spec: str, make: Callable[[], nn.Module]) -> nn.Module:
    """What `make` returns, with its errors told in a sentence."""
    try:
        with warnings.catch_warnings():
            # About GoogLeNet and Inception, which are drawn as they always were.
            warnings.filterwarnings("ignore", "The default weight initialization", FutureWarning)
            return make()
    except OSError as error:
        raise DataError(
            f"The weights of {spec} cannot be fetched: {error}. Without them it needs no network."
        ) from error
    except Exception as error:
        raise UsageError(f"{spec} cannot be built with these options: {type(error).__name__}: {error}") from error


def _take_channels(model: nn.Module, channels: int, name: str) -> None:
    """Replace the first convolution of pictures of three channels by one of `channels`, drawn as torch draws it."""
    for path, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d) and module.in_channels == 3 and module.groups == 1:
            bias = module.bias is not None
            sizes: Any = (module.kernel_size, module.stride, module.padding, module.dilation)
            other = type(module)(channels, module.out_channels, *sizes, bias=bias, padding_mode=module.padding_mode)
            model.set_submodule(path, other)
            return
    raise UsageError(f"torchvision:{name} has no convolution of 3 channels that could take {channels}.")
