"""The catalogue's image classifiers in timm's registry, so that timm's training scripts and tools find them by name.

They keep timm's calling conventions (`num_classes`, `in_chans`, `drop_rate`, `features_only`, `pretrained_cfg`,
`reset_classifier`). One thing differs: `forward_features` returns the maps of all resolutions, not the last alone.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from torchmg.errors import MissingExtraError, UsageError
from torchmg.models.catalog import MODELS, Entry
from torchmg.models.classifier import Classifies
from torchmg.models.dilation import dilate
from torchmg.models.registry import create

if TYPE_CHECKING:
    from timm.models import FeatureInfo, PretrainedCfg

PREFIX = "torchmg_"
"""Before a name that timm has for a network of its own."""

default_cfgs: dict[str, Any] = {}
"""timm's name -> its description of the model; timm reads it here when a model registers."""
_registered: dict[str, str] = {}


def register_with_timm() -> list[str]:
    """Let `timm.create_model("mgic_resnet50")` build every model of the catalogue that classifies images.

    `timm.create_model` takes for them `num_classes` (0 for none: pooled features), `in_chans`, `drop_rate` where the
    head has a dropout, `features_only` with `out_indices` and `output_stride`, and every option of `torchmg.create`.
    Calling this again changes nothing.

    Returns:
        Their names in timm, in the catalogue's order. A name that timm has for a network of its own gets the prefix
        `torchmg_`, such as `torchmg_resnet50`; timm's stays what it was.

    Raises:
        MissingExtraError: timm is not installed.
    """
    try:
        import timm
        from timm.models import register_model
    except ImportError as error:
        raise MissingExtraError("Registering models with timm", "timm") from error
    for name, entry in MODELS.items():
        if entry.task != "classify" or name in _registered:
            continue
        theirs = f"{PREFIX}{name}" if timm.is_model(name) else name
        default_cfgs[theirs] = _config(entry)
        _registered[name] = theirs
        register_model(_entrypoint(entry, theirs))
    return list(_registered.values())


class Features(nn.Module):
    """What timm's `features_only=True` returns: images to a list of feature maps, finest first.

    Args:
        model: a model of the catalogue; its head is taken off.
        out_indices: which maps of `model.feature_info`, from the end if negative; a number takes the last so many.

    Raises:
        UsageError: an index that is none of a map.
    """

    feature_info: "FeatureInfo"
    """timm's: `channels()`, `reduction()` and `module_name()` of what is returned."""
    pretrained_cfg: Mapping[str, Any] = MappingProxyType({})
    """timm's description of the model."""
    default_cfg: Mapping[str, Any] = MappingProxyType({})
    """The same under timm's older name."""

    def __init__(self, model: Classifies, out_indices: Sequence[int] | int | None = None) -> None:
        from timm.models import FeatureInfo

        super().__init__()
        count = len(model.feature_info)
        if isinstance(out_indices, int):
            out_indices = range(-out_indices, 0)
        indices = tuple(range(count) if out_indices is None else out_indices)
        wrong = [index for index in indices if not -count <= index < count]
        if wrong or not indices:
            raise UsageError(f"out_indices must be among 0 to {count - 1}, for {count} maps; got {indices}.")
        self.out_indices = tuple(index % count for index in indices)
        info = [{**info, "index": index} for index, info in enumerate(model.feature_info)]
        self.feature_info = FeatureInfo(info, self.out_indices)
        model.head = nn.Identity()
        self.model = model

    def forward(self, x: Tensor) -> list[Tensor]:
        """The maps of `out_indices`, (batch, channels, H / reduction, W / reduction) each."""
        features = self.model.forward_features(x)
        return [features[index] for index in self.out_indices]


def _entrypoint(entry: Entry, name: str) -> Callable[..., nn.Module]:
    """Timm's function that builds the model, under timm's name for it."""

    def build(
        pretrained: bool = False,
        pretrained_cfg: Any = None,
        pretrained_cfg_overlay: Mapping[str, Any] | None = None,
        cache_dir: Any = None,
        features_only: bool = False,
        out_indices: Sequence[int] | int | None = None,
        output_stride: int = 32,
        **options: Any,
    ) -> nn.Module:
        if pretrained:
            raise UsageError(f"No weights of {name} are published; leave pretrained away, and train it.")
        config = _resolved(name, pretrained_cfg, pretrained_cfg_overlay)
        model = _model(entry, name, options)
        if output_stride != 32:
            dilate(model, output_stride)
        config = _described(model, config)
        result = Features(model, out_indices) if features_only else model
        result.pretrained_cfg = result.default_cfg = config
        return result

    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"torchmg's {entry.name}: {entry.citation}."
    # timm lists it in __all__ of this module, so it has to be there.
    globals()[name] = build
    return build


def _model(entry: Entry, name: str, options: Mapping[str, Any]) -> Classifies:
    """The network with timm's options for ours."""
    options = dict(options)
    if "in_chans" in options:
        options["in_channels"] = options.pop("in_chans")
    dropout, path = options.pop("drop_rate", None), options.pop("drop_path_rate", 0.0)
    pooling, classes = options.pop("global_pool", "avg"), options.pop("num_classes", None)
    if path:
        raise UsageError(f"{name} has no stochastic depth; leave drop_path_rate={path} out.")
    if pooling != "avg":
        raise UsageError(f"{name} averages its features: global_pool is 'avg'; got {pooling!r}.")
    if classes:
        options["num_classes"] = classes
    model = create(entry.name, **options)
    assert isinstance(model, Classifies)
    if classes == 0:
        model.reset_classifier(0)
    dropouts = [module for module in model.head.modules() if isinstance(module, nn.Dropout)]
    if dropout and not dropouts:
        raise UsageError(f"{name} has no dropout; leave drop_rate={dropout} out.")
    for module in dropouts:
        module.p = module.p if dropout is None else dropout
    return model


def _config(entry: Entry) -> dict[str, Any]:
    """Timm's description of a model; the normalisation is timm's default, as no weights are published."""
    small = entry.input[1] < 64
    return {
        "input_size": entry.input,
        "num_classes": 10 if small else 1000,
        "crop_pct": 1.0 if small else 0.875,
        "paper_name": entry.citation,
    }


def _resolved(name: str, given: Any, overlay: Mapping[str, Any] | None) -> "PretrainedCfg":
    """What is registered, or given in its place, with what is laid over it."""
    from timm.models import resolve_pretrained_cfg

    return resolve_pretrained_cfg(name, given, dict(overlay or {}))


def _described(model: Classifies, config: "PretrainedCfg") -> dict[str, Any]:
    """Timm's description with this model's own classes, channels and places of its first and last layers."""
    path, first = next((path, layer) for path, layer in model.named_modules() if isinstance(layer, nn.Conv2d))
    head = model.head
    classifier = f"head.{len(head) - 1}" if isinstance(head, nn.Sequential) else "head"
    return {
        **config.to_dict(),
        "input_size": (first.in_channels, *config.input_size[1:]),
        "num_classes": model.num_classes,
        "first_conv": path,
        "classifier": classifier,
    }
