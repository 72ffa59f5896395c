"""MobileNetV3-Large and -Small, dense and multigrid in channels.

Dense: torchvision's blocks in the rows of Howard et al. (ICCV 2019), so that state dictionaries hold what torchvision's
do. MGIC: every bottleneck is an `MGICBlock` of inverted residuals; where width or resolution changes, a light shortcut
without activation comes before it (MGIC paper, section 3.5). Large has the rows of the paper's Table 6, which are
GhostNet's; Small those of Howard et al., which the paper's segmentation networks use.

The paper's printed counts are not met by its own description; `torchmg table mgic-7` and `mgic-13` show by how much.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import Literal, NamedTuple, Unpack, get_args

from torch import nn

from torchmg.errors import UsageError
from torchmg.hierarchy import ShortcutKind, check_choice
from torchmg.models.classifier import Classifies
from torchmg.models.options import Activation, HeadScale, MobilePreset, SELevels
from torchmg.models.resnet import Staged
from torchmg.models.sizes import FeatureInfo, check_sizes
from torchmg.nn.conv_norm_act import ConvNormAct
from torchmg.nn.inverted_residual import InvertedResidual
from torchmg.nn.mgic import MGICBlock, MGICOptions, Part
from torchmg.nn.shortcut import LightShortcut

Size = Literal["large", "small"]
Rows = Literal["mobilenetv3", "table6"]


class Bneck(NamedTuple):
    """One row: a bottleneck of `hidden` inner channels."""

    kernel_size: int
    hidden: int
    channels: int
    excite: bool
    hswish: bool
    stride: int


class MGICMobileOptions(MGICOptions, total=False):
    """What `mgic_mobilenetv3` takes besides sizes, for models that are built on it."""

    preset: MobilePreset
    act: Activation
    se_levels: SELevels
    se_ratio: float
    head_scale: HeadScale
    shortcut: ShortcutKind


BlockBuilder = Callable[[int, Bneck], list[nn.Module]]
"""(channels that come in, row) -> the layers of the row."""


def _rows(text: str) -> tuple[Bneck, ...]:
    fields = (line.split() for line in text.strip().splitlines())
    return tuple(Bneck(int(k), int(h), int(c), se == "se", act == "hs", int(s)) for k, h, c, se, act, s in fields)


LARGE = _rows("""
    3  16  16 -  re 1
    3  64  24 -  re 2
    3  72  24 -  re 1
    5  72  40 se re 2
    5 120  40 se re 1
    5 120  40 se re 1
    3 240  80 -  hs 2
    3 200  80 -  hs 1
    3 184  80 -  hs 1
    3 184  80 -  hs 1
    3 480 112 se hs 1
    3 672 112 se hs 1
    5 672 160 se hs 2
    5 960 160 se hs 1
    5 960 160 se hs 1
""")
"""MobileNetV3-Large (Howard et al., Table 1): kernel, hidden, channels, squeeze-excite, activation, stride."""
TABLE_6 = _rows("""
    3  16  16 -  re 1
    3  48  24 -  re 2
    3  72  24 -  re 1
    5  72  40 se re 2
    5 120  40 se re 1
    3 240  80 -  hs 2
    3 200  80 -  hs 1
    3 184  80 -  hs 1
    3 184  80 -  hs 1
    3 480 112 se hs 1
    3 672 112 se hs 1
    5 672 160 se hs 2
    5 960 160 -  hs 1
    5 960 160 se hs 1
    5 960 160 -  hs 1
    5 960 160 se hs 1
""")
"""MGIC paper, Table 6. Kernels, activations and part of the squeeze-excite marks follow GhostNet, whose table it is."""
SMALL = _rows("""
    3  16  16 se re 2
    3  72  24 -  re 2
    3  88  24 -  re 1
    5  96  40 se hs 2
    5 240  40 se hs 1
    5 240  40 se hs 1
    5 120  48 se hs 1
    5 144  48 se hs 1
    5 288  96 se hs 2
    5 576  96 se hs 1
    5 576  96 se hs 1
""")
"""MobileNetV3-Small (Howard et al., Table 2)."""
STEM = 16
HEAD: Mapping[Size, int] = MappingProxyType({"large": 1280, "small": 1024})
"""Width of the classifier's inner layer."""
TAIL = 6
"""Channels of the last convolution over those of the last row."""
EPS, MOMENTUM = 0.001, 0.01
"""Of the dense networks' norms (Howard et al. 2019, section 6.1.1: a momentum of 0.99 for what was)."""
PRESETS: Mapping[str, MGICOptions] = MappingProxyType(
    {
        "paper": MGICOptions(stop="le", group_rule="ceil", group_size=64, coarsest=64),
        "table13": MGICOptions(stop="le", group_rule="ceil_down", group_size=64, coarsest=64),
        "budget_140m": MGICOptions(stop="le", group_rule="ceil", group_size=32, coarsest=32),
    }
)


