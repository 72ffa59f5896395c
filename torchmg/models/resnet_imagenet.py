"""Residual networks for ImageNet, dense and multigrid-in-channels, also wide and ResNeXt-like.

Dense: torchvision's blocks between our stem and head, so that a width multiplier reaches every convolution; weights are
drawn as torchvision draws them, and stand in the order of its state dictionaries. Their strides are on the 3x3
convolutions ("ResNet V1.5").

MGIC: the same stem, stages and head; every block is an `MGICBlock`, of basic blocks in ResNet-18 and -34 and of
bottlenecks in the deeper ones (MGIC paper, Table 4). There is max-pooling in the stem, as in the authors' code; the
paper's table has "Conv2D, 64" in its place.

The paper has no wide or ResNeXt form. Ours have bottlenecks with a middle twice as wide, as the dense ones have, and
for ResNeXt with at least 32 groups in the middle of every level (`ResNeXtBottleneck`).
"""

from typing import Literal, Unpack, get_args

from torch import nn

from torchmg.errors import UsageError
from torchmg.hierarchy import ShortcutKind, check_choice
from torchmg.models.options import Preset
from torchmg.models.presets import preset_options
from torchmg.models.resnet import ResNet, mgic_stages
from torchmg.models.sizes import check_sizes, scaled
from torchmg.nn.conv_norm_act import ConvNormAct
from torchmg.nn.mgic import MGICOptions
from torchmg.nn.relax import CARDINALITY, RelaxationName

Variant = Literal["plain", "wide", "resnext"]

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
"""Depth -> blocks of every stage (He et al. 2016, Table 1)."""
WIDTHS = (64, 128, 256, 512)
"""Widths of the stages; a bottleneck's tensor is four times as wide. The stem has the first."""
REDUCTION = 4
"""By which the stem divides the resolution."""
RELAX: dict[Variant, RelaxationName] = {"plain": "bottleneck", "wide": "wide_bottleneck", "resnext": "resnext"}
"""What MGIC blocks of bottlenecks are made of."""
GROUPS: dict[Variant, tuple[int, int]] = {"plain": (1, 64), "wide": (1, 128), "resnext": (CARDINALITY, 4)}
"""(groups, width of one per 64 channels) of a dense bottleneck's middle, as torchvision has them."""


class MGICResNetOptions(MGICOptions, total=False):
    """What `mgic_resnet` takes besides sizes, for models that are built on it."""

    preset: Preset
    shortcut: ShortcutKind


class Stem(ConvNormAct):
    """7x7 convolution of stride 2, norm, ReLU, 3x3 max-pooling of stride 2: H and W are divided by 4."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__(in_channels, channels, 7, stride=2)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)


def resnet(
    depth: int, *, variant: Variant = "plain", num_classes: int = 1000, in_channels: int = 3, width: float = 1.0
) -> ResNet:
    """A dense ResNet for ImageNet, torchvision's.

    Args:
        depth: 18, 34, 50 or 101.
        variant: `plain`; with bottlenecks also `wide` (wide_resnet50_2) and `resnext` (resnext50_32x4d).
        num_classes: classes of the linear head.
        in_channels: channels of the images.
        width: multiplier on every stage's width; parameters grow with its square.

    Raises:
        UsageError: as `stage_widths`, sizes below 1, a width that leaves none in each of ResNeXt's groups.
    """
    from torchvision.models.resnet import BasicBlock, Bottleneck  # imports for seconds; the MGIC models do without

    check_sizes(num_classes=num_classes, in_channels=in_channels)
    planes, outer = stage_widths(depth, variant, width)
    groups, per_group = GROUPS[variant]
    if planes[0] * per_group < WIDTHS[0]:
        raise UsageError(f"width={width} leaves no channel in each of {groups} groups; use at least {1 / per_group}.")
    block = Bottleneck if depth >= 50 else BasicBlock
    channels, stages = planes[0], []
    for index, (inner, count) in enumerate(zip(planes, BLOCKS[depth], strict=True)):
        layers = []
        for position in range(count):
            stride = 2 if index > 0 and position == 0 else 1
            same = stride == 1 and channels == outer[index]
            shortcut = None if same else ConvNormAct(channels, outer[index], 1, stride=stride, act=None)
            layers.append(block(channels, inner, stride, shortcut, groups, per_group))
            channels = outer[index]
        stages.append(nn.Sequential(*layers))
    model = ResNet(Stem(in_channels, planes[0]), stages, outer, num_classes, REDUCTION)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return model


def mgic_resnet(
    depth: int,
    *,
    variant: Variant = "plain",
    num_classes: int = 1000,
    in_channels: int = 3,
    width: float = 1.0,
    preset: Preset = "paper",
    shortcut: ShortcutKind = "depthwise",
    **block: Unpack[MGICOptions],
) -> ResNet:
    """A ResNet for ImageNet whose blocks are multigrid in channels.

    Args:
        depth: 18, 34, 50 or 101.
        variant: `plain`; with bottlenecks also `wide` and `resnext`, see above.
        num_classes: classes of the linear head.
        in_channels: channels of the images.
        width: multiplier on every stage's width; parameters grow about linearly.
        preset: where the rules come from, see `Preset`; options given by name win over it.
        shortcut: how width and resolution change, see `ShortcutKind`.
        **block: options of `MGICBlock`. Here `coarsest` is 64 and `group_size` 32 unless given, the paper's sizes in
            the middle row of its Table 5; both are measured on the middle of a bottleneck.

    Raises:
        UsageError: as `stage_widths`, sizes below 1.
        UnknownNameError: an unknown choice; the message names the nearest.
    """
    check_sizes(num_classes=num_classes, in_channels=in_channels)
    planes, outer = stage_widths(depth, variant, width)
    relax = RELAX[variant] if depth >= 50 else "residual"
    options: MGICOptions = {"group_size": 32, "coarsest": 64, **preset_options(preset, outer), **block}
    stages = mgic_stages(planes[0], outer, BLOCKS[depth], relax=relax, shortcut=shortcut, options=options)
    return ResNet(Stem(in_channels, planes[0]), stages, outer, num_classes, REDUCTION)


def stage_widths(depth: int, variant: Variant, width: float) -> tuple[list[int], list[int]]:
    """(widths inside the blocks, widths of the tensors between them) of the stages.

    Raises:
        UsageError: an unknown depth, a variant without bottlenecks, or a width multiplier that leaves no channels.
        UnknownNameError: an unknown variant; the message names the nearest.
    """
    check_choice("variant", variant, get_args(Variant))
    if depth not in BLOCKS:
        raise UsageError(f"depth must be one of {', '.join(map(str, BLOCKS))}; got {depth}.")
    if depth < 50 and variant != "plain":
        raise UsageError(f"variant={variant!r} changes bottlenecks, of which depth {depth} has none; use 50 or 101.")
    planes = scaled(WIDTHS, width)
    return planes, [4 * channels for channels in planes] if depth >= 50 else planes
