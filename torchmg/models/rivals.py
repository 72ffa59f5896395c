"""The networks that papers on multigrid-in-channels compare with, from timm and torchvision.

Their layers and how these are drawn are the sources' own, without pretrained weights; only the frame around them is
ours: a stem, blocks and a head, which all of these networks are, so that feature maps and counts are had alike for all.
Tensors stand in the order of the sources' state dictionaries, under other names.

MGIC paper, Tables 6, 7, 9 and 12.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from math import isfinite
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from torchmg.errors import MissingExtraError, UsageError
from torchmg.hierarchy import check_choice
from torchmg.models.classifier import Classifies
from torchmg.models.sizes import FeatureInfo, check_sizes
from torchmg.nn.conv import check_input
from torchmg.nn.mgic import Part

Variant = Literal["large", "small"]

GHOSTNET: Mapping[float, str] = {0.5: "ghostnet_050", 1.0: "ghostnet_100", 1.3: "ghostnet_130"}
"""Width -> timm's name."""
SHUFFLENETV2: Mapping[float, str] = {
    0.5: "shufflenet_v2_x0_5",
    1.0: "shufflenet_v2_x1_0",
    1.5: "shufflenet_v2_x1_5",
    2.0: "shufflenet_v2_x2_0",
}
"""Width -> torchvision's name."""
MOBILENETV3: Mapping[Variant, Mapping[float, str]] = {
    "large": {0.75: "mobilenetv3_large_075", 1.0: "mobilenet_v3_large"},
    "small": {0.75: "mobilenetv3_small_075", 1.0: "mobilenet_v3_small"},
}
"""Width -> name: at 0.75 timm's, at 1.0 torchvision's."""

fan_out = partial(nn.init.kaiming_normal_, mode="fan_out")
"""How torchvision draws convolutions, but for those of ShuffleNetV2."""


