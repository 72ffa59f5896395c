"""Segmentation: LR-ASPP and DeepLabV3 heads over any backbone with `feature_info`, dense or multigrid in channels."""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Literal, Protocol, Unpack, get_args

from torch import Tensor, nn
from torch.nn import functional as F

from torchmg.errors import UsageError
from torchmg.hierarchy import check_choice
from torchmg.models.dilation import dilate
from torchmg.models.mobilenetv3 import MGICMobileOptions, Size, mgic_mobilenetv3, mobilenetv3
from torchmg.models.resnet_imagenet import MGICResNetOptions, mgic_resnet, resnet
from torchmg.models.sizes import FeatureInfo, check_sizes
from torchmg.nn.conv_norm_act import ConvNormAct
from torchmg.nn.mgic import Part

HeadName = Literal["lraspp", "deeplabv3"]

CITYSCAPES = 19
"""Classes that Cityscapes is scored on."""
WINDOW, WINDOW_STRIDE = (49, 49), (16, 20)
"""Of LR-ASPP's pooling, at most the whole map (Howard et al. 2019, Fig. 10)."""
RATES: Mapping[int, tuple[int, int, int]] = MappingProxyType({8: (12, 24, 36), 16: (6, 12, 18), 32: (3, 6, 9)})
"""Output stride -> dilations of DeepLabV3's pyramid (Chen et al. 2017, section 4.1; those for 32 halve once more)."""

SEGMENTATION: Mapping[Size, MGICMobileOptions] = MappingProxyType(
    {
        "small": MGICMobileOptions(group_size=16, coarsest=16, se_levels="finest", group_rule="floor"),
        "large": MGICMobileOptions(group_size=32, coarsest=64, se_levels="all", group_rule="floor", stop="lt1"),
    }
)
"""Default options of the MGIC backbones: the nearest found to the two larger MGIC rows of Table 9."""


class Backbone(Protocol):
    """What a segmenter stands on: every model of torchmg for images, and anything like it."""

    feature_info: list[FeatureInfo]

    def forward_features(self, x: Tensor) -> list[Tensor]:
        """Feature maps, finest first, as `feature_info` says."""
        ...


class LRASPP(nn.Module):
    """Lite reduced atrous spatial pyramid pooling (Howard et al., "Searching for MobileNetV3", 2019, section 6.4).

    The coarse map, 1x1 convolved, is weighed by the sigmoid of its local means, scaled to the size of a finer map, and
    classified; the finer map's own classification is added. Maps smaller than the 49x49 window are averaged whole.

    Args:
        low: channels of the finer map.
        high: channels of the coarse map.
        classes: classes of a pixel.
        filters: inner width; 128 in the paper.
    """

    def __init__(self, low: int, high: int, classes: int, filters: int = 128) -> None:
        super().__init__()
        self.project = ConvNormAct(high, filters, 1)
        self.weigh = nn.Conv2d(high, filters, 1, bias=False)
        self.classify = nn.Conv2d(filters, classes, 1)
        self.classify_low = nn.Conv2d(low, classes, 1)

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        """Logits of the size of `low`, (batch, classes, h, w)."""
        window = (min(WINDOW[0], high.shape[2]), min(WINDOW[1], high.shape[3]))
        weights = self.weigh(F.avg_pool2d(high, window, WINDOW_STRIDE)).sigmoid()
        y = self.project(high) * resized(weights, high)
        return self.classify(resized(y, low)) + self.classify_low(low)


class DeepLabV3(nn.Module):
    """Atrous spatial pyramid pooling (Chen et al., "Rethinking Atrous Convolution", 2017); torchvision's head.

    Args:
        high: channels of the coarse map.
        classes: classes of a pixel.
        output_stride: of the coarse map; it decides the dilations.
    """

    def __init__(self, high: int, classes: int, output_stride: int) -> None:
        from torchvision.models.segmentation.deeplabv3 import DeepLabHead  # imports for seconds

        super().__init__()
        self.pyramid = DeepLabHead(high, classes, RATES[output_stride])

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        """Logits of the size of `high`, (batch, classes, h, w); `low` is not looked at."""
        return self.pyramid(high)