class MobileNetV3(Staged, Classifies):
    """Stem, stages of bottlenecks, head over images (batch, in_channels, H, W); logits are (batch, num_classes).

    `forward_features` returns the last map of every resolution, finest first, as timm's do; the last one is that of the
    1x1 convolution before the pooling. `feature_info` says what they are.
    """

    head: nn.Module

    def __init__(
        self, stem: ConvNormAct, stages: list[nn.Sequential], info: list[FeatureInfo], head: nn.Sequential
    ) -> None:
        super().__init__(stem, stages, info)
        self.head = head

    def parts(self) -> Iterator[Part]:
        """Roles of what is not inside an MGIC block; a dense bottleneck is one relaxation on the finest level."""
        yield Part("stem", "stem")
        yield Part("head", "head")
        for index, stage in enumerate(self.stages):
            for name, layer in stage.named_children():
                path = f"stages.{index}.{name}"
                if isinstance(layer, LightShortcut):
                    yield Part(path, "shortcut")
                elif name == "tail":
                    yield Part(path, "head")
                elif not isinstance(layer, MGICBlock):
                    yield Part(path, "relax", 0)


def mobilenetv3(
    size: Size,
    *,
    num_classes: int | None = None,
    in_channels: int = 3,
    width: float = 1.0,
    rows: Rows = "mobilenetv3",
    stem_stride: int = 2,
    reduced_tail: bool = False,
) -> MobileNetV3:
    """A dense MobileNetV3 of torchvision's blocks.

    Args:
        size: `large` or `small`.
        num_classes: classes of the head; default 1000, with `stem_stride=1` 10.
        in_channels: channels of the images.
        width: multiplier on all widths, which are then rounded to multiples of 8.
        rows: those of Howard et al., or for Large those of the MGIC paper's Table 6.
        stem_stride: 2; 1 for images of about 32 pixels.
        reduced_tail: half the channels on the last resolution, as segmentation uses it (`halved_tail`).

    Raises:
        UsageError: sizes below 1, a width that leaves no channels.
        UnknownNameError: an unknown choice; the message names the nearest.
    """
    from torchvision.models.mobilenetv3 import InvertedResidual as Dense
    from torchvision.models.mobilenetv3 import InvertedResidualConfig

    num_classes = num_classes if num_classes is not None else (1000 if stem_stride > 1 else 10)
    check_sizes(num_classes=num_classes, in_channels=in_channels, stem_stride=stem_stride)
    table = _scaled_rows(size, rows, width, reduced_tail)

    def block(channels: int, row: Bneck) -> list[nn.Module]:
        act = "HS" if row.hswish else "RE"
        sizes = (channels, row.kernel_size, row.hidden, row.channels, row.excite, act, row.stride)
        return [Dense(InvertedResidualConfig(*sizes, dilation=1, width_mult=1.0), nn.BatchNorm2d)]

    model = _network(size, table, block, num_classes, in_channels, width, nn.Hardswish, "wide", stem_stride)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            module.eps, module.momentum = EPS, MOMENTUM
    return model


def mgic_mobilenetv3(
    size: Size,
    *,
    num_classes: int | None = None,
    in_channels: int = 3,
    width: float = 1.0,
    preset: MobilePreset = "paper",
    act: Activation = "hswish",
    se_levels: SELevels | None = None,
    se_ratio: float | None = None,
    head_scale: HeadScale | None = None,
    rows: Rows | None = None,
    stem_stride: int = 2,
    reduced_tail: bool = False,
    shortcut: ShortcutKind = "depthwise",
    **block: Unpack[MGICOptions],
) -> MobileNetV3:
    """A MobileNetV3 whose bottlenecks are multigrid in channels.

    Args:
        size: `large` or `small`.
        num_classes: classes of the head; default 1000, with `stem_stride=1` 10.
        in_channels: channels of the images.
        width: multiplier on all widths, which are then rounded to multiples of 8; the paper's are 0.6, 1.0, 1.2.
        preset: see `MobilePreset`; options given by name win over it.
        act: `hswish` where the table has it, or `relu` everywhere.
        se_levels: levels with squeeze and excitation, in rows that have it.
        se_ratio: its inner width over the row's hidden width.
        head_scale: whether the classifier's inner layer follows `width` below 1, too.
        rows: default Table 6 for Large and Howard et al. for Small.
        stem_stride: 2; 1 for images of about 32 pixels.
        reduced_tail: half the channels on the last resolution, as segmentation uses it.
        shortcut: how width and resolution change, see `ShortcutKind`; no activation follows.
        **block: options of `MGICBlock`. `coarsest` and `group_size` are 64, the paper's; both transfers are normalised,
            as in the authors' MobileNet code; sizes are measured on the tensor, not the hidden width.

    Raises:
        UsageError: as `mobilenetv3`; an `se_ratio` not above 0.
        UnknownNameError: an unknown choice; the message names the nearest.
    """
    num_classes = num_classes if num_classes is not None else (1000 if stem_stride > 1 else 10)
    check_sizes(num_classes=num_classes, in_channels=in_channels, stem_stride=stem_stride)
    check_choice("preset", preset, get_args(MobilePreset))
    check_choice("act", act, get_args(Activation))
    fitted = preset == "table13"
    se_levels = se_levels or ("finest" if preset == "budget_140m" else "all")
    check_choice("se_levels", se_levels, get_args(SELevels))
    se_ratio = se_ratio if se_ratio is not None else (0.125 if fitted else 0.25)
    if not 0 < se_ratio < float("inf"):
        raise UsageError(f"se_ratio must be above 0; got {se_ratio}. MobileNetV3 has 0.25.")
    head_scale = head_scale or ("always" if fitted else "wide")
    check_choice("head_scale", head_scale, get_args(HeadScale))
    table = _scaled_rows(size, rows or ("table6" if size == "large" else "mobilenetv3"), width, reduced_tail)
    options: MGICOptions = {"transfer_norm": "both", "group_by": "outer", **PRESETS[preset], **block}

    def layers(channels: int, row: Bneck) -> list[nn.Module]:
        kind = nn.Hardswish if row.hswish and act == "hswish" else nn.ReLU
        change = [LightShortcut(channels, row.channels, row.stride, kind=shortcut, act=None)]
        relax = partial(_relaxation, row, kind, se_levels, se_ratio)
        same = channels == row.channels and row.stride == 1
        return [*([] if same else change), MGICBlock(row.channels, relax=relax, hidden=row.hidden, **options)]

    last = nn.Hardswish if act == "hswish" else nn.ReLU
    return _network(size, table, layers, num_classes, in_channels, width, last, head_scale, stem_stride)