class Rival(Classifies):
    """Stem, blocks, head over images (batch, in_channels, H, W); logits are (batch, num_classes).

    `forward_features` returns the last feature map of every resolution, finest first; `feature_info` says what they
    are. The 1x1 convolutions before the classifier belong to the head, as they do not to features that others use.

    Args:
        stem: up to the first block.
        blocks: each keeps or halves the resolution.
        head: pooling included.
        in_channels: channels of the images.
    """

    def __init__(self, stem: nn.Sequential, blocks: Sequence[nn.Module], head: nn.Sequential, in_channels: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.stem, self.blocks, self.head = stem, nn.Sequential(*blocks), head
        self.feature_info = list(self._feature_info())
        self._taken = {info["module"] for info in self.feature_info}

    def forward_features(self, x: Tensor) -> list[Tensor]:
        """The feature maps that `feature_info` names, (batch, num_chs, H / reduction, W / reduction), rounded up."""
        check_input(x, self.in_channels)
        features = []
        for path, part in self._sequence():
            x = part(x)
            if path in self._taken:
                features.append(x)
        return features

    def forward(self, x: Tensor) -> Tensor:
        """Logits, (batch, num_classes)."""
        return self.head(self.forward_features(x)[-1])

    def parts(self) -> Iterator[Part]:
        """Roles for counting; a block is one relaxation on the finest level of channels, which has no coarser one."""
        yield Part("stem", "stem")
        yield Part("head", "head")
        for index in range(len(self.blocks)):
            yield Part(f"blocks.{index}", "relax", 0)

    def _sequence(self) -> Iterator[tuple[str, nn.Module]]:
        yield "stem", self.stem
        for index, block in enumerate(self.blocks):
            yield f"blocks.{index}", block

    def _feature_info(self) -> Iterator[FeatureInfo]:
        """What each resolution ends with, found by shapes alone: tensors on the meta device have no values."""
        size, last = 64, None
        x = torch.empty(2, self.in_channels, size, size, device="meta")
        for path, part in self._sequence():
            tensors = {**dict(part.named_parameters()), **dict(part.named_buffers())}
            shapes = {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors.items()}
            x = torch.func.functional_call(part, shapes, (x,))
            info = FeatureInfo(num_chs=x.shape[1], reduction=size // x.shape[2], module=path)
            if last is not None and last["reduction"] != info["reduction"]:
                yield last
            last = info
        assert last is not None
        yield last


def ghostnet(*, width: float = 1.0, num_classes: int = 1000, in_channels: int = 3) -> Rival:
    """GhostNet, timm's (Han et al., "GhostNet: More Features from Cheap Operations", CVPR 2020).

    Args:
        width: 0.5, 1.0 or 1.3; a multiplier on all widths but the head's.
        num_classes: classes of the linear head.
        in_channels: channels of the images.

    Raises:
        UsageError: another width, sizes below 1.
        MissingExtraError: timm is not installed.
    """
    check_sizes(num_classes=num_classes, in_channels=in_channels)
    net = _timm(_named(GHOSTNET, width, "timm's GhostNet"), "GhostNet", num_classes, in_channels)
    stem = nn.Sequential(net.conv_stem, net.bn1, net.act1)
    return _framed(stem, net, [net.conv_head, net.act2], in_channels)


def mobilenetv3(
    *, variant: Variant = "large", width: float = 1.0, num_classes: int = 1000, in_channels: int = 3
) -> Rival:
    """MobileNetV3 (Howard et al., "Searching for MobileNetV3", ICCV 2019): torchvision's, at width 0.75 timm's.

    Args:
        variant: `large` or `small`.
        width: 0.75 or 1.0.
        num_classes: classes of the linear head.
        in_channels: channels of the images.

    Raises:
        UsageError: another width, sizes below 1.
        UnknownNameError: another variant; the message names the nearest.
        MissingExtraError: width 0.75 without timm.
    """
    check_choice("variant", variant, get_args(Variant))
    check_sizes(num_classes=num_classes, in_channels=in_channels)
    name = _named(MOBILENETV3[variant], width, f"MobileNetV3-{variant.capitalize()}")
    if width == 1.0:
        return _vision(name, {"num_classes": num_classes}, in_channels)
    net = _timm(name, f"MobileNetV3 of width {width}", num_classes, in_channels)
    return _framed(nn.Sequential(net.conv_stem, net.bn1), net, [net.conv_head, net.norm_head, net.act2], in_channels)


def mobilenetv2(*, width: float = 1.0, num_classes: int = 1000, in_channels: int = 3) -> Rival:
    """MobileNetV2, torchvision's (Sandler et al., "Inverted Residuals and Linear Bottlenecks", CVPR 2018).

    Args:
        width: multiplier on all widths, which are then rounded to multiples of 8; the head's only grows.
        num_classes: classes of the linear head.
        in_channels: channels of the images.

    Raises:
        UsageError: a width that is not positive and finite, sizes below 1.
    """
    check_sizes(num_classes=num_classes, in_channels=in_channels)
    if not isinstance(width, int | float) or not isfinite(width) or width <= 0:
        raise UsageError(f"width must be a positive multiplier such as 0.5 or 1.0; got {width!r}.")
    return _vision("mobilenet_v2", {"num_classes": num_classes, "width_mult": width}, in_channels)


def efficientnet_b0(*, num_classes: int = 1000, in_channels: int = 3) -> Rival:
    """EfficientNet-B0, torchvision's (Tan, Le, "EfficientNet: Rethinking Model Scaling", ICML 2019).

    Args:
        num_classes: classes of the linear head.
        in_channels: channels of the images.

    Raises:
        UsageError: sizes below 1.
    """
    check_sizes(num_classes=num_classes, in_channels=in_channels)
    return _vision("efficientnet_b0", {"num_classes": num_classes}, in_channels)


def shufflenetv2(*, width: float = 1.0, num_classes: int = 1000, in_channels: int = 3) -> Rival:
    """ShuffleNetV2, torchvision's (Ma et al., "Practical Guidelines for Efficient CNN Architecture Design", ECCV 2018).

    Args:
        width: 0.5, 1.0, 1.5 or 2.0, which name the paper's tables of widths.
        num_classes: classes of the linear head.
        in_channels: channels of the images.

    Raises:
        UsageError: another width, sizes below 1.
    """
    import torchvision.models  # imports for seconds

    check_sizes(num_classes=num_classes, in_channels=in_channels)
    name = _named(SHUFFLENETV2, width, "torchvision's ShuffleNetV2")
    net = getattr(torchvision.models, name)(weights=None, num_classes=num_classes)
    _take_channels(net.conv1, in_channels)
    stem = nn.Sequential(*net.conv1, net.maxpool)
    blocks = [block for stage in (net.stage2, net.stage3, net.stage4) for block in stage]
    return Rival(stem, blocks, nn.Sequential(*net.conv5, *_pool(), net.fc), in_channels)


def _named(names: Mapping[float, str], width: float, what: str) -> str:
    """The source's name of a width."""
    if width in names:
        return names[width]
    known = ", ".join(map(str, names))
    raise UsageError(f"{what} has no width {width!r}; choose from {known}.")


def _pool() -> tuple[nn.Module, nn.Module]:
    return nn.AdaptiveAvgPool2d(1), nn.Flatten()


def _vision(name: str, options: dict[str, Any], in_channels: int) -> Rival:
    """A network of torchvision's made of `features` (stem, blocks or stages, 1x1 convolution) and `classifier`."""
    import torchvision.models  # imports for seconds

    net = getattr(torchvision.models, name)(weights=None, **options)
    stem, *stages, last = net.features
    _take_channels(stem, in_channels, fan_out)
    # EfficientNet alone has stages, and they alone are plain sequences: blocks are of their own types.
    blocks = [block for stage in stages for block in (stage if type(stage) is nn.Sequential else [stage])]
    return Rival(nn.Sequential(*stem), blocks, nn.Sequential(last, *_pool(), *net.classifier), in_channels)


def _take_channels(stem: nn.Sequential, channels: int, init: Callable[[Tensor], Any] | None = None) -> None:
    """Torchvision's networks take three channels: give the first convolution another number if need be."""
    conv = stem[0]
    assert isinstance(conv, nn.Conv2d)
    if channels == conv.in_channels:
        return
    size, stride, padding = conv.kernel_size, conv.stride, conv.padding
    other = nn.Conv2d(channels, conv.out_channels, size, stride, padding, bias=False)  # pyright: ignore
    if init is not None:
        init(other.weight)
    stem[0] = other


def _timm(name: str, what: str, num_classes: int, in_channels: int) -> Any:
    try:
        import timm
    except ImportError as error:
        raise MissingExtraError(what, "timm") from error
    net = timm.create_model(name, pretrained=False, num_classes=num_classes, in_chans=in_channels)
    _unfold(net)
    return net


def _unfold(net: nn.Module) -> None:
    """Part timm's norms from the activations inside them: converting norms for several processes would lose those."""
    from timm.layers.norm_act import BatchNormAct2d

    for module in list(net.modules()):
        norms: list[tuple[str, Any]] = [n for n in module.named_children() if isinstance(n[1], BatchNormAct2d)]
        for name, norm in norms:
            plain = nn.BatchNorm2d(norm.num_features, norm.eps, norm.momentum)
            plain.load_state_dict(norm.state_dict())
            setattr(module, name, nn.Sequential(plain, norm.act))


def _framed(stem: nn.Sequential, net: Any, hidden: list[nn.Module], in_channels: int) -> Rival:
    """A network of timm's whose last stage is a 1x1 convolution and whose classifier has a hidden layer."""
    *stages, last = net.blocks
    blocks = [block for stage in stages for block in stage]
    head = nn.Sequential(*last, net.global_pool, *hidden, net.flatten, nn.Dropout(net.drop_rate), net.classifier)
    return Rival(stem, blocks, head, in_channels)
