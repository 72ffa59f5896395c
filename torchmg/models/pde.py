"""PDE networks: residual networks as discretised partial differential equations, with any channel coupling.

Opening, blocks of time steps at one width each, 1x1 convolutions between them, pooling, a linear classifier: the
networks of Ruthotto and Haber ("Deep Neural Networks Motivated by Partial Differential Equations", J. Math. Imaging
Vis. 2020, arXiv 1804.04272), whose counts they have to the last weight, and as far as is known of "Low-Cost
Parameterizations of Deep Convolutional Neural Networks" (arXiv 1805.07821), of which only abstracts could be read. The
skeleton is that of the authors' public drivers (spec 2.7).
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from types import MappingProxyType
from typing import Any, TypedDict, Unpack, get_args

from torch import nn

from torchmg.errors import UsageError
from torchmg.hierarchy import CouplingName, check_choice
from torchmg.models.classifier import Classifies
from torchmg.models.options import Dynamics, PDEPreset
from torchmg.models.pde_steps import CouplingOptions, DiffusionOptions, StepOptions, time_steps
from torchmg.models.resnet import Staged
from torchmg.models.sizes import FeatureInfo, check_sizes, scaled
from torchmg.nn.conv_norm_act import ConvNormAct
from torchmg.nn.mgic import Part

PLANS = MappingProxyType(
    {
        "cifar10": ((32, 64, 112, 112), 10),
        "cifar100": ((32, 64, 128, 256), 100),
        "stl10": ((16, 32, 64, 128, 128), 10),
    }
)
"""Preset -> widths of the opening and after every block, and classes."""


class PDENet(Staged, Classifies):
    """Opening, blocks of steps, classifier over images (batch, in_channels, H, W); logits are (batch, num_classes).

    A block works at the width that the one before left; a 1x1 convolution with batch norm and ReLU leads to the next
    width, and 2x2 means between blocks halve the resolution, rounded up. The authors clip the first singular values of
    those 1x1 convolutions at 1 (spec 1.7 [F]); here they are drawn as any other, for the norm behind each undoes a
    scale. `forward_features` returns what leaves each block, finest first.

    Args:
        block: builds the steps of a width, such as `partial(time_steps, coupling="union")`.
        widths: of the opening and behind every block, so one more than blocks.
        num_classes: classes of the linear classifier, which has a bias.
        in_channels: channels of the images.

    Raises:
        UsageError: fewer than two widths, sizes below 1.
    """

    head: nn.Module

    def __init__(
        self, block: Callable[[int], nn.Module], widths: Sequence[int], *, num_classes: int = 10, in_channels: int = 3
    ) -> None:
        check_sizes(num_classes=num_classes, in_channels=in_channels)
        if len(widths) < 2:
            raise UsageError(f"widths must name the opening's and one behind each block, so two or more; got {widths}.")
        stem, stages = ConvNormAct(in_channels, widths[0]), []
        for index, (width, following) in enumerate(pairwise(widths)):
            stage = nn.Sequential()
            if index > 0:
                stage.add_module("pool", nn.AvgPool2d(2, ceil_mode=True))
            stage.add_module("steps", block(width))
            stage.add_module("connect", ConvNormAct(width, following, 1))
            stages.append(stage)
        info = [FeatureInfo(num_chs=width, reduction=2**i, module=f"stages.{i}") for i, width in enumerate(widths[1:])]
        super().__init__(stem, stages, info)
        self.head = nn.Linear(widths[-1], num_classes)

    def parts(self) -> Iterator[Part]:
        """Roles: steps are relaxations on the finest level of channels, 1x1 convolutions between them shortcuts."""
        yield Part("stem", "stem")
        yield Part("head", "head")
        for index in range(len(self.stages)):
            yield Part(f"stages.{index}.steps", "relax", 0)
            yield Part(f"stages.{index}.connect", "shortcut")


class PDESizes(TypedDict, total=False):
    """What every PDE network takes besides the options of its steps."""

    num_classes: int | None
    """Classes; those of the preset unless given."""
    in_channels: int
    """Channels of the images (default 3)."""
    width: float
    """Multiplier on every width."""
    preset: PDEPreset
    """Widths and classes (default cifar10)."""


class PDEOptions(PDESizes, StepOptions, CouplingOptions, total=False):
    """Options of the networks of one explicit term."""

    coupling: CouplingName
    """K of every layer (default full)."""


class ParabolicOptions(PDEOptions, DiffusionOptions, total=False):
    """Options of the parabolic network, which can treat diffusion apart and be certified."""


class ReactionOptions(PDESizes, StepOptions, DiffusionOptions, total=False):
    """Options of diffusion-reaction networks, whose names stand for their coupling."""


def parabolic(**options: Unpack[ParabolicOptions]) -> PDENet:
    """The parabolic network: y' = -K^T act(N(K y)) by explicit Euler, or by a scheme that treats diffusion apart.

    Args:
        **options: sizes as in `PDESizes`; the rest are those of `time_steps`.

    Raises:
        UsageError: sizes below 1, and as `time_steps`.
        UnknownNameError: an unknown choice; the message names the nearest.
    """
    return _net("parabolic", **options)


def hamiltonian(**options: Unpack[PDEOptions]) -> PDENet:
    """The Hamiltonian network: channels in two halves y and z, y' = F1(z), z' = -F2(y); half of parabolic's weights.

    Args:
        **options: sizes as in `PDESizes`; the rest are those of `time_steps`.

    Raises:
        UsageError: sizes below 1, odd widths, and as `time_steps`.
        UnknownNameError: an unknown choice; the message names the nearest.
    """
    return _net("hamiltonian", **options)


def second_order(**options: Unpack[PDEOptions]) -> PDENet:
    """The second-order network: y'' = -K^T act(N(K y)) by leapfrog.

    Args:
        **options: sizes as in `PDESizes`; the rest are those of `time_steps`.

    Raises:
        UsageError: sizes below 1, and as `time_steps`.
        UnknownNameError: an unknown choice; the message names the nearest.
    """
    return _net("second_order", **options)


def drnet(coupling: CouplingName, **options: Unpack[ReactionOptions]) -> PDENet:
    """The diffusion-reaction network: y' = -L y - K^T act(N(K y)), L depthwise and implicit, K coupling channels.

    That the paper's networks were of this form is a proposal, and which its three operators were is not known: `full`,
    `union` and `pointwise` are offered for them, `circulant` for that of the paper's first version (spec 2.3, 2.6).

    Args:
        coupling: K of the reaction. With `pointwise` all that happens in space is diffusion.
        **options: sizes as in `PDESizes`; the rest are those of `time_steps`. `scheme` is `imex` here unless given.

    Raises:
        UsageError: sizes below 1, and as `time_steps`.
        UnknownNameError: an unknown choice; the message names the nearest.
    """
    return _net("parabolic", coupling=coupling, **{"scheme": "imex", **options})


def _net(
    dynamics: Dynamics,
    *,
    num_classes: int | None = None,
    in_channels: int = 3,
    width: float = 1.0,
    preset: PDEPreset = "cifar10",
    **steps: Any,
) -> PDENet:
    check_choice("preset", preset, get_args(PDEPreset))
    widths, classes = PLANS[preset]
    block = partial(time_steps, dynamics=dynamics, **steps)
    classes = classes if num_classes is None else num_classes
    return PDENet(block, scaled(widths, width), num_classes=classes, in_channels=in_channels)
