"""Residual networks for small images, dense and multigrid-in-channels.

Dense: He et al. 2016, section 4.2: a 3x3 stem, three stages of widths 16, 32, 64 with n basic blocks each
(depth 6n + 2), shortcuts without parameters (option A), average pool, linear head. `resnet18_cifar` has the
stages of the ImageNet ResNet-18 (64 to 512, two blocks each, 1x1 projection shortcuts) behind a 3x3 stem.

MGIC: the same stem, stages and head; every block is an `MGICBlock`, and a stage that changes width or
resolution starts with a `LightShortcut` (MGIC paper, sections 3.5 and 4.2).
"""

from typing import Unpack

from torch import nn

from torchmg.errors import UsageError
from torchmg.hierarchy import ShortcutKind
from torchmg.models.options import Preset
from torchmg.models.presets import preset_options
from torchmg.models.residual_block import basic_block
from torchmg.models.resnet import ResNet, mgic_stages
from torchmg.models.sizes import check_sizes, scaled
from torchmg.nn.conv_norm_act import ConvNormAct
from torchmg.nn.mgic import MGICOptions


def stage_plan(depth: int, width: float) -> tuple[list[int], int]:
    """(stage widths, blocks per stage) of a depth: 18 has the ImageNet stages, all others are 6n + 2 deep.

    Raises:
        UsageError: a depth that is not 6n + 2, or a width multiplier that leaves no channels.
    """
    if depth != 18 and (depth < 8 or (depth - 2) % 6):
        below = max(8, (depth - 2) // 6 * 6 + 2)
        raise UsageError(f"depth must be 6n + 2 (or 18); got {depth}. Nearest: {below}, {below + 6}.")
    base, blocks = ((64, 128, 256, 512), 2) if depth == 18 else ((16, 32, 64), (depth - 2) // 6)
    return scaled(base, width), blocks


def resnet(depth: int, *, num_classes: int = 10, in_channels: int = 3, width: float = 1.0) -> ResNet:
    """A dense ResNet for small images.

    Args:
        depth: 6n + 2 (20, 32, 44, 56, 110, ...), or 18 for the ImageNet stages.
        num_classes: classes of the linear head.
        in_channels: channels of the images.
        width: multiplier on every stage's width; parameters grow with its square.
    """
    check_sizes(num_classes=num_classes, in_channels=in_channels)
    widths, count = stage_plan(depth, width)
    stages = []
    for index, channels in enumerate(widths):
        # The first block is drawn last: a seed's weights are those of the records in results/.
        blocks = [basic_block(channels, channels) for _ in range(count)]
        if index > 0:
            blocks[0] = basic_block(widths[index - 1], channels, 2, projection=depth == 18)
        stages.append(nn.Sequential(*blocks))
    return ResNet(ConvNormAct(in_channels, widths[0]), stages, widths, num_classes)


def mgic_resnet(
    depth: int,
    *,
    num_classes: int = 10,
    in_channels: int = 3,
    width: float = 1.0,
    preset: Preset = "paper",
    shortcut: ShortcutKind = "depthwise",
    **block: Unpack[MGICOptions],
) -> ResNet:
    """A ResNet for small images whose blocks are multigrid in channels.

    Args:
        depth: as in `resnet`, of which this has the stem, stages and head.
        num_classes: classes of the linear head.
        in_channels: channels of the images.
        width: multiplier on every stage's width; parameters grow about linearly.
        preset: where the rules come from, see `Preset`; options given by name win over it.
        shortcut: how width and resolution change, see `ShortcutKind`.
        **block: options of `MGICBlock`, such as `group_size=8`, `coarsest=16`.
    """
    check_sizes(num_classes=num_classes, in_channels=in_channels)
    widths, blocks = stage_plan(depth, width)
    options: MGICOptions = {**preset_options(preset, widths), **block}
    stages = mgic_stages(widths[0], widths, [blocks] * len(widths), shortcut=shortcut, options=options)
    return ResNet(ConvNormAct(in_channels, widths[0]), stages, widths, num_classes)
