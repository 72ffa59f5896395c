"""A small vision transformer for small images, with dense feed-forward layers or multigrid-in-channels ones.

The MGIC paper's conclusion says that its blocks serve fully connected layers, too; no results are published. Here the
feed-forward layers of a transformer, two thirds of its weights, become `MGICBlock`s over vectors, their skip included;
attention stays dense.

Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021, in the size that is usual for 32x32 images: patches of
4x4, width 192, 3 heads. Places are told apart by fixed sines and cosines, so that any image size works; the features'
mean is classified, there is no class token.
"""

from collections.abc import Iterator
from math import log
from typing import Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchmg.errors import UsageError
from torchmg.models.classifier import Classifies
from torchmg.models.sizes import FeatureInfo, check_sizes, scaled
from torchmg.nn.conv import check_input
from torchmg.nn.mgic import MGICBlock, MGICOptions, Part
from torchmg.nn.relax import FeedForward

HEADS = 3
PATCH = 4


class TransformerLayer(nn.Module):
    """x <- x + attention(norm(x)), x <- feed_forward(x) on maps (batch, channels, height, width), places being tokens.

    Args:
        channels: width.
        feed_forward: vectors to vectors, skip included.
    """

    def __init__(self, channels: int, feed_forward: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.query_key_value = nn.Linear(channels, 3 * channels)
        self.project = nn.Linear(channels, channels)
        self.feed_forward = feed_forward

    def forward(self, x: Tensor) -> Tensor:
        """One layer."""
        tokens = x.flatten(2).transpose(1, 2)
        tokens = tokens + self.attention(self.norm(tokens))
        tokens = self.feed_forward(tokens.flatten(0, 1)).view_as(tokens)
        return tokens.transpose(1, 2).unflatten(2, x.shape[2:])

    def attention(self, x: Tensor) -> Tensor:
        """Softmax attention of every token to all, in heads."""
        parts = self.query_key_value(x).unflatten(2, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(parts[0], parts[1], parts[2])
        return self.project(y.transpose(1, 2).flatten(2))


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of maps (batch, channels, height, width)."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's name)
        """Normalise every place."""
        return super().forward(input.movedim(1, -1)).movedim(-1, 1)


class SmallViT(Classifies):
    """Patches, layers, norm, head over images (batch, in_channels, H, W); logits are (batch, num_classes).

    Sides that are no multiple of the patch are padded with zeros at their ends. `forward_features` returns the map
    after every layer, the last one normalised.
    """

    def __init__(self, layers: list[TransformerLayer], channels: int, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.patches = nn.Conv2d(in_channels, channels, PATCH, PATCH)
        self.layers = nn.ModuleList(layers)
        self.norm = ChannelNorm(channels)
        self.head = nn.Linear(channels, num_classes)
        names = [*(f"layers.{i}" for i in range(len(layers) - 1)), "norm"]
        self.feature_info = [FeatureInfo(num_chs=channels, reduction=PATCH, module=name) for name in names]
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)

    def forward_features(self, x: Tensor) -> list[Tensor]:
        """The map after every layer, (batch, num_chs, H / 4, W / 4) each, rounded up."""
        check_input(x, self.in_channels)
        x = self.patches(F.pad(x, (0, -x.shape[3] % PATCH, 0, -x.shape[2] % PATCH)))
        x = x + places(x)
        features = []
        for layer in self.layers:
            x = layer(x)
            features.append(x)
        return [*features[:-1], self.norm(x)]

    def forward(self, x: Tensor) -> Tensor:
        """Logits, (batch, num_classes)."""
        return self.head(self.forward_features(x)[-1].mean((2, 3)))

    def parts(self) -> Iterator[Part]:
        """Roles of what is not inside an MGIC block; a dense feed-forward layer is a relaxation on the finest level."""
        yield Part("patches", "stem")
        yield from (Part(name, "head") for name in ("norm", "head"))
        for index, layer in enumerate(self.layers):
            yield Part(f"layers.{index}", "attention")
            if isinstance(layer, TransformerLayer) and isinstance(layer.feed_forward, FeedForward):
                yield Part(f"layers.{index}.feed_forward", "relax", 0)


def places(x: Tensor) -> Tensor:
    """Sines and cosines of row and column, a quarter of the channels each: (channels, H, W) for maps like x."""
    channels, height, width = x.shape[1:]
    rates = torch.exp(torch.arange(channels // 4, device=x.device) * (-log(10_000) / max(channels // 4, 1)))
    rows = torch.arange(height, device=x.device)[:, None, None] * rates
    columns = torch.arange(width, device=x.device)[None, :, None] * rates
    waves = [wave(angle).expand(height, width, -1) for angle in (rows, columns) for wave in (torch.sin, torch.cos)]
    code = torch.cat(waves, 2).movedim(2, 0)
    return F.pad(code, (0, 0, 0, 0, 0, channels - len(code))).to(x.dtype)


def vit(depth: int, *, num_classes: int = 10, in_channels: int = 3, width: float = 1.0) -> SmallViT:
    """A small vision transformer with dense feed-forward layers.

    Args:
        depth: layers.
        num_classes: classes of the linear head.
        in_channels: channels of the images.
        width: multiplier on the 192 channels; the result must be a multiple of the 3 heads.

    Raises:
        UsageError: sizes below 1 or a width that heads do not divide.
    """
    check_sizes(num_classes=num_classes, in_channels=in_channels)
    channels = _channels(width)
    layers = [TransformerLayer(channels, FeedForward(channels)) for _ in range(depth)]
    return SmallViT(layers, channels, num_classes, in_channels)


def mgic_vit(
    depth: int, *, num_classes: int = 10, in_channels: int = 3, width: float = 1.0, **block: Unpack[MGICOptions]
) -> SmallViT:
    """The same with feed-forward layers that are multigrid in channels.

    Args:
        depth: layers.
        num_classes: classes of the linear head.
        in_channels: channels of the images.
        width: as in `vit`.
        **block: options of `MGICBlock`. Transfers have no norm here unless asked for: batch statistics have no place in
            a transformer, and every relaxation begins with a layer norm of its own.

    Raises:
        UsageError: as `vit`, and sizes that `MGICBlock` refuses.
    """
    check_sizes(num_classes=num_classes, in_channels=in_channels)
    channels = _channels(width)
    options: MGICOptions = {"transfer_norm": "none", **block}
    layers = [TransformerLayer(channels, MGICBlock(channels, relax="mlp", dims=0, **options)) for _ in range(depth)]
    return SmallViT(layers, channels, num_classes, in_channels)


def _channels(width: float) -> int:
    (channels,) = scaled([192], width)
    if channels % HEADS:
        near = sorted({max(HEADS, channels // HEADS * HEADS), (channels // HEADS + 1) * HEADS})
        raise UsageError(
            f"width={width} makes {channels} channels, which {HEADS} heads do not divide. "
            f"Nearest: {' or '.join(f'width={c / 192:.6g} ({c})' for c in near)}."
        )
    return channels