class Segmenter(nn.Module):
    """A backbone and a head: images (batch, in_channels, H, W) -> logits (batch, classes, H, W).

    The head's logits are scaled bilinearly to the size of the images. `forward_features` and `feature_info` are the
    backbone's; its own classifier, if it has one called `head`, is taken off.

    Args:
        backbone: see `Backbone`; it is changed in place (`dilate`).
        head: `lraspp` or `deeplabv3`.
        classes: classes of a pixel.
        output_stride: input size over that of the coarsest map: 8, 16 or 32.

    Raises:
        UsageError: fewer than one class, no backbone, an output stride that the backbone cannot have.
        UnknownNameError: an unknown head or output stride; the message names the nearest.
    """

    def __init__(self, backbone: nn.Module, head: HeadName, classes: int, output_stride: int = 16) -> None:
        super().__init__()
        check_sizes(num_classes=classes)
        check_choice("head", head, get_args(HeadName))
        check_choice("output_stride", str(output_stride), tuple(map(str, RATES)))
        if not isinstance(getattr(backbone, "feature_info", None), list) or not hasattr(backbone, "forward_features"):
            raise UsageError(
                f"A {type(backbone).__name__} is no backbone: a segmenter needs forward_features and feature_info, "
                "as torchmg's models for images have them."
            )
        dilate(backbone, output_stride)
        if hasattr(backbone, "head"):
            backbone.head = nn.Identity()
        self.backbone = backbone
        self.feature_info: list[FeatureInfo] = backbone.feature_info  # pyright: ignore[reportAttributeAccessIssue]
        maps = [info["reduction"] for info in self.feature_info]
        self.low = max(
            (i for i, reduction in enumerate(maps) if reduction <= 8), key=lambda i: (maps[i], -i), default=0
        )
        low, high = self.feature_info[self.low]["num_chs"], self.feature_info[-1]["num_chs"]
        self.classifier = LRASPP(low, high, classes) if head == "lraspp" else DeepLabV3(high, classes, output_stride)

    def forward_features(self, x: Tensor) -> list[Tensor]:
        """The backbone's feature maps, finest first."""
        return self.backbone.forward_features(x)  # pyright: ignore[reportCallIssue]

    def forward(self, x: Tensor) -> Tensor:
        """Logits of every pixel, (batch, classes, H, W)."""
        features = self.forward_features(x)
        return resized(self.classifier(features[self.low], features[-1]), x)

    def parts(self) -> Iterator[Part]:
        """Roles of the backbone's parts, and of the head."""
        parts: Callable[[], Iterator[Part]] | None = getattr(self.backbone, "parts", None)
        for part in parts() if parts else ():
            if part.path != "head":
                yield Part(f"backbone.{part.path}", part.role, part.level)
        yield Part("classifier", "head")


def resized(x: Tensor, like: Tensor) -> Tensor:
    """A map scaled bilinearly to the height and width of another."""
    if x.shape[2:] == like.shape[2:]:
        return x
    return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)


def lraspp(
    size: Size, *, num_classes: int = CITYSCAPES, in_channels: int = 3, width: float = 1.0, output_stride: int = 16
) -> Segmenter:
    """MobileNetV3 with half the channels in its last stage, and LR-ASPP (Howard et al. 2019, Table 7).

    Args:
        size: `large` or `small`.
        num_classes: classes of a pixel.
        in_channels: channels of the images.
        width: multiplier on the backbone's widths.
        output_stride: 8, 16 or 32.

    Raises:
        UsageError: as `mobilenetv3` and `Segmenter`.
    """
    check_sizes(num_classes=num_classes)
    backbone = mobilenetv3(size, in_channels=in_channels, width=width, reduced_tail=True)
    return Segmenter(backbone, "lraspp", num_classes, output_stride)


def mgic_lraspp(
    size: Size,
    *,
    num_classes: int = CITYSCAPES,
    in_channels: int = 3,
    width: float = 1.0,
    output_stride: int = 16,
    **options: Unpack[MGICMobileOptions],
) -> Segmenter:
    """The same over MGIC-MobileNetV3 in the rows of Howard et al. (MGIC paper, section 4.4).

    Args:
        size: as in `lraspp`.
        num_classes: as in `lraspp`.
        in_channels: as in `lraspp`.
        width: as in `lraspp`.
        output_stride: as in `lraspp`.
        **options: of `mgic_mobilenetv3`. The paper's sizes for segmentation are lost; the defaults, `SEGMENTATION`,
            come near the printed parameters of its Table 9.

    Raises:
        UsageError: as `mgic_mobilenetv3` and `Segmenter`.
    """
    check_sizes(num_classes=num_classes)
    check_choice("size", size, get_args(Size))
    sizes: MGICMobileOptions = {**SEGMENTATION[size], **options}
    backbone = mgic_mobilenetv3(
        size, in_channels=in_channels, width=width, rows="mobilenetv3", reduced_tail=True, **sizes
    )
    return Segmenter(backbone, "lraspp", num_classes, output_stride)


def deeplabv3(
    depth: int, *, num_classes: int = CITYSCAPES, in_channels: int = 3, width: float = 1.0, output_stride: int = 16
) -> Segmenter:
    """ResNet and DeepLabV3's pyramid.

    Args:
        depth: of the ResNet: 18, 34, 50 or 101.
        num_classes: classes of a pixel.
        in_channels: channels of the images.
        width: multiplier on the backbone's widths.
        output_stride: 8, 16 or 32.

    Raises:
        UsageError: as `resnet` and `Segmenter`.
    """
    check_sizes(num_classes=num_classes)
    return Segmenter(resnet(depth, in_channels=in_channels, width=width), "deeplabv3", num_classes, output_stride)


def mgic_deeplabv3(
    depth: int,
    *,
    num_classes: int = CITYSCAPES,
    in_channels: int = 3,
    width: float = 1.0,
    output_stride: int = 16,
    **options: Unpack[MGICResNetOptions],
) -> Segmenter:
    """MGIC-ResNet and DeepLabV3's pyramid, which stays dense.

    Args:
        depth: as in `deeplabv3`.
        num_classes: as in `deeplabv3`.
        in_channels: as in `deeplabv3`.
        width: as in `deeplabv3`.
        output_stride: as in `deeplabv3`.
        **options: of `mgic_resnet`.

    Raises:
        UsageError: as `mgic_resnet` and `Segmenter`.
    """
    check_sizes(num_classes=num_classes)
    backbone = mgic_resnet(depth, in_channels=in_channels, width=width, **options)
    return Segmenter(backbone, "deeplabv3", num_classes, output_stride)
