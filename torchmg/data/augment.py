"""Augmentation of whole batches on any device; what happens to a sample depends on its own draws only.

It works on normalised values: the margin of a shifted picture is zero, which is then the mean colour, as in the
usual recipe (He et al. 2016, section 4.2, where the mean is subtracted before padding).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from torchmg.data.names import AUGMENTATIONS
from torchmg.data.order import draws
from torchmg.data.policies import POLICIES
from torchmg.errors import UnknownNameError, did_you_mean

PADDING = 4
"""Pixels by which a picture of 32 x 32 moves at most, each way."""


def margin(height: int, width: int) -> int:
    """An eighth of the shorter side, rounded half up, at least 1: the usual 4 pixels at 32 (and 28), 2 at 16."""
    return max(1, (min(height, width) + 4) // 8)


def augmentation_table(name: str, seed: int, epoch: int, size: int, padding: int = PADDING) -> Tensor | None:
    """What to do with each sample in an epoch: int64 (size, 3 or 5), row i = (down, right, mirror, ...) of sample i.

    `down` and `right` are 0..2 * padding, `mirror` is 0 or 1; None for "none". Policies add two columns, ids of the
    actions that come before (`Policy.table`). A sample is cropped alike under all names, and mirrored alike under all
    but "crop".

    Raises:
        UnknownNameError: A name that is not in `AUGMENTATIONS`.
        UsageError: A seed or epoch out of range.
    """
    if name not in AUGMENTATIONS:
        raise UnknownNameError(f"Unknown augmentation '{name}'.{did_you_mean(name, AUGMENTATIONS)}")
    if name == "none":
        return None
    table = draws(seed, epoch, size, high=(2 * padding + 1, 2 * padding + 1, 2), columns=3)
    if name == "crop":
        table[:, 2] = 0
    if name in POLICIES:
        return torch.cat([table, POLICIES[name].table(seed, epoch, size)], 1)
    return table


def augment(images: Tensor, rows: Tensor | None, padding: int = PADDING) -> Tensor:
    """Crop and mirror a batch as its rows say; the images themselves when they are None.

    Args:
        images: Normalised, (B, C, H, W).
        rows: Of `augmentation_table`, those of the batch's samples, on the images' device: int64 (B, 3 or 5), of
            which the first three count here.
        padding: That of the table.
    """
    if rows is None:
        return images
    return flip(pad_crop(images, rows[:, :2], padding), rows[:, 2] == 1)


def pad_crop(images: Tensor, offsets: Tensor, padding: int = PADDING) -> Tensor:
    """Surround each image by zeros and cut its own window of the old size.

    Args:
        images: (B, C, H, W); the memory format is kept.
        offsets: int64 (B, 2), row and column of the window's corner, 0..2 * padding; `padding` is no shift.
        padding: Width of the zero margin in pixels.
    """
    height, width = images.shape[2:]
    windows = F.pad(images, [padding] * 4).unfold(2, height, 1).unfold(3, width, 1)
    batch = torch.arange(len(images), device=images.device)
    return _formatted_like(images, windows[batch, :, offsets[:, 0], offsets[:, 1]])


def flip(images: Tensor, mask: Tensor) -> Tensor:
    """Mirror left to right the images (B, C, H, W) where the mask, bool (B,), is true; keeps the memory format."""
    return _formatted_like(images, torch.where(mask[:, None, None, None], images.flip(-1), images))


def _formatted_like(images: Tensor, result: Tensor) -> Tensor:
    # Images of one channel are contiguous in both formats; the plain one is the safer reading.
    last = not images.is_contiguous() and images.is_contiguous(memory_format=torch.channels_last)
    return result.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
