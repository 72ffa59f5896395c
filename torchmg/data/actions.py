"""Many pictures at once, each with an operation of its own."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from torchmg.data.geometric import moved, places
from torchmg.data.photometric import (
    autocontrast_levels,
    blended,
    equalize_levels,
    fixed_levels,
    grey,
    mean_grey,
    relevelled,
    smooth,
)
from torchmg.errors import ShapeError

_TABLES = ("autocontrast", "equalize")
_MIXED = ("contrast", "color", "sharpness")


class Action(NamedTuple):
    """An operation with its strength."""

    op: str
    """identity, shear_x, shear_y, translate_x, translate_y, rotate, brightness, color, contrast, sharpness,
    posterize, solarize, autocontrast, equalize or invert."""
    magnitude: float = 0.0
    """For moves see `places`, for posterize and solarize `fixed_levels`; the weight of a blend is 1 + magnitude."""


class Actions:
    """A list of actions, laid out so that a batch can draw one for each of its pictures.

    Every picture goes through the same three stages, and all but one leave it alone: its pixels are looked up in
    other places, its levels in a table, and it is mixed with a grey or smooth form of itself. So shapes never depend
    on what was drawn, and nothing waits for the host.

    Raises:
        ShapeError: Pictures of other than 1 or 3 channels.
    """

    def __init__(
        self, actions: Sequence[Action], shape: tuple[int, int, int], device: torch.device | str = "cpu"
    ) -> None:
        """Args are laid out on the device once.

        Args:
            actions: What an id, the place in this list, means.
            shape: (C, H, W) of the pictures. Color does nothing to one channel, sharpness to fewer than 3 x 3 pixels.
            device: Where the pictures will be.
        """
        channels, height, width = shape
        if channels not in (1, 3):
            raise ShapeError(
                f"This augmentation is for pictures of 1 or 3 channels; got {channels}. Use augment=crop_flip."
            )
        blends = {"brightness", "color", "contrast", "sharpness"}
        blends -= {"color"} if channels == 1 else set()
        blends -= {"sharpness"} if min(height, width) < 3 else set()
        weights = [1 + action.magnitude if action.op in blends else 1.0 for action in actions]
        self._weights = torch.tensor(weights, device=device)
        self._rests = torch.tensor([1 - weight for weight in weights], device=device)
        self._sources = torch.stack([places(*action, height, width) for action in actions]).to(device)
        self._levels = torch.stack([fixed_levels(*action) for action in actions]).to(device)
        ops = [action.op for action in actions]
        self._is = {op: torch.tensor([op == other for other in ops], device=device) for op in _TABLES + _MIXED}

    def __call__(self, pictures: Tensor, ids: Tensor) -> Tensor:
        """Each picture after its own action: uint8 (B, C, H, W).

        Args:
            pictures: uint8 (B, C, H, W), on the device.
            ids: int64 (B,), on the device.
        """
        pictures = moved(pictures, self._sources[ids])
        pictures = relevelled(pictures, self._tables(pictures, ids))
        weights, rests = (values[ids][:, None, None, None] for values in (self._weights, self._rests))
        return blended(pictures, self._others(pictures, ids), weights, rests)

    def _tables(self, pictures: Tensor, ids: Tensor) -> Tensor:
        """The table of levels of each picture and channel: uint8 (B, C, 256)."""
        autocontrast, equalize = (self._is[op][ids][:, None, None] for op in _TABLES)
        levels = torch.where(autocontrast, autocontrast_levels(pictures), self._levels[ids][:, None])
        return torch.where(equalize, equalize_levels(pictures), levels)

    def _others(self, pictures: Tensor, ids: Tensor) -> Tensor:
        """What each picture is blended with, float32 (B, C, H, W): black where nothing else is asked for."""
        contrast, color, sharpness = (self._is[op][ids][:, None, None, None] for op in _MIXED)
        greys = grey(pictures)
        plain = torch.where(contrast, mean_grey(greys), 0.0)
        return torch.where(sharpness, smooth(pictures), torch.where(color, greys, plain))
