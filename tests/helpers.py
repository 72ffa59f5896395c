"""What several test files share: predicted coupling patterns, Jacobians at one pixel, and positive set-ups."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from torchmg.data import Batches, ImageSplit
from torchmg.data.preparation import ImagePreparation
from torchmg.nn import Transfer


def same_group(rows: Tensor, columns: Tensor) -> Tensor:
    """(rows, columns) mask: True where the group of the row is the group of the column."""
    return rows[:, None] == columns[None, :]


def neighbour_group(channels: int, groups: int) -> Tensor:
    """Group of every channel when neighbours share one: 0 0 0 1 1 1 ..."""
    return torch.arange(groups).repeat_interleave(channels // groups)


def interleaved_group(channels: int, groups: int) -> Tensor:
    """Group of every channel when group j gathers j, j + G, ...: 0 1 2 0 1 2 ..."""
    return torch.arange(groups).repeat(channels // groups)


FINE_GROUP = {"neighbour": neighbour_group, "interleaved": interleaved_group}


@torch.no_grad()
def make_positive(module: nn.Module) -> nn.Module:
    """Make every convolution weight positive, so that on positive inputs no ReLU and no cancellation hides an entry."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            part.weight.copy_(part.weight.abs() + 1e-3)
    return module.double().eval()


def pixel_jacobian(function: Callable[[Tensor], Tensor], channels: int) -> Tensor:
    """(out channels, in channels) derivative at one positive pixel in float64; only kernel centres act."""
    x = torch.rand(channels, dtype=torch.float64) + 0.5
    jacobian = torch.autograd.functional.jacobian(lambda v: function(v[None, :, None, None]).flatten(), x)
    assert isinstance(jacobian, Tensor)
    return jacobian


def matrix(transfer: Transfer) -> Tensor:
    """A transfer's dense matrix, built here from its flat rows alone: (out, in), one row an output channel."""
    groups, size_in = transfer.groups, transfer.in_channels // transfer.groups
    rows = transfer.rows.detach().double().tolist()
    order = getattr(transfer, "order", "neighbour")
    is_restriction = transfer.in_channels > transfer.out_channels
    dense = [[0.0] * transfer.in_channels for _ in range(transfer.out_channels)]
    size_out = transfer.out_channels // groups
    for group in range(groups):
        for i in range(size_out):
            for j in range(size_in):
                if getattr(transfer, "shared", False):  # rows are the restriction's: coarse by fine, P = 2 R^T
                    weight = 2 * rows[(group * size_in + j) * size_out + i]
                else:
                    weight = rows[(group * size_out + i) * size_in + j]
                row, column = group * size_out + i, group * size_in + j
                if order == "interleaved" and is_restriction:
                    column = group + j * groups
                elif order == "interleaved":
                    row = group + i * groups
                dense[row][column] = weight
    return torch.tensor(dense, dtype=torch.float64)


def write(path: Path, text: str) -> str:
    """Write a file and return its path as text."""
    path.write_text(text)
    return str(path)


def picture_batches(
    split: ImageSplit, *, mean: Sequence[float], std: Sequence[float], augment: str = "none", **options: Any
) -> Batches:
    """Batches of labelled pictures that are prepared with these moments."""
    return Batches(split, ImagePreparation(split.images.shape[1:], mean, std, augment), **options)
