"""Changes of colour and sharpness, in torchvision's arithmetic on uint8.

Some are a table of 256 levels for each picture and channel: `fixed_levels` where the table does not depend on the
picture, `autocontrast_levels` and `equalize_levels` where it does. The others are `blended` of a picture and another:
brightness with black, contrast with its `mean_grey`, color with its `grey` and sharpness with its `smooth` form.
Nothing here waits for the device.
"""

import torch
from torch import Tensor


def blended(pictures: Tensor, others: Tensor, weights: Tensor, rests: Tensor) -> Tensor:
    """`weights * pictures + rests * others` cut to 0..255 and rounded down: uint8 (B, C, H, W).

    Args:
        pictures: uint8 (B, C, H, W).
        others: Of a shape and type that fit.
        weights: float32 (B, 1, 1, 1), of the picture; above 1 it moves away from the other.
        rests: 1 - weights, rounded once from double precision, which the difference of two float32 is not.
    """
    return (weights * pictures + rests * others).clamp(0, 255).to(torch.uint8)


def fixed_levels(op: str, magnitude: float) -> Tensor:
    """What becomes of each level under posterize, solarize or invert: uint8 (256,); under others it stays itself.

    Args:
        op: The operation.
        magnitude: Posterize: how many bits stay. Solarize: the first level that is inverted.
    """
    levels = torch.arange(256, dtype=torch.uint8)
    if op == "posterize":
        return levels & -(2 ** (8 - int(magnitude)))
    if op == "solarize":
        return torch.where(levels >= magnitude, 255 - levels, levels)
    return 255 - levels if op == "invert" else levels


def autocontrast_levels(pictures: Tensor) -> Tensor:
    """Levels stretched so that the darkest becomes 0 and the brightest 255, by channel: uint8 (B, C, 256)."""
    pixels = pictures.flatten(2)
    low, high = (extreme(2, keepdim=True).float() for extreme in (pixels.amin, pixels.amax))
    flat = low == high
    low, scale = torch.where(flat, 0.0, low), torch.where(flat, 1.0, 255 / (high - low))
    return ((_ramp(pictures) - low) * scale).clamp(0, 255).to(torch.uint8)


def equalize_levels(pictures: Tensor) -> Tensor:
    """Levels that make each channel's histogram as flat as can be: uint8 (B, C, 256).

    A level becomes (pixels below it + step // 2) // step, where 255 steps hold all pixels but those of the brightest
    level; a channel with fewer than 255 of these stays as it is.
    """
    counts = histogram(pictures)
    brightest = counts.gather(2, pictures.flatten(2).amax(2, keepdim=True).long())
    step = (pictures[0, 0].numel() - brightest) // 255
    below = counts.cumsum(2) - counts
    levels = ((below + step // 2) // step.clamp(min=1)).clamp(max=255)
    return torch.where(step > 0, levels, _ramp(pictures)).to(torch.uint8)


def histogram(pictures: Tensor) -> Tensor:
    """How many pixels of each level a channel has: int64 (B, C, 256) for uint8 (B, C, H, W)."""
    batch, channels = pictures.shape[:2]
    first = 256 * torch.arange(batch * channels, device=pictures.device).view(batch, channels, 1)
    bins = (pictures.flatten(2) + first).flatten()
    counts = torch.zeros(batch * channels * 256, dtype=torch.int64, device=pictures.device)
    return counts.scatter_add_(0, bins, bins.new_ones(1).expand_as(bins)).view(batch, channels, 256)


def relevelled(pictures: Tensor, levels: Tensor) -> Tensor:
    """Pictures uint8 (B, C, H, W) with each pixel's level looked up in uint8 (B, C, 256)."""
    return levels.gather(2, pictures.flatten(2).long()).view(pictures.shape)


def grey(pictures: Tensor) -> Tensor:
    """Luma of (B, 3, H, W), rounded down: uint8 (B, 1, H, W); pictures of one channel themselves."""
    if pictures.shape[1] == 1:
        return pictures
    red, green, blue = pictures.split(1, 1)
    return (0.2989 * red + 0.587 * green + 0.114 * blue).to(torch.uint8)


def mean_grey(pictures: Tensor) -> Tensor:
    """Mean over the pixels of `grey` pictures (B, 1, H, W): float32 (B, 1, 1, 1)."""
    # Sum and quotient apart: the sum is whole, so that no device rounds it otherwise than another.
    return pictures.sum((1, 2, 3), keepdim=True, dtype=torch.int64).float() / pictures[0].numel()


def smooth(pictures: Tensor) -> Tensor:
    """Means over 3 x 3 pixels in which the middle counts five times, rounded: uint8; the outermost pixels stay.

    Args:
        pictures: uint8 (B, C, H, W).
    """
    wide = pictures.float()
    rows = wide[..., :-2, :] + wide[..., 1:-1, :] + wide[..., 2:, :]
    sums = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:] + 4 * wide[..., 1:-1, 1:-1]
    result = pictures.clone()
    result[..., 1:-1, 1:-1] = (sums / 13).round().to(torch.uint8)
    return result


def _ramp(like: Tensor) -> Tensor:
    return torch.arange(256, device=like.device)
