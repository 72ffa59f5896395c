"""Transfers between resolutions: features and residuals to half the grid, corrections back."""

from math import gcd
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchmg.errors import ShapeError
from torchmg.hierarchy import GridInit, GridTransferKind, check_choice, check_groups
from torchmg.nn.conv import LoweredConv2d

Boundary = Literal["pad", "interior"]
"""Which fine points are coarse ones too: `pad`, the first, third, ... of n, so that (n + 1) // 2 remain, as in
networks; `interior`, the second, fourth, ..., so that 2m + 1 become m: the points inside a domain whose boundary values
are zero."""

FULL_WEIGHTING = ((1 / 16, 2 / 16, 1 / 16), (2 / 16, 4 / 16, 2 / 16), (1 / 16, 2 / 16, 1 / 16))
"""The mean over a point's neighbourhood that is a quarter of the transpose of linear interpolation."""


class GridRestriction(nn.Module):
    """R or Pi between two resolutions: (batch, in_channels, H, W) -> (batch, out_channels, H / 2, W / 2), rounded up.

    A 3x3 convolution of stride 2 without bias (MGiaD paper, Eqs. 6 and 7). `depthwise` has gcd(in, out) groups: where
    the width doubles, output channels 2j and 2j + 1 both read channel j.

    Args:
        in_channels, out_channels: widths.
        kind: see `GridTransferKind`.
        init: see `GridInit`; dense transfers with a stencil average over the channels too.
        norm: follow with batch normalisation and ReLU (He and Xu); the MGiaD paper's counts leave no room for it.
        rectify: apply ReLU before the convolution (a later project of the authors does so to residuals).
        boundary: see `Boundary`.

    Raises:
        UnknownNameError: an unknown choice; the message names the nearest.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kind: GridTransferKind = "depthwise",
        init: GridInit = "random",
        norm: bool = False,
        rectify: bool = False,
        boundary: Boundary = "pad",
    ) -> None:
        super().__init__()
        check_choice("grid_transfer", kind, get_args(GridTransferKind))
        check_choice("grid_init", init, get_args(GridInit))
        check_choice("boundary", boundary, get_args(Boundary))
        groups = gcd(in_channels, out_channels) if kind == "depthwise" else 1
        self.init: GridInit = init
        self.boundary: Boundary = boundary
        self.rectify = rectify
        padding = 1 if boundary == "pad" else 0
        self.conv = LoweredConv2d(in_channels, out_channels, 3, 2, padding, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(out_channels) if norm else None
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw the weights anew, or set the stencil."""
        weight = self.conv.weight
        if self.init == "random":
            # No ReLU follows, so the gain is 1: what is handed down keeps the variance of what it was made of.
            nn.init.kaiming_normal_(weight, mode="fan_in", nonlinearity="linear")
        else:
            weight.copy_(weight.new_tensor(FULL_WEIGHTING) / weight.shape[1])
        weight.requires_grad_(self.init != "frozen")

    def forward(self, x: Tensor) -> Tensor:
        """Apply the convolution, and what surrounds it."""
        if self.boundary == "interior" and not all(n % 2 for n in x.shape[2:]):
            raise ShapeError(
                f"Only grids of 2m + 1 points a side have an interior coarse grid; got {tuple(x.shape[2:])}."
            )
        y = self.conv(x.relu() if self.rectify else x)
        return y if self.norm is None else F.relu(self.norm(y))


class GridProlongation(nn.Module):
    """P back to the finer resolution: (batch, channels, m, m') -> (batch, channels, 2m + 1, 2m' + 1).

    Bilinear interpolation at first, each channel for itself, between grids of interior points (zero outside): four
    times the transpose of full weighting. The weights are trained.

    Args:
        channels: width, kept.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        check_groups(channels, channels, "an interpolation of each channel")
        self.conv = nn.ConvTranspose2d(channels, channels, 3, 2, groups=channels, bias=False)
        with torch.no_grad():
            self.conv.weight.copy_(4 * self.conv.weight.new_tensor(FULL_WEIGHTING))

    def forward(self, x: Tensor) -> Tensor:
        """Interpolate."""
        return self.conv(x)
