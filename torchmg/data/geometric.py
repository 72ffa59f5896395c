"""Pictures moved as a whole: for each pixel of the result, which pixel of the picture it shows.

Nearest neighbours, and zero outside, make a move a list of places. It is worked out here on the host, once; a device
has only to look pixels up, and every device shows the same ones. Signs are torchvision's: a positive shift goes right
or down, a positive shear left or up, a positive angle counter-clockwise.
"""

import math

import torch
from torch import Tensor

MOVES = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")
"""The operations that `places` knows."""


def places(op: str, magnitude: float, height: int, width: int) -> Tensor:
    """Where each pixel of the moved picture comes from: int64 (height * width,), row by row; height * width is outside.

    With (x, y) measured from the middle of the picture and (u, v) from its upper left corner, the source of (x, y) is

        shear_x      (x + m v, y)            about the left upper corner
        shear_y      (x, y + m u)
        translate_x  (x - m, y)              m cut to a whole number
        translate_y  (x, y - m)
        rotate       (x cos m - y sin m, x sin m + y cos m)

    Args:
        op: One of `MOVES`; any other operation leaves pixels where they are.
        magnitude: m; a slope, pixels or degrees.
        height: Rows.
        width: Columns.
    """
    rows = torch.arange(height, dtype=torch.float64)[:, None]
    columns = torch.arange(width, dtype=torch.float64)[None, :]
    y, x = rows - (height - 1) / 2, columns - (width - 1) / 2
    # The steps from a pixel of the result to its source, so that a picture at rest needs no rounding.
    down, right = torch.zeros(height, width, dtype=torch.float64), torch.zeros(height, width, dtype=torch.float64)
    if op == "shear_x":
        right = magnitude * (rows + 0.5)
    elif op == "shear_y":
        down = magnitude * (columns + 0.5)
    elif op == "translate_x":
        right = right - int(magnitude)
    elif op == "translate_y":
        down = down - int(magnitude)
    elif op == "rotate":
        cos, sin = math.cos(math.radians(magnitude)), math.sin(math.radians(magnitude))
        right, down = x * cos - y * sin - x, x * sin + y * cos - y
    row, column = (rows + down).round().long(), (columns + right).round().long()
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    return torch.where(inside, row * width + column, height * width).flatten()


def moved(pictures: Tensor, sources: Tensor) -> Tensor:
    """Pictures (B, C, H, W) of which each pixel shows its source; zero where that is outside.

    Args:
        pictures: Any type.
        sources: Of `places`, one for each picture: int64 (B, H * W), on the pictures' device.
    """
    batch, channels, height, width = pictures.shape
    padded = torch.cat([pictures.flatten(2), pictures.new_zeros(batch, channels, 1)], 2)
    return padded.gather(2, sources[:, None].expand(-1, channels, -1)).view(batch, channels, height, width)
