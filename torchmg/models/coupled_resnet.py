"""Residual networks whose 3x3 convolutions are channel couplings: lean, union, circulant, or any other.

Stem, shortcuts, 1x1 convolutions, norms and classifier are those of the dense networks, for small images (He et al.
2016, shortcuts without parameters) and for ImageNet; in bottlenecks only the middle convolution changes.

Sources: LeanResNet (arXiv 1904.06952) and LeanConvNets (arXiv 1910.13157) for lean, "Low-Cost Parameterizations of Deep
Convolutional Neural Networks" (arXiv 1805.07821) for union and circulant; from their abstracts and the authors' earlier
public code, as the papers themselves were not to be had (spec 1.1 to 1.3). Their networks are not known, so
these are the usual ResNets with their convolutions replaced.
"""

from functools import partial
from typing import Any, Literal, TypedDict, Unpack, get_args

from torch import nn

from torchmg.hierarchy import CouplingName, check_choice
from torchmg.models.options import ActOrder, Stencil
from torchmg.models.residual_block import basic_block, bottleneck_block
from torchmg.models.resnet import ResNet
from torchmg.models.resnet_cifar import stage_plan
from torchmg.models.resnet_imagenet import BLOCKS, REDUCTION, Stem, stage_widths
from torchmg.models.sizes import check_sizes
from torchmg.nn.conv import ConvBuilder
from torchmg.nn.conv_norm_act import ConvNormAct
from torchmg.nn.coupling import Evaluation, PointwisePart, conv_builder

Images = Literal["small", "imagenet"]
"""Whose stem and stages: `small`, a 3x3 stem before three stages; `imagenet`, a 7x7 stem with pooling before four."""
CLASSES: dict[Images, int] = {"small": 10, "imagenet": 1000}


class ResNetSizes(TypedDict, total=False):
    """What every coupled ResNet takes besides the options of its coupling."""

    num_classes: int | None
    in_channels: int
    width: float
    act_order: ActOrder


def coupled_resnet(
    depth: int,
    images: Images = "small",
    *,
    couplings: tuple[ConvBuilder, ConvBuilder],
    num_classes: int | None = None,
    in_channels: int = 3,
    width: float = 1.0,
    act_order: ActOrder = "post",
) -> ResNet:
    """A ResNet of any two convolution builders, such as `conv_builder("chain", radius=1)` twice.

    Args:
        depth: 6n + 2 or 18 for small images; 18, 34, 50 or 101 for ImageNet.
        images: see `Images`.
        couplings: what builds the first and the second 3x3 convolution of every block. Bottlenecks have one each, which
            takes turns. They must take widths that differ and, from the second stage on, stride 2.
        num_classes: classes of the linear head; 10 for small images and 1000 for ImageNet unless given.
        in_channels: channels of the images.
        width: multiplier on every stage's width.
        act_order: see `ActOrder`; with `pre` a norm and a ReLU follow the last block.

    Raises:
        UsageError: a depth that is none of these, sizes below 1, widths that a coupling cannot take.
        UnknownNameError: an unknown choice; the message names the nearest.
    """
    check_choice("images", images, get_args(Images))
    classes = CLASSES[images] if num_classes is None else num_classes
    check_sizes(num_classes=classes, in_channels=in_channels)
    first, second = couplings
    if images == "small":
        widths, count = stage_plan(depth, width)
        stem, reduction, blocks = ConvNormAct(in_channels, widths[0]), 1, [count] * len(widths)
        planes = widths
    else:
        planes, widths = stage_widths(depth, "plain", width)
        stem, reduction, blocks = Stem(in_channels, planes[0]), REDUCTION, BLOCKS[depth]
    basic = partial(
        basic_block, first=first, second=second, projection=images == "imagenet" or depth == 18, act_order=act_order
    )
    channels, stages = planes[0], []
    for index, (outer, count) in enumerate(zip(widths, blocks, strict=True)):
        layers: list[nn.Module] = []
        for position in range(count):
            stride = 2 if index > 0 and position == 0 else 1
            if outer == planes[index]:
                layers.append(basic(channels, outer, stride))
            else:
                middle = couplings[position % 2]
                layers.append(bottleneck_block(channels, outer, stride, middle=middle, act_order=act_order))
            channels = outer
        stages.append(nn.Sequential(*layers))
    if act_order == "pre":
        stages[-1].extend([nn.BatchNorm2d(channels), nn.ReLU()])
    return ResNet(stem, stages, widths, classes, reduction)


def lean_resnet(
    depth: int,
    images: Images = "small",
    *,
    stencil: Stencil = "5",
    group_size: int = 1,
    pointwise: PointwisePart = "full",
    **sizes: Unpack[ResNetSizes],
) -> ResNet:
    """A LeanResNet: every 3x3 convolution is a 1x1 one plus a few taps of a depthwise or grouped one.

    Args:
        depth: as in `coupled_resnet`.
        images: as in `coupled_resnet`.
        stencil: see `Stencil`.
        group_size: input channels that the taps of an output channel see; 1 is depthwise.
        pointwise: the 1x1 part; `circulant` is in no paper.
        **sizes: as in `coupled_resnet`.

    Raises:
        UsageError: as `coupled_resnet`, a group size that does not divide a width.
        UnknownNameError: an unknown choice; the message names the nearest.
    """
    couplings = stencil_pair("lean", stencil=stencil, group_size=group_size, pointwise=pointwise)
    return coupled_resnet(depth, images, couplings=couplings, **sizes)


def union_resnet(depth: int, images: Images = "small", **sizes: Unpack[ResNetSizes]) -> ResNet:
    """A ResNet of depthwise unions pointwise convolutions, the "special sparsity" (spec 1.2).

    Args:
        depth: as in `coupled_resnet`.
        images: as in `coupled_resnet`.
        **sizes: as in `coupled_resnet`.

    Raises:
        UsageError, UnknownNameError: as `coupled_resnet`.
    """
    return coupled_resnet(depth, images, couplings=stencil_pair("union"), **sizes)


def circulant_resnet(
    depth: int,
    images: Images = "small",
    *,
    block: int | None = None,
    evaluate: Evaluation = "dense",
    **sizes: Unpack[ResNetSizes],
) -> ResNet:
    """A ResNet of (block-)circulant convolutions (spec 1.1).

    Args:
        depth: as in `coupled_resnet`.
        images: as in `coupled_resnet`.
        block: width of the circulant blocks, a divisor of every width; by default as wide as the widths allow.
        evaluate: how they are computed; `channel_fft` saves MACs, not always time.
        **sizes: as in `coupled_resnet`.

    Raises:
        UsageError, UnknownNameError: as `coupled_resnet`.
    """
    return coupled_resnet(depth, images, couplings=stencil_pair("circulant", block=block, evaluate=evaluate), **sizes)


def stencil_pair(coupling: CouplingName, **options: Any) -> tuple[ConvBuilder, ConvBuilder]:
    """Builders of two convolutions that follow each other: equal, but for `stencil="3"`, which turns.

    Raises:
        UnknownNameError, UsageError: as `conv_builder`.
    """
    turns = ("3h", "3v") if options.get("stencil") == "3" else (options.get("stencil"),) * 2
    first, second = ({**options, "stencil": turn} if turn else options for turn in turns)
    return conv_builder(coupling, **first), conv_builder(coupling, **second)
