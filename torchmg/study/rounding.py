"""Activations rounded to few bits: uniform, one step for a whole tensor, values kept as floating point."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from torchmg.errors import UsageError
from torchmg.hierarchy import check_choice

Grid = Literal["affine", "symmetric"]
"""The numbers that b bits can hold, for a tensor with values from low to high:

    affine     2^b of them, from low to high with zero among them; step (high - low) / (2^b - 1)
    symmetric  2^b - 1 of them, from -m to m with m = max(|low|, |high|); step m / (2^(b-1) - 1)
"""
BITS = (2, 16)
"""Fewest and most bits; beyond 16, float32 itself rounds."""


@dataclass(frozen=True)
class Quantiser:
    """Rounds a tensor to the nearest of the numbers that `bits` can hold; what lies outside goes to the nearest end.

    One step and one zero for the whole tensor. Values stay floating point ("fake" quantisation), shapes are kept.

    Args:
        low: smallest value to hold; 0 if it is above.
        high: largest value to hold; 0 if it is below.
        bits: 2 to 16.
        grid: see `Grid`.

    Raises:
        UsageError: other bits, or a range that is not finite.
        UnknownNameError: an unknown grid.
    """

    low: float
    high: float
    bits: int = 8
    grid: Grid = "affine"

    def __post_init__(self) -> None:
        check_bits(self.bits)
        check_choice("grid", self.grid, get_args(Grid))
        if not abs(self.low) + abs(self.high) < float("inf"):
            raise UsageError(f"A range to round in must be finite; got {self.low} to {self.high}.")

    @property
    def step(self) -> float:
        """Distance between neighbours; no value in the range moves by more than half of it."""
        low, high = min(self.low, 0.0), max(self.high, 0.0)
        if self.grid == "symmetric":
            return max(-low, high) / (2 ** (self.bits - 1) - 1)
        return (high - low) / (2**self.bits - 1)

    def __call__(self, x: Tensor) -> Tensor:
        """The rounded tensor."""
        step = self.step
        if not step:
            return torch.zeros_like(x)
        if self.grid == "symmetric":
            end = 2 ** (self.bits - 1) - 1
            return (x / step).round().clamp(-end, end) * step
        zero = round(-min(self.low, 0.0) / step)
        return (x / step).round().clamp(-zero, 2**self.bits - 1 - zero) * step


def check_bits(bits: int) -> None:
    """Raise `UsageError` unless activations can be rounded to so many bits."""
    if not isinstance(bits, int) or not BITS[0] <= bits <= BITS[1]:
        raise UsageError(f"Activations are rounded to {BITS[0]} to {BITS[1]} bits; got {bits!r}.")
