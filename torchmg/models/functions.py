"""Networks that approximate functions, of MobileNetV3, Ghost or MGIC blocks.

MGIC paper, Table 2: a point of space is a 1x1 image, so that every convolution is 1x1. A stem of 16
channels; two blocks at every width 16, 32, 64, ..., `channels`; a convolution with norm and ReLU; a convolution to the
function's components. `channels` bounds the width: parameters grow with its square for the first two and about linearly
for MGIC, which is what the paper compares.

What our copy of the paper has lost is decided here: blocks expand four times, without squeeze and excitation, with ReLU
only, and the width changes by a bare 1x1 convolution between blocks.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Unpack

from torch import Tensor, nn

from torchmg.errors import ShapeError, UsageError
from torchmg.models.resnet import Staged
from torchmg.models.sizes import FeatureInfo, check_sizes
from torchmg.nn.conv import check_input, grouped_conv
from torchmg.nn.conv_norm_act import ConvNormAct
from torchmg.nn.ghost import GhostBottleneck
from torchmg.nn.inverted_residual import InvertedResidual
from torchmg.nn.mgic import MGICBlock, MGICOptions, Part

FIRST = 16
"""Width of the stem and of the first blocks."""
BLOCKS = 2
"""Blocks at every width."""
EXPANSION = 4
"""Hidden width of a block over its width, on every level."""


class FunctionNet(Staged):
    """Stem, stages, tail, head over points (batch, in_channels, 1, 1); values are (batch, num_classes).

    `forward_features` returns what every stage makes, narrowest first; `feature_info` says what they are.

    Args:
        block: builds the block of a width.
        channels: the last width, as `stage_widths` wants it.
        num_classes: components of the function's value.
        in_channels: coordinates of a point.

    Raises:
        UsageError: as `stage_widths`, sizes below 1.
    """

    def __init__(self, block: Callable[[int], nn.Module], channels: int, num_classes: int, in_channels: int) -> None:
        check_sizes(num_classes=num_classes, in_channels=in_channels)
        widths = stage_widths(channels)
        stem, stages = ConvNormAct(in_channels, FIRST, 1), []
        for index, width in enumerate(widths):
            stage = nn.Sequential()
            if index > 0:
                stage.add_module("change", grouped_conv(widths[index - 1], width, 1))
            for number in range(BLOCKS):
                stage.add_module(str(number), block(width))
            stages.append(stage)
        info = [FeatureInfo(num_chs=width, reduction=1, module=f"stages.{i}") for i, width in enumerate(widths)]
        super().__init__(stem, stages, info)
        self.tail = ConvNormAct(channels, channels, 1)
        self.head = nn.Conv2d(channels, num_classes, 1)

    def forward_features(self, x: Tensor) -> list[Tensor]:
        """The result of every stage, (batch, num_chs, 1, 1) each."""
        check_input(x, self.stem.conv.in_channels)
        if x.shape[2:] != (1, 1):
            raise ShapeError(
                f"Expected points (batch, {x.shape[1]}, 1, 1); got {tuple(x.shape)}. "
                "Give a grid of points as a batch: x.movedim(1, -1).flatten(0, -2)[..., None, None]."
            )
        return super().forward_features(x)

    def forward(self, x: Tensor) -> Tensor:
        """The function's values, (batch, num_classes)."""
        return self.head(self.tail(self.forward_features(x)[-1])).flatten(1)

    def parts(self) -> Iterator[Part]:
        """Roles of what is not inside an MGIC block; a dense block is one relaxation on the finest level."""
        yield Part("stem", "stem")
        yield from (Part(name, "head") for name in ("tail", "head"))
        for index, stage in enumerate(self.stages):
            for name, layer in stage.named_children():
                if name == "change":
                    yield Part(f"stages.{index}.{name}", "shortcut")
                elif not isinstance(layer, MGICBlock):
                    yield Part(f"stages.{index}.{name}", "relax", 0)


def stage_widths(channels: int) -> list[int]:
    """16, 32, ..., `channels`.

    Raises:
        UsageError: `channels` that no doubling of 16 gives.
    """
    check_sizes(channels=channels)
    widths = [FIRST]
    while widths[-1] < channels:
        widths.append(2 * widths[-1])
    if widths[-1] != channels:
        near = widths[-2:] if channels > FIRST else widths
        raise UsageError(
            f"channels must be a power of two, at least {FIRST}; got {channels}. Nearest: {', '.join(map(str, near))}."
        )
    return widths


def function_mobilenetv3(*, channels: int = 64, num_classes: int = 1, in_channels: int = 2) -> FunctionNet:
    """A network of MobileNetV3's inverted residuals: 97,857 parameters as it stands.

    Args:
        channels: the last width, a power of two from 16; parameters grow with its square.
        num_classes: components of the function's value.
        in_channels: coordinates of a point.

    Raises:
        UsageError: as `stage_widths`, sizes below 1.
    """
    return FunctionNet(_inverted_residual, channels, num_classes, in_channels)


def function_ghost(*, channels: int = 64, num_classes: int = 1, in_channels: int = 2) -> FunctionNet:
    """A network of Ghost bottlenecks, each of whose modules computes half of its channels by a cheap 1x1 operation.

    Args:
        channels: as in `function_mobilenetv3`.
        num_classes: as in `function_mobilenetv3`.
        in_channels: as in `function_mobilenetv3`.

    Raises:
        UsageError: as `function_mobilenetv3`.
    """
    return FunctionNet(_ghost, channels, num_classes, in_channels)


def function_mgic(
    *, channels: int = 64, num_classes: int = 1, in_channels: int = 2, **block: Unpack[MGICOptions]
) -> FunctionNet:
    """A network of MGIC blocks of inverted residuals: 64,321 parameters as it stands.

    Args:
        channels: the last width, a power of two from 16; parameters grow about linearly.
        num_classes: as in `function_mobilenetv3`.
        in_channels: as in `function_mobilenetv3`.
        **block: options of `MGICBlock`. `group_size` and `coarsest` are 16, our choice: the width of the first blocks,
            measured on the tensor, not on the hidden width.

    Raises:
        UsageError: as `stage_widths`, sizes below 1 and those that `MGICBlock` refuses.
        UnknownNameError: an unknown choice; the message names the nearest.
    """
    given: MGICOptions = {"group_size": 16, "coarsest": 16, "group_by": "outer", **block}
    return FunctionNet(partial(_multigrid, given), channels, num_classes, in_channels)


def _inverted_residual(channels: int, groups: int = 1) -> InvertedResidual:
    return InvertedResidual(channels, groups, hidden=EXPANSION * channels, kernel_size=1)


def _ghost(channels: int) -> GhostBottleneck:
    return GhostBottleneck(channels, hidden=EXPANSION * channels, cheap_size=1)


def _multigrid(options: MGICOptions, channels: int) -> MGICBlock:
    return MGICBlock(channels, relax=_inverted_residual, hidden=EXPANSION * channels, **options)
