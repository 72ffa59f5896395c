"""A small U-Net, a network of one's own for `torchmg.convert`: down by strides, up by transposed convolutions.

    python examples/unet.py

Ronneberger, Fischer, Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation", MICCAI 2015; here with
padding, so that pictures keep their size, and with strides in the place of pooling.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

import torchmg


def double(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    """Two 3x3 convolutions, the first with the stride."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


class UNet(nn.Module):
    """(batch, in_channels, height, width) -> (batch, num_classes, height, width); sides are multiples of 2^depth.

    Args:
        num_classes: scores for each pixel.
        in_channels: of the picture.
        width: channels at full resolution; they double with every halving of the resolution.
        depth: how often it halves.
    """

    def __init__(self, num_classes: int = 2, in_channels: int = 3, width: int = 32, depth: int = 3) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(depth + 1)]
        pairs = list(pairwise(widths))
        self.first = double(in_channels, width)
        self.down = nn.ModuleList(double(fine, coarse, stride=2) for fine, coarse in pairs)
        self.up = nn.ModuleList(nn.ConvTranspose2d(coarse, fine, 2, stride=2) for fine, coarse in reversed(pairs))
        self.merge = nn.ModuleList(double(2 * fine, fine) for fine, _ in reversed(pairs))
        self.head = nn.Conv2d(width, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of the classes for each pixel."""
        x = self.first(x)
        kept = []
        for down in self.down:
            kept.append(x)
            x = down(x)
        for up, merge in zip(self.up, self.merge, strict=True):
            x = merge(torch.cat([kept.pop(), up(x)], 1))
        return self.head(x)


def unet(num_classes: int = 2, in_channels: int = 3, width: int = 32, depth: int = 3) -> nn.Module:
    """The factory that `torchmg.models.user.build("examples/unet.py:unet")` and the commands call."""
    return UNet(num_classes, in_channels, width, depth)


def main() -> None:
    """Convert it with a quarter of the parameters and show what became of every layer."""
    torch.manual_seed(0)
    picture = torch.rand(1, 3, 64, 64)
    net, report = torchmg.convert(unet(), torchmg.MGIC(), ratio=4, example_input=picture)
    print(report)
    print("output", tuple(net(picture).shape))


if __name__ == "__main__":
    main()
