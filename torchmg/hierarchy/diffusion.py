"""The choices of an implicit diffusion step, each a word with a meaning, and how exact its sweeps are. No torch."""

from math import acosh, cosh
from typing import Literal

from torchmg.errors import UsageError
from torchmg.hierarchy.rules import check_choice

DiffusionBackend = Literal["fourier", "cosine", "sweeps"]
"""How (I + h L) u = y is solved: `fourier`, exactly, on an image that continues periodically; `cosine`, exactly, with
a reflecting boundary; `sweeps`, approximately, with the same boundary, by convolutions only."""

DiffusionSymbol = Literal["gram", "laplacian", "anisotropic", "isotropic"]
"""What L is in a channel. With `fourier`: `gram`, B^T B of a free stencil B, symbol |b(w)|^2; `laplacian`, |Re l(w)| of
a free stencil l that starts as a Laplacian. With `cosine` and `sweeps`: `anisotropic`, a sum of products of the
axes' second differences with one factor >= 0 each; `isotropic`, the Laplacian times one factor >= 0."""

DiffusionInit = Literal["smooth", "spread", "imexnet"]
"""First values of L: `smooth`, the same mild smoothing in every channel, h L <= h; `spread`, another diffusion length
in every channel, from 1 to `FARTHEST` pixels, so that some see far at once; `imexnet`, as IMEXnet's code."""

FARTHEST = 32.0
"""Pixels: the longest first diffusion length of `spread`, half a picture of the task that it was made for (Q-tips)."""


def diffusion_lengths(channels: int) -> list[float]:
    """First diffusion lengths of `spread`, in pixels: from 1 to `FARTHEST`, in equal ratios."""
    return [FARTHEST ** (channel / max(channels - 1, 1)) for channel in range(channels)]


Acceleration = Literal["richardson", "chebyshev"]
"""Which sweeps: `richardson`, damped, each the same; `chebyshev`, the best polynomial over the whole spectrum."""

SYMBOLS: dict[str, tuple[str, ...]] = {
    "fourier": ("gram", "laplacian"),
    "cosine": ("anisotropic", "isotropic"),
    "sweeps": ("anisotropic", "isotropic"),
}
"""The symbols that each back end takes, its default first."""


def sweep_factor(h: float, l_max: float, sweeps: int, acceleration: Acceleration = "chebyshev") -> float:
    """What `sweeps` sweeps for (I + h L) u = y leave of the error at most, with 0 <= L <= l_max.

    With z = h l_max: `richardson` leaves (z / (2 + z))^sweeps, and exactly that of the fastest and the slowest mode,
    with alternating and equal signs; `chebyshev` leaves 1 / T_sweeps((2 + z) / z), the least that any polynomial can
    (Saad, "Iterative Methods for Sparse Linear Systems", 2003, section 12.3). For one sweep both are the
    same. The sweeps start at y, whose own error is at most z / (1 + z) of y. With z far above the square of the number
    of sweeps both hardly help, and Richardson's can even be nearer: they leave the modes in between alone less.

    Raises:
        UsageError: h or l_max below 0, no sweep.
        UnknownNameError: an unknown acceleration.
    """
    check_choice("acceleration", acceleration, ("richardson", "chebyshev"))
    if not h >= 0 or not l_max >= 0 or sweeps < 1:
        raise UsageError(f"h and l_max must be >= 0 and sweeps >= 1; got h={h}, l_max={l_max}, sweeps={sweeps}.")
    z = h * l_max
    if z == 0:
        return 0.0
    if acceleration == "richardson":
        return (z / (2 + z)) ** sweeps
    return 1 / cosh(sweeps * acosh((2 + z) / z))
