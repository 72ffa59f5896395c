"""The inverted residual of MobileNetV3 as a relaxation, with squeeze and excitation.

Howard et al., "Searching for MobileNetV3", ICCV 2019; MGIC paper, Eq. 2 with a depth-wise K2 and section 4.3.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from torchmg.errors import UsageError
from torchmg.hierarchy import Dims
from torchmg.nn.conv_norm_act import ConvNormAct


class SqueezeExcite(nn.Module):
    """Weighs every channel by two small linear maps of the channels' means (Hu, Shen, Sun, CVPR 2018).

    (batch, channels, *spatial) -> the same: x * hard_sigmoid(W2 ReLU(W1 mean(x))), both maps with bias. It sees all
    channels, whatever the groups around it. Parameters: 2 channels squeezed + channels + squeezed.

    Args:
        channels: width of the tensor.
        squeezed: width between the two maps.
    """

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, squeezed)
        self.excite = nn.Linear(squeezed, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Weigh the channels."""
        weights = F.hardsigmoid(self.excite(F.relu(self.squeeze(x.flatten(2).mean(2)))))
        return x * weights[(...,) + (None,) * (x.dim() - 2)]


class InvertedResidual(nn.Module):
    """y = x + N3 K3 s(SE) s(N2 K2) s(N1 K1) x: expand 1x1, depth-wise k x k, project 1x1, no activation at the end.

    (batch, channels, *spatial) -> the same. K1 and K3 are grouped, K2 is depth-wise; s is the activation, N batch
    normalisation. Squeeze and excitation stand after the depth-wise activation, as in MobileNetV3; the authors' code
    has them before it. Without expansion (`hidden` equal to `channels`) there is no K1.

    Args:
        channels: width of the tensor.
        groups: of the two 1x1 convolutions.
        hidden: width of the middle.
        kernel_size: of the depth-wise convolution.
        act: activation.
        squeezed: inner width of squeeze and excitation; None for none.
        dims: spatial axes, 1 to 3.

    Raises:
        UsageError: vectors (`dims=0`), which a depth-wise convolution has nothing to do for.
        GroupError: `groups` divides not both widths.
    """

    def __init__(
        self,
        channels: int,
        groups: int = 1,
        *,
        hidden: int,
        kernel_size: int = 3,
        act: type[nn.Module] = nn.ReLU,
        squeezed: int | None = None,
        dims: Dims = 2,
    ) -> None:
        super().__init__()
        if dims == 0:
            raise UsageError('An inverted residual needs spatial axes; use dims=1 to 3, or relax="mlp" for vectors.')
        self.expand = None
        if hidden != channels:
            self.expand = ConvNormAct(channels, hidden, 1, groups=groups, act=act, dims=dims)
        self.depthwise = ConvNormAct(hidden, hidden, kernel_size, groups=hidden, act=act, dims=dims)
        self.excite = None if squeezed is None else SqueezeExcite(hidden, squeezed)
        self.project = ConvNormAct(hidden, channels, 1, groups=groups, act=None, dims=dims)

    def forward(self, x: Tensor) -> Tensor:
        """One relaxation."""
        y = x if self.expand is None else self.expand(x)
        y = self.depthwise(y)
        if self.excite is not None:
            y = self.excite(y)
        return x + self.project(y)
