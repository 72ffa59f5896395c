"""From pictures and masks in uint8 to what a segmentation network is trained on: scaled, cropped, mirrored together."""

from collections.abc import Sequence
from typing import Final, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from torchmg.data.names import PAIR_AUGMENTATIONS
from torchmg.data.order import draws
from torchmg.data.samples import IGNORE
from torchmg.errors import ShapeError, UnknownNameError, UsageError, did_you_mean

STEP: Final = 0.25
"""Between two scales, as in DeepLab's published code; other ranges get equal steps about as wide."""
PLACES: Final = 1 << 16
"""How finely the place of a crop is drawn, so that the table need not know the size of the pictures."""


class _Window(NamedTuple):
    """Which part of its scaled picture a sample shows: int64 (B, 1) each, in pixels of the scaled picture."""

    top: Tensor
    """Negative where the scaled picture is smaller than the window."""
    left: Tensor
    height: Tensor
    """Of the whole scaled picture."""
    width: Tensor


class PairedPreparation:
    """Normalises pictures and, where rows are given, scales, crops and mirrors them together with their masks.

    As DeepLabv3 is trained (Chen et al. 2017, arXiv:1706.05587, section 4.1 and its published code): a scale drawn
    from 0.5, 0.75, ..., 2, a crop of fixed size at a place drawn by chance, a mirror image half of the time. What the
    crop shows beyond the picture has the mean colour (zero, once normalised) and is ignored in the mask.

    A call is a pure function of its arguments, made of tensor operations of fixed shapes. It waits for the host only
    when pictures of a new size or device are met, so one call before a capture makes it fit for a CUDA graph.

    Raises:
        ShapeError: Not three means and standard deviations, or a crop without pixels.
        UsageError: A standard deviation that is not positive, scales that are not 0 < low <= high, or a crop that
            would not be used.
        UnknownNameError: An augmentation that is not in `PAIR_AUGMENTATIONS`.
    """

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        augment: str = "none",
        crop: tuple[int, int] | None = None,
        scales: tuple[float, float] = (0.5, 2.0),
    ) -> None:
        """Args are checked here and not changed later.

        Args:
            mean: For each channel, where 255 counts as 1 (`SegmentationSet.mean`).
            std: For each channel, where 255 counts as 1 (`SegmentationSet.std`).
            augment: A name in `PAIR_AUGMENTATIONS`.
            crop: (height, width) of what comes out where rows are given; the size of the pictures when None.
            scales: The smallest and the largest scale.
        """
        if augment not in PAIR_AUGMENTATIONS:
            raise UnknownNameError(f"Unknown augmentation '{augment}'.{did_you_mean(augment, PAIR_AUGMENTATIONS)}")
        if len(mean) != 3 or len(std) != 3:
            raise ShapeError(f"Expected mean and std with 3 values, one a channel; got {len(mean)} and {len(std)}.")
        if not all(value > 0 for value in std):
            raise UsageError(f"std must be positive, got {tuple(std)}: a constant channel cannot be normalised.")
        if crop is not None and (len(crop) != 2 or min(crop) < 1):
            raise ShapeError(f"Expected crop=(height, width) of at least one pixel; got {crop}.")
        if crop is not None and augment == "none":
            raise UsageError(f"augment=none leaves pictures whole, but crop={crop}. Use augment=scale_crop_flip.")
        low, high = scales
        if not 0 < low <= high < float("inf"):
            raise UsageError(f"Scales are 0 < low <= high; got {scales}.")
        self.augment, self.crop = augment, crop
        steps = round((high - low) / STEP)
        self.scales = (low, *(low + (high - low) * i / steps for i in range(1, steps + 1)))
        self._mean, self._std = (torch.tensor(values, dtype=torch.float32)[:, None, None] for values in (mean, std))
        self._there: dict[tuple[torch.device, int, int], tuple[Tensor, Tensor, Tensor]] = {}

    def to(self, device: torch.device | str) -> Self:
        """The same; its constants follow the tensors that it meets."""
        return self

    def table(self, seed: int, epoch: int, size: int) -> Tensor | None:
        """What to do with each sample in an epoch: int64 (size, 4) on the CPU; None where nothing is to be done.

        Row i = (place in `scales`, down, right, mirror) of sample i; down and right are 0..`PLACES` - 1 and go from
        one end of where the crop can lie to the other.

        Raises:
            UsageError: A seed or epoch out of range.
        """
        high = (len(self.scales), PLACES, PLACES, 2)
        table = draws(seed, epoch, size, high, columns=4)
        return None if self.augment == "none" else table

    def __call__(self, inputs: Tensor, targets: Tensor, rows: Tensor | None) -> tuple[Tensor, Tensor]:
        """Pictures float32 (B, 3, h, w), normalised, and class ids int64 (B, h, w), 255 where ignored.

        Args:
            inputs: uint8 (B, 3, H, W), on any device.
            targets: uint8 (B, H, W), on the same device.
            rows: Those of `table` for the batch, int64 (B, 4) on the same device; (h, w) is then the crop. None
                leaves the pictures as they are.

        Raises:
            ShapeError: Pictures, masks and rows that do not belong together.
        """
        _check(inputs, targets, rows)
        height, width = inputs.shape[2:]
        mean, std, sizes = self._constants(inputs.device, height, width)
        pictures, ids = inputs.float().div_(255).sub_(mean).div_(std), targets.long()
        if rows is None or self.augment == "none":
            return pictures, ids
        shape = self.crop or (height, width)
        window = _window(rows, sizes, shape)
        # Of each pixel of the crop, the row and the column in the scaled picture: (B, h) and (B, w).
        down = window.top + torch.arange(shape[0], device=inputs.device)
        across = torch.arange(shape[1], device=inputs.device)
        across = window.left + torch.where(rows[:, 3:4] == 1, across.flip(0), across)
        inside = _within(down, window.height)[:, :, None] & _within(across, window.width)[:, None, :]
        pictures = _bilinear(pictures, down, across, window) * inside[:, None]
        return pictures, torch.where(inside, _nearest(ids, down, across, window), IGNORE)

    def _constants(self, device: torch.device, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
        """Mean, std, and the size that pictures have at each scale, int64 (scales, 2), on the device."""
        key = (device, height, width)
        if key not in self._there:
            sizes = [[max(1, int(side * scale + 0.5)) for side in (height, width)] for scale in self.scales]
            self._there[key] = (self._mean.to(device), self._std.to(device), torch.tensor(sizes, device=device))
        return self._there[key]


def _check(inputs: Tensor, targets: Tensor, rows: Tensor | None) -> None:
    if inputs.ndim != 4 or inputs.shape[1] != 3:
        raise ShapeError(f"Expected pictures (B, 3, H, W); got {tuple(inputs.shape)}.")
    wanted, got = (len(inputs), *inputs.shape[2:]), tuple(targets.shape)
    if got != wanted:
        raise ShapeError(f"Expected masks {wanted}, an id for each pixel of the pictures; got {got}.")
    if rows is not None and tuple(rows.shape) != (len(inputs), 4):
        raise ShapeError(f"Expected rows ({len(inputs)}, 4) of the table, one a picture; got {tuple(rows.shape)}.")


def _window(rows: Tensor, sizes: Tensor, shape: tuple[int, int]) -> _Window:
    """Where the crop of each sample lies: anywhere in a larger picture, and around a smaller one."""
    scaled = sizes[rows[:, 0]]
    corners = []
    for side in (0, 1):
        room = scaled[:, side] - shape[side]
        # Whole numbers throughout: devices cannot disagree, and at scale 1 a crop is pixels as they were.
        offset = (room.abs() + 1) * rows[:, 1 + side] // PLACES
        corners.append((offset * room.sign())[:, None])
    return _Window(corners[0], corners[1], scaled[:, :1], scaled[:, 1:])


def _within(places: Tensor, size: Tensor) -> Tensor:
    return (places >= 0) & (places < size)


def _bilinear(pictures: Tensor, down: Tensor, across: Tensor, window: _Window) -> Tensor:
    """The values at rows `down` and columns `across` of the scaled pictures, between the centres of four pixels."""
    # Centres of pixels, where the picture reaches from -1 to 1; beyond its edge the last pixel goes on, so that the
    # margin, which is put in afterwards, does not bleed into the picture.
    y, x = ((2 * places + 1) / size - 1 for places, size in ((down, window.height), (across, window.width)))
    batch, rows, columns = len(pictures), down.shape[1], across.shape[1]
    grid = torch.stack([x[:, None, :].expand(batch, rows, columns), y[:, :, None].expand(batch, rows, columns)], -1)
    return F.grid_sample(pictures, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _nearest(ids: Tensor, down: Tensor, across: Tensor, window: _Window) -> Tensor:
    """The ids at the same places; halfway between two pixels, the lower or right one."""
    height, width = ids.shape[1:]
    # In whole numbers: scales like 2 and 1/2 put many pixels halfway, where rounding would be up to the device.
    y = ((2 * down + 1) * height // (2 * window.height)).clamp(0, height - 1)
    x = ((2 * across + 1) * width // (2 * window.width)).clamp(0, width - 1)
    batch = torch.arange(len(ids), device=ids.device)
    return ids[batch[:, None, None], y[:, :, None], x[:, None, :]]
