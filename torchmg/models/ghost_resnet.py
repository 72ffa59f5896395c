"""Ghost-ResNets: residual networks whose convolutions are Ghost modules, the MGIC paper's rivals of equal cost.

Han et al., "GhostNet: More Features from Cheap Operations", CVPR 2020, section 4. Every convolution behind the
stem is a Ghost module, those of the projection shortcuts included; stem and head stay as they are (so say the authors
in their repository). The last module of a block and the shortcut have no activation.

Counts of ours, and what the paper prints: depth 56 for CIFAR 0.438 M / 65.3 M MACs (0.43 M / 63 M); depth 50 for
ImageNet with ratio 2 13.95 M / 2.15 G (13.0 M / 2.2 G), with ratio 4 8.15 M / 1.18 G (6.5 M / 1.2 G). The printed MACs
of depth 50 are met, its parameters are not: a dense classifier alone has 2.05 M. The authors' published code has as
many as ours (huawei-noah/Efficient-AI-Backbones, issue 146).
"""

from torch import Tensor, nn
from torch.nn import functional as F

from torchmg.models.resnet import ResNet
from torchmg.models.resnet_cifar import stage_plan
from torchmg.models.resnet_imagenet import BLOCKS, REDUCTION, Stem, stage_widths
from torchmg.models.sizes import check_sizes
from torchmg.nn.conv_norm_act import ConvNormAct
from torchmg.nn.ghost import Ghost

CHEAP = 3
"""Width of the cheap kernels, d of the paper."""


class GhostStep(nn.Module):
    """A residual step of Ghost modules: y = ReLU(S(x) + G x), where G is a basic block or a bottleneck.

    (batch, in_channels, H, W) -> (batch, out_channels, H / stride, W / stride). Where the shape stays, S is the
    identity; else a 1x1 Ghost module without activation, or (`projection=False`, option A of He et al.) every
    stride-th pixel with zero channels appended.

    Args:
        in_channels: width of what enters.
        out_channels: width of what leaves.
        stride: of the block's first 3x3 module.
        ratio: of every module, see `Ghost`.
        middle: inner width of a bottleneck (1x1, 3x3, 1x1); None for a basic block (3x3, 3x3).
        projection: kind of the shortcut.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        *,
        ratio: int,
        middle: int | None = None,
        projection: bool = True,
    ) -> None:
        super().__init__()
        inner = out_channels if middle is None else middle
        wide = Ghost(in_channels if middle is None else middle, inner, 3, ratio=ratio, cheap_size=CHEAP, stride=stride)
        if middle is None:
            last = Ghost(inner, out_channels, 3, ratio=ratio, cheap_size=CHEAP, act=None)
            self.path = nn.Sequential(wide, last)
        else:
            first = Ghost(in_channels, middle, 1, ratio=ratio, cheap_size=CHEAP)
            last = Ghost(middle, out_channels, 1, ratio=ratio, cheap_size=CHEAP, act=None)
            self.path = nn.Sequential(first, wide, last)
        self.stride, self.extra = stride, out_channels - in_channels
        self.shortcut = None
        if projection and (stride > 1 or self.extra):
            self.shortcut = Ghost(in_channels, out_channels, 1, ratio=ratio, cheap_size=CHEAP, stride=stride, act=None)

    def forward(self, x: Tensor) -> Tensor:
        """One residual step."""
        y = self.path(x)
        if self.shortcut is not None:
            return F.relu(y + self.shortcut(x))
        if self.stride > 1 or self.extra:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra))
        return F.relu(y + x)


def ghost_resnet_cifar(
    depth: int, *, num_classes: int = 10, in_channels: int = 3, width: float = 1.0, ratio: int = 2
) -> ResNet:
    """A Ghost-ResNet for small images; depth 56 is the paper's.

    Args:
        depth: 6n + 2, or 18 for the ImageNet stages, as in `resnet_cifar.resnet`, whose shortcuts it has.
        num_classes: classes of the linear head.
        in_channels: channels of the images.
        width: multiplier on every stage's width.
        ratio: see `Ghost`; 2 is the paper's.

    Raises:
        UsageError: as `stage_plan`, sizes below 1.
    """
    check_sizes(num_classes=num_classes, in_channels=in_channels, ratio=ratio)
    widths, blocks = stage_plan(depth, width)
    channels, stages = widths[0], []
    for index, outer in enumerate(widths):
        steps = []
        for position in range(blocks):
            stride = 2 if index > 0 and position == 0 else 1
            steps.append(GhostStep(channels, outer, stride, ratio=ratio, projection=depth == 18))
            channels = outer
        stages.append(nn.Sequential(*steps))
    return ResNet(ConvNormAct(in_channels, widths[0]), stages, widths, num_classes)


def ghost_resnet_imagenet(
    depth: int, *, num_classes: int = 1000, in_channels: int = 3, width: float = 1.0, ratio: int = 2
) -> ResNet:
    """A Ghost-ResNet for ImageNet; depth 50 with ratios 2 and 4 is the paper's.

    Args:
        depth: 18, 34, 50 or 101, as in `resnet_imagenet.resnet`.
        num_classes: classes of the linear head.
        in_channels: channels of the images.
        width: multiplier on every stage's width.
        ratio: see `Ghost`.

    Raises:
        UsageError: as `stage_widths`, sizes below 1.
    """
    check_sizes(num_classes=num_classes, in_channels=in_channels, ratio=ratio)
    planes, widths = stage_widths(depth, "plain", width)
    channels, stages = planes[0], []
    for index, (inner, outer, count) in enumerate(zip(planes, widths, BLOCKS[depth], strict=True)):
        steps = []
        for position in range(count):
            stride = 2 if index > 0 and position == 0 else 1
            middle = inner if depth >= 50 else None
            steps.append(GhostStep(channels, outer, stride, ratio=ratio, middle=middle))
            channels = outer
        stages.append(nn.Sequential(*steps))
    return ResNet(Stem(in_channels, planes[0]), stages, widths, num_classes, REDUCTION)
