"""Which part of a picture a network sees: boxes in pixels, as pure functions of sizes and integers."""

import math
from collections.abc import Sequence

HIGH = 2**31
"""Numbers of a row are uniform in 0..HIGH - 1."""
COLUMNS = 5
"""Numbers in a row: area, ratio, row, column, mirror."""
AREA = (0.08, 1.0)
"""Least and greatest share of the picture's area (Szegedy et al. 2015, "Going deeper with convolutions", section 6)."""
RATIO = (3 / 4, 4 / 3)
"""Least and greatest width / height of the box (same section)."""

_ATTEMPTS = 10
_FACTOR, _STEP = 1103515245, 12345


def training_box(width: int, height: int, row: Sequence[int]) -> tuple[int, int, int, int]:
    """The box of the training crop of Inception, as torchvision's RandomResizedCrop draws it.

    A share of the area, uniform in `AREA`, and a ratio, log-uniform in `RATIO`, give a size. One that does not fit
    into the picture is drawn again, up to ten times in all, from the next terms of the sequences that the row's two
    numbers begin. Every term is uniform as they are (the step is a bijection of 0..HIGH - 1), so boxes that fit are
    distributed as torchvision's. When none fits, as in pictures much longer than wide, the box is the largest one
    around the centre whose ratio is the nearest to the picture's in `RATIO`.

    Args:
        width: of the picture, in pixels, at least 1.
        height: of the picture, in pixels, at least 1.
        row: at least four integers in 0..HIGH - 1, uniform: area, ratio, row and column of the corner.

    Returns:
        (left, top, right, bottom) in pixels, right and bottom exclusive: 0 <= left < right <= width, and alike for
        the height. Sides are rounded to whole pixels, so that in small pictures area and ratio are met to within that.
    """
    area, ratio, down, right = (int(value) for value in row[:4])
    for _ in range(_ATTEMPTS):
        size = _size(width, height, area / HIGH, ratio / HIGH)
        if 0 < size[0] <= width and 0 < size[1] <= height:
            left, top = (width - size[0] + 1) * right // HIGH, (height - size[1] + 1) * down // HIGH
            return left, top, left + size[0], top + size[1]
        area, ratio = _next(area), _next(ratio)
    return _central(width, height)


def evaluation_box(width: int, height: int, side: int) -> tuple[float, float, float, float]:
    """The box whose pixels, resized to side x side, are those of "resize the shorter side, then crop the centre".

    The shorter side becomes side * 256 / 224 (rounded): 256 for 224, the usual protocol since Krizhevsky et al. 2012
    (section 2). The longer side is cut to whole pixels and the margins are halved as torchvision's Resize and
    CenterCrop do. A resampling filter sees the pixels around its box, so to resize the box alone gives the same
    values as to resize the whole picture, without the cost (which for a picture of 1 x 10000 would be a gigabyte).

    Args:
        width: of the picture, in pixels, at least 1.
        height: of the picture, in pixels, at least 1.
        side: of the result, in pixels, at least 1.

    Returns:
        (left, top, right, bottom) in pixels of the picture, not rounded, inside it.
    """
    short = round(side * 256 / 224)
    resized = [short * length // min(width, height) for length in (width, height)]
    starts = [round((length - side) / 2) for length in resized]
    left, top = (start * old / new for start, old, new in zip(starts, (width, height), resized, strict=True))
    ends = [(start + side) * old / new for start, old, new in zip(starts, (width, height), resized, strict=True)]
    return left, top, min(ends[0], width), min(ends[1], height)


def _size(width: int, height: int, area: float, ratio: float) -> tuple[int, int]:
    pixels = width * height * (AREA[0] + (AREA[1] - AREA[0]) * area)
    shape = RATIO[0] * (RATIO[1] / RATIO[0]) ** ratio
    return round(math.sqrt(pixels * shape)), round(math.sqrt(pixels / shape))


def _next(value: int) -> int:
    # ANSI C's generator for this modulus; a full period, and only the high bits count here.
    return (_FACTOR * value + _STEP) % HIGH


def _central(width: int, height: int) -> tuple[int, int, int, int]:
    shape = min(max(width / height, RATIO[0]), RATIO[1])
    wide = min(width, max(1, round(height * shape)))
    high = min(height, max(1, round(width / shape)))
    left, top = (width - wide) // 2, (height - high) // 2
    return left, top, left + wide, top + high
