"""Residual networks for small images, dense and multigrid-in-channels.

Dense: He et al. 2016, section 4.2: a 3x3 stem, three stages of widths 16, 32, 64 with n basic blocks each
(depth 6n + 2), shortcuts without parameters (option A), average pool, linear head. `resnet18_cifar` has the
stages of the ImageNet ResNet-18 (64 to 512, two blocks each, 1x1 projection shortcuts) behind a 3x3 stem.

MGIC: the same stem, stages and head; every block is an `MGICBlock`, and a stage that changes width or
resolution starts with a `LightShortcut` (MGIC paper, sections 3.5 and 4.2).
"""

from collections.abc import Iterator, Sequence
from typing import Unpack, get_args

from torch import Tensor, nn
from torch.nn import functional as F

from torchmg.errors import UsageError
from torchmg.hierarchy import ShortcutKind, check_choice
from torchmg.models.options import Preset
from torchmg.models.sizes import FeatureInfo, check_sizes, scaled
from torchmg.nn.conv import ConvNormAct, GroupedConv2d, check_input
from torchmg.nn.mgic import MGICBlock, MGICOptions, Part
from torchmg.nn.relax import Residual
from torchmg.nn.shortcut import LightShortcut


class SmallImageResNet(nn.Module):
    """Stem, stages, head over images (batch, in_channels, H, W); logits are (batch, num_classes).

    `forward_features` returns the output of every stage, finest first; `feature_info` says what they are.
    """

    def __init__(self, stem: ConvNormAct, stages: Sequence[nn.Sequential], widths: Sequence[int], classes: int) -> None:
        super().__init__()
        self.stem = stem
        self.stages = nn.ModuleList(stages)
        self.head = nn.Linear(widths[-1], classes)
        self.feature_info = [
            FeatureInfo(num_chs=width, reduction=2**i, module=f"stages.{i}") for i, width in enumerate(widths)
        ]

    def forward_features(self, x: Tensor) -> list[Tensor]:
        """The feature map after every stage, (batch, num_chs, H / reduction, W / reduction) each."""
        check_input(x, self.stem.conv.in_channels)
        features = []
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features

    def forward(self, x: Tensor) -> Tensor:
        """Logits, (batch, num_classes)."""
        return self.head(self.forward_features(x)[-1].mean((2, 3)))

    def parts(self) -> Iterator[Part]:
        """Roles of what is not inside an MGIC block; a dense block is one relaxation on the finest level."""
        yield Part("stem", "stem")
        yield Part("head", "head")
        for path, module in self.named_modules():
            if isinstance(module, LightShortcut):
                yield Part(path, "shortcut")
            elif isinstance(module, Residual | StridedResidual) and ".relax." not in path:
                yield Part(path, "relax", 0)


class StridedResidual(nn.Module):
    """A basic block that changes width and resolution: y = ReLU(S(x) + N2(K2 ReLU(N1(K1 x)))), K1 strided.

    (batch, in_channels, H, W) -> (batch, out_channels, H / stride, W / stride). `projection` chooses S: a 1x1
    convolution with norm, or (option A of He et al.) every stride-th pixel with zero channels appended.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, *, projection: bool) -> None:
        super().__init__()
        self.conv1 = GroupedConv2d(in_channels, out_channels, 3, stride=stride)
        self.norm1 = nn.BatchNorm2d(out_channels)
        self.conv2 = GroupedConv2d(out_channels, out_channels, 3)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.stride, self.extra = stride, out_channels - in_channels
        self.shortcut = ConvNormAct(in_channels, out_channels, 1, stride=stride, act=None) if projection else None

    def forward(self, x: Tensor) -> Tensor:
        """One strided residual step."""
        y = F.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        if self.shortcut is None:
            return F.relu(y + F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra)))
        return F.relu(y + self.shortcut(x))


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


def resnet(depth: int, *, num_classes: int = 10, in_channels: int = 3, width: float = 1.0) -> SmallImageResNet:
    """A dense ResNet for small images.

    Args:
        depth: 6n + 2 (20, 32, 44, 56, 110, ...), or 18 for the ImageNet stages.
        num_classes: classes of the linear head.
        in_channels: channels of the images.
        width: multiplier on every stage's width; parameters grow with its square.
    """
    check_sizes(num_classes=num_classes, in_channels=in_channels)
    widths, blocks = stage_plan(depth, width)
    stages = []
    for index, channels in enumerate(widths):
        layers: list[nn.Module] = [Residual(channels) for _ in range(blocks)]
        if index > 0:
            layers[0] = StridedResidual(widths[index - 1], channels, 2, projection=depth == 18)
        stages.append(nn.Sequential(*layers))
    return SmallImageResNet(ConvNormAct(in_channels, widths[0]), stages, widths, num_classes)


def mgic_resnet(
    depth: int,
    *,
    num_classes: int = 10,
    in_channels: int = 3,
    width: float = 1.0,
    preset: Preset = "paper",
    shortcut: ShortcutKind = "depthwise",
    **block: Unpack[MGICOptions],
) -> SmallImageResNet:
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
    presets: dict[str, MGICOptions] = {
        "paper": MGICOptions(stop="le", group_rule="ceil"),
        "table5": MGICOptions(stop="le1", group_rule="ceil", group_by="mid"),
        "reference_code": MGICOptions(stop="lt1", group_rule="floor"),
        "two_level": MGICOptions(stop="le1", group_rule="ceil", coarsest=max(widths)),
    }
    check_choice("preset", preset, get_args(Preset))
    options: MGICOptions = {**presets[preset], **block}
    stages = []
    for index, channels in enumerate(widths):
        layers: list[nn.Module] = [MGICBlock(channels, **options) for _ in range(blocks)]
        if index > 0:
            layers.insert(0, LightShortcut(widths[index - 1], channels, 2, kind=shortcut))
        stages.append(nn.Sequential(*layers))
    return SmallImageResNet(ConvNormAct(in_channels, widths[0]), stages, widths, num_classes)
