"""The geometry of a dense layer of torch: what whatever stands in for it must keep."""

from dataclasses import dataclass
from math import prod
from typing import Any, Self

from torch import Tensor, nn

from torchmg.errors import UsageError
from torchmg.hierarchy import Dims
from torchmg.nn.conv import GroupedLinear

CONVOLUTIONS: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
"""Spatial axes -> torch's convolution."""
TRANSPOSED: dict[int, Any] = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
"""Spatial axes -> torch's transposed convolution."""
Dense = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
"""The layers that have a `LayerShape`."""


@dataclass(frozen=True)
class LayerShape:
    """Widths and geometry of a layer without groups.

    `dims` is the number of spatial axes, 0 for `nn.Linear`, whose channels come last. The rest is as in torch's
    convolutions, with one number for each axis.
    """

    dims: Dims
    in_channels: int
    out_channels: int
    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] | str = ()
    dilation: tuple[int, ...] = ()
    padding_mode: str = "zeros"
    output_padding: tuple[int, ...] = ()
    transposed: bool = False
    bias: bool = False

    @classmethod
    def of(cls, layer: Dense) -> Self:
        """The shape of a layer of torch.

        Raises:
            UsageError: groups, or another kind of module.
        """
        if isinstance(layer, nn.Linear):
            return cls(0, layer.in_features, layer.out_features, bias=layer.bias is not None)
        if not isinstance(layer, (*CONVOLUTIONS.values(), *TRANSPOSED.values())):
            raise UsageError(f"{type(layer).__name__} is no linear layer of torch. Use nn.Linear or a convolution.")
        if layer.groups != 1:
            raise UsageError(
                f"A layer with groups={layer.groups} is not dense: it couples {layer.in_channels} channels"
                f" in parts of {layer.in_channels // layer.groups}."
            )
        dims = layer.weight.dim() - 2
        assert dims == 1 or dims == 2 or dims == 3
        return cls(
            dims,
            layer.in_channels,
            layer.out_channels,
            tuple(layer.kernel_size),
            tuple(layer.stride),
            layer.padding if isinstance(layer.padding, str) else tuple(layer.padding),
            tuple(layer.dilation),
            layer.padding_mode,
            tuple(layer.output_padding) if layer.transposed else (),
            layer.transposed,
            layer.bias is not None,
        )

    @property
    def taps(self) -> int:
        """Entries of the kernel, 1 of a linear map."""
        return prod(self.kernel)

    @property
    def weights(self) -> int:
        """Of the dense layer, without bias."""
        return self.taps * self.in_channels * self.out_channels

    def build(self, in_channels: int, out_channels: int, groups: int = 1) -> nn.Module:
        """A layer of this geometry between other widths, without bias; with `dims` 0 of vectors, (batch, channels).

        Weights are drawn Kaiming-normal with the fan-in of one group, as in all of torchmg.

        Raises:
            GroupError: `groups` does not divide both widths.
        """
        if self.dims == 0:
            return GroupedLinear(in_channels, out_channels, groups=groups)
        options: dict[str, Any] = {
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "groups": groups,
            "bias": False,
            "padding_mode": self.padding_mode,
        }
        if self.transposed:
            options["output_padding"] = self.output_padding
            layer = TRANSPOSED[self.dims](in_channels, out_channels, self.kernel, **options)
        else:
            layer = CONVOLUTIONS[self.dims](in_channels, out_channels, self.kernel, **options)
        fan_in = self.taps * in_channels // groups
        nn.init.normal_(layer.weight, std=(2 / fan_in) ** 0.5)
        return layer


def dense_kernel(layer: Dense) -> Tensor:
    """The weight of a dense layer as (out, in, *kernel), whichever way round torch keeps it."""
    transposed = isinstance(layer, tuple(TRANSPOSED.values()))
    return layer.weight.transpose(0, 1) if transposed else layer.weight
