"""What networks of stages share: a run through stem and stages; and residual ones: a head, stages of MGIC blocks."""

from collections.abc import Iterator, Sequence

from torch import Tensor, nn

from torchmg.hierarchy import ShortcutKind
from torchmg.models.classifier import Classifies
from torchmg.models.sizes import FeatureInfo
from torchmg.nn.conv import check_input
from torchmg.nn.conv_norm_act import ConvNormAct
from torchmg.nn.mgic import MGICBlock, MGICOptions, Part
from torchmg.nn.relax import RelaxationName
from torchmg.nn.shortcut import LightShortcut


class Staged(nn.Module):
    """A stem, then stages one after the other, then the `head` that a subclass adds.

    `forward_features` returns the output of every stage, finest first; `feature_info` says what they are. The head is
    added last so that parameters are listed, and drawn, from input to output.

    Args:
        stem: takes the input.
        stages: at least one.
        info: of every stage.
    """

    head: nn.Module

    def __init__(self, stem: ConvNormAct, stages: Sequence[nn.Sequential], info: list[FeatureInfo]) -> None:
        super().__init__()
        self.stem = stem
        self.stages = nn.ModuleList(stages)
        self.feature_info = info

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


class ResNet(Staged, Classifies):
    """Stem, stages, head over images (batch, in_channels, H, W); logits are (batch, num_classes).

    The stem divides the resolution by `reduction`, every stage after the first by 2.
    """

    head: nn.Module

    def __init__(
        self,
        stem: ConvNormAct,
        stages: Sequence[nn.Sequential],
        widths: Sequence[int],
        classes: int,
        reduction: int = 1,
    ) -> None:
        info = [
            FeatureInfo(num_chs=width, reduction=reduction * 2**i, module=f"stages.{i}")
            for i, width in enumerate(widths)
        ]
        super().__init__(stem, stages, info)
        self.head = nn.Linear(widths[-1], classes)

    def parts(self) -> Iterator[Part]:
        """Roles of what is not inside an MGIC block; a dense block is one relaxation on the finest level."""
        yield Part("stem", "stem")
        yield Part("head", "head")
        for index, stage in enumerate(self.stages):
            for name, layer in stage.named_children():
                if isinstance(layer, LightShortcut):
                    yield Part(f"stages.{index}.{name}", "shortcut")
                elif not isinstance(layer, MGICBlock):
                    yield Part(f"stages.{index}.{name}", "relax", 0)


def mgic_stages(
    channels: int,
    widths: Sequence[int],
    blocks: Sequence[int],
    *,
    relax: RelaxationName = "residual",
    shortcut: ShortcutKind,
    options: MGICOptions,
) -> list[nn.Sequential]:
    """Stages of MGIC blocks behind a stem of `channels`; all but the first halve the resolution.

    A stage that changes width or resolution starts with a `LightShortcut`; its result is the first block's input.

    Args:
        channels: width of the stem's output.
        widths: of the stages.
        blocks: in each stage.
        relax: relaxation of every block, see `MGICBlock`.
        shortcut: see `ShortcutKind`.
        options: of every block.
    """
    stages = []
    for index, (width, count) in enumerate(zip(widths, blocks, strict=True)):
        stride = 1 if index == 0 else 2
        layers: list[nn.Module] = [MGICBlock(width, relax=relax, **options) for _ in range(count)]
        if stride > 1 or width != channels:
            layers.insert(0, LightShortcut(channels, width, stride, kind=shortcut))
        stages.append(nn.Sequential(*layers))
        channels = width
    return stages
