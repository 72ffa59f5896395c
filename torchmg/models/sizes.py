"""Widths and sizes that models of every family check alike."""

from collections.abc import Sequence
from math import isfinite
from typing import TypedDict

from torchmg.errors import UsageError


class FeatureInfo(TypedDict):
    """One feature map of a backbone, with timm's keys."""

    num_chs: int
    reduction: int
    module: str


def scaled(widths: Sequence[int], width: float) -> list[int]:
    """Every width times the multiplier, rounded.

    Raises:
        UsageError: a multiplier that is not finite or leaves no channels.
    """
    if not isfinite(width):
        raise UsageError(f"width must be a finite multiplier; got {width}.")
    result = [round(channels * width) for channels in widths]
    if result[0] < 1:
        raise UsageError(f"width={width} leaves {result[0]} of {widths[0]} channels; use at least {1 / widths[0]:.3g}.")
    return result


def check_sizes(**sizes: int) -> None:
    """Raise `UsageError` unless every size is a whole number, at least 1."""
    for name, value in sizes.items():
        if not isinstance(value, int) or value < 1:
            raise UsageError(f"{name} must be a whole number, at least 1; got {value!r}.")