def _relaxation(
    row: Bneck, act: type[nn.Module], se_levels: SELevels, se_ratio: float, channels: int, groups: int
) -> InvertedResidual:
    """The row's inverted residual on the level of `channels`."""
    hidden = row.hidden * channels // row.channels
    excited = row.excite and (se_levels == "all" or channels == row.channels)
    squeezed = multiple_of_8(hidden * se_ratio) if excited else None
    return InvertedResidual(channels, groups, hidden=hidden, kernel_size=row.kernel_size, act=act, squeezed=squeezed)


def _network(
    size: Size,
    table: list[Bneck],
    block: BlockBuilder,
    num_classes: int,
    in_channels: int,
    width: float,
    act: type[nn.Module],
    head_scale: HeadScale,
    stem_stride: int,
) -> MobileNetV3:
    channels, reduction = multiple_of_8(STEM * width), stem_stride
    stem = ConvNormAct(in_channels, channels, 3, stride=stem_stride, act=act)
    stages, info = [], []
    layers: list[nn.Module] = []
    for index, row in enumerate(table):
        layers += block(channels, row)
        channels, reduction = row.channels, reduction * row.stride
        if index + 1 < len(table) and table[index + 1].stride == 1:
            continue
        stage = nn.Sequential(*layers)
        if index + 1 == len(table):
            stage.add_module("tail", ConvNormAct(channels, TAIL * channels, 1, act=act))
            channels *= TAIL
        info.append(FeatureInfo(num_chs=channels, reduction=reduction, module=f"stages.{len(stages)}"))
        stages.append(stage)
        layers = []
    scale = width if head_scale == "always" else max(width, 1.0)
    inner = multiple_of_8(HEAD[size] * scale)
    head = nn.Sequential(nn.Linear(channels, inner), act(), nn.Dropout(0.2), nn.Linear(inner, num_classes))
    for layer in head:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, 0.0, 0.01)
            nn.init.zeros_(layer.bias)
    return MobileNetV3(stem, stages, info, head)


def _scaled_rows(size: Size, rows: Rows, width: float, reduced_tail: bool) -> list[Bneck]:
    check_choice("size", size, get_args(Size))
    check_choice("rows", rows, get_args(Rows))
    if size == "small" and rows == "table6":
        raise UsageError('The MGIC paper\'s Table 6 is a MobileNetV3-Large; use rows="mobilenetv3" for the small one.')
    if not 0 < width < float("inf"):
        raise UsageError(f"width must be a finite multiplier above 0; got {width}.")
    table = list(SMALL if size == "small" else LARGE if rows == "mobilenetv3" else TABLE_6)
    if reduced_tail:
        table = halved_tail(table)
    return [
        row._replace(hidden=multiple_of_8(row.hidden * width), channels=multiple_of_8(row.channels * width))
        for row in table
    ]


def halved_tail(table: list[Bneck]) -> list[Bneck]:
    """The rows with half the channels and hidden channels from the last change of resolution on.

    Howard et al., section 6.4, halve "the channels of the last block"; only with the hidden width of the first of these
    rows halved too do their segmentation networks have the published parameters.
    """
    last = max(index for index, row in enumerate(table) if row.stride == 2)
    halved = [row._replace(hidden=row.hidden // 2, channels=row.channels // 2) for row in table[last:]]
    return table[:last] + halved


def multiple_of_8(width: float) -> int:
    """The multiple of 8 that is nearest to a width, at least 8 and never below 90 % of it, as in MobileNetV3's code."""
    nearest = max(8, int(width + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * width else nearest
