"""The convolution, normalisation and activation that stems, connectors and shortcuts are."""

from torch import Tensor, nn

from torchmg.hierarchy import Dims
from torchmg.nn.conv import grouped_conv
from torchmg.nn.conv_norm import conv_norm
from torchmg.nn.norm import batch_norm


class ConvNormAct(nn.Sequential):
    """Convolution, batch normalisation and, unless `act` is None, an activation; shapes as `grouped_conv`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        *,
        stride: int = 1,
        groups: int = 1,
        act: type[nn.Module] | None = nn.ReLU,
        dims: Dims = 2,
    ) -> None:
        super().__init__()
        self.conv = grouped_conv(in_channels, out_channels, kernel_size, stride=stride, groups=groups, dims=dims)
        self.norm = batch_norm(out_channels, dims)
        if act is not None:
            self.act = act()

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """Apply one after the other, and what has been appended."""
        conv, norm, *later = self
        y = conv_norm(conv, norm, input, act=later[0] if later else False)
        for module in later[1:]:
            y = module(y)
        return y
