"""Functions to be approximated from samples: sums of waves, and the signed distance to a polygon.

The MGIC paper approximates the members of a family of functions (Table 2); the family, its Eq. 9, is not legible in the
copy that this library was made from, nor are the number of samples and their split. So the families here are our own,
stated in full, and no result on them can be compared with the paper's.

Inputs are points of [-1, 1]^d as (N, d, 1, 1), which the networks of `torchmg.models.functions` take. All numbers are
functions of the arguments: there is nothing to download and no random state. Targets are computed in float64 at the
very points that the float32 inputs stand for.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import cos, pi, sin

import torch
from torch import Tensor

from torchmg.data.arrays import ArraySet, ArraySplit
from torchmg.data.order import draws, epoch_order
from torchmg.errors import ShapeError, UsageError

HIGHEST = 4
"""Largest frequency along one axis, in half periods a unit: four full waves across the domain."""
DECAY = 1.0
"""Amplitudes fall with this power of the wave number."""
WAVES = 16
"""Waves in a sum."""
POINTS = 1000
"""Samples of a set."""
TEST_SHARE = 5
"""One sample in so many is for testing."""
POINTS_SEED = 0
"""Of the points, the same for every function, so that functions are compared on equal terms."""
_EPOCH = {"points": 0, "phases": 1}
"""Which numbers of a seed serve for what."""


@dataclass(frozen=True)
class WaveSum:
    """f(x) = sum_j a_j sin(pi w_j . x + b_j) on [-1, 1]^d, with mean 0 and variance 1 over it.

    The w_j are `waves` different integer vectors with entries of at most 4 in absolute value, none 0 and no two
    opposite; the phases b_j are uniform in [0, 2 pi); a_j is proportional to 1 / |w_j|. Whole waves fit into the
    domain, so that different ones are orthogonal and the variance is sum_j a_j^2 / 2, which is exactly 1.

    Args:
        seed: which member of the family, 0..2**64-1.
        dims: d, at least 1.
        waves: how many, 16 unless given; there are 4 of them in one dimension, 40 in two.

    Raises:
        UsageError: sizes below 1, more waves than there are, a seed out of bounds.
    """

    seed: int = 0
    dims: int = 2
    waves: int = WAVES

    def __post_init__(self) -> None:
        if not 1 <= self.dims <= 6:
            raise UsageError(f"dims must be 1 to 6; got {self.dims}.")
        most = ((2 * HIGHEST + 1) ** self.dims - 1) // 2
        if not 1 <= self.waves <= most:
            raise UsageError(f"There are {most} waves in {self.dims} dimensions; got waves={self.waves}.")
        self.phases  # noqa: B018 (a seed out of bounds should fail here, not later)

    @cached_property
    def vectors(self) -> Tensor:
        """w, int64 (waves, dims)."""
        axis = range(-HIGHEST, HIGHEST + 1)
        # Of two opposite vectors, which give the same waves, the one whose first entry other than 0 is positive.
        half = [vector for vector in product(axis, repeat=self.dims) if vector > (0,) * self.dims]
        return torch.tensor([half[index] for index in epoch_order(self.seed, 0, len(half))[: self.waves].tolist()])

    @cached_property
    def phases(self) -> Tensor:
        """b, float64 (waves,)."""
        whole = draws(self.seed, _EPOCH["phases"], self.waves, 2**53, 1).flatten()
        return whole.double() * (2 * pi / 2**53)

    @cached_property
    def amplitudes(self) -> Tensor:
        """a, float64 (waves,)."""
        raw = self.vectors.double().norm(dim=1) ** -DECAY
        return raw / (raw.square().sum() / 2).sqrt()

    def __call__(self, x: Tensor) -> Tensor:
        """The values at points (..., dims), float64 (...).

        Raises:
            ShapeError: points of other dimensions.
        """
        if not x.dim() or x.shape[-1] != self.dims:
            raise ShapeError(f"Expected points (..., {self.dims}); got {tuple(x.shape)}.")
        angles = pi * (x.double() @ self.vectors.double().T) + self.phases
        return angles.sin() @ self.amplitudes


def load_functions(seed: int = 0, *, points: int = POINTS, dims: int = 2, waves: int = WAVES) -> ArraySet:
    """Samples of a `WaveSum` at points that are uniform in [-1, 1]^dims, a fifth of them for testing.

    Args:
        seed: which function; the points are the same for all.
        points: how many samples, at least 5; those of a smaller set are the first of a larger one.
        dims: coordinates of a point.
        waves: as in `WaveSum`.

    Raises:
        UsageError: as `WaveSum`, or too few points.
    """
    function = WaveSum(seed, dims, waves)
    x = uniform_points(points, dims)
    return _sampled("functions", "f", x, function(x))


def load_signed_distance(*, points: int = POINTS, corners: Tensor | None = None) -> ArraySet:
    """Samples of the signed distance to a polygon at points that are uniform in [-1, 1]^2, a fifth for testing.

    The function is continuous, with slope 1 almost everywhere and kinks along the polygon's medial axis.

    Args:
        points: how many samples, at least 5.
        corners: (M, 2), as in `signed_distance`; `star()` unless given.

    Raises:
        ShapeError: as `signed_distance`.
        UsageError: too few points.
    """
    x = uniform_points(points, 2)
    return _sampled("signed_distance", "distance", x, signed_distance(x, star() if corners is None else corners))


def uniform_points(count: int, dims: int) -> Tensor:
    """Points of [-1, 1]^dims that float32 represents exactly: float64 (count, dims), always the same ones.

    Raises:
        UsageError: fewer than 5, of which one is for testing.
    """
    if not isinstance(count, int) or count < TEST_SHARE:
        raise UsageError(f"points must be a whole number, at least {TEST_SHARE}; got {count!r}.")
    steps = 2**23  # a grid this fine has exact places in float32 all over [-1, 1]
    return draws(POINTS_SEED, _EPOCH["points"], count, 2 * steps + 1, dims).double() / steps - 1


def star(rays: int = 5, outer: float = 0.8, inner: float = 0.35) -> Tensor:
    """Corners of a star around the origin with one ray upwards, counterclockwise: float64 (2 rays, 2).

    Args:
        rays: how many, at least 2.
        outer: distance of the rays' ends from the origin.
        inner: of the corners between them.
    """
    angles = [pi / 2 + pi * index / rays for index in range(2 * rays)]
    radii = [outer, inner] * rays
    return torch.tensor([[r * cos(a), r * sin(a)] for r, a in zip(radii, angles, strict=True)], dtype=torch.float64)


def signed_distance(x: Tensor, corners: Tensor) -> Tensor:
    """Exact distance to a closed polygon, negative inside.

    The smallest distance to all edges, with the sign by the winding number: inside is where the outline winds around a
    point, whichever way and however often, so that self-crossing outlines have no holes.

    Args:
        x: points (N, 2).
        corners: of the polygon in order, (M, 2), M at least 3; the last is joined to the first.

    Returns:
        float64 (N,).

    Raises:
        ShapeError: other shapes.
    """
    if x.dim() != 2 or x.shape[1] != 2:
        raise ShapeError(f"Expected points (N, 2); got {tuple(x.shape)}.")
    if corners.dim() != 2 or corners.shape[1] != 2 or len(corners) < 3:
        raise ShapeError(f"Expected the corners of a polygon, (M, 2) with M at least 3; got {tuple(corners.shape)}.")
    start, p = corners.double(), x.double()[:, None]
    along, from_start = start.roll(-1, 0) - start, p - start
    # An edge of length 0 is a point: any share of it is right, as long as it is a number.
    length = along.square().sum(1).clamp_min(torch.finfo(torch.float64).tiny)
    share = ((from_start * along).sum(2) / length).clamp(0, 1)
    distance = (from_start - share[..., None] * along).norm(dim=2).amin(1)
    side = along[:, 0] * from_start[..., 1] - along[:, 1] * from_start[..., 0]
    below, below_next = start[:, 1] <= p[..., 1], start.roll(-1, 0)[:, 1] <= p[..., 1]
    winding = (below & ~below_next & (side > 0)).sum(1) - (~below & below_next & (side < 0)).sum(1)
    return torch.where(winding != 0, -distance, distance)


def _sampled(name: str, component: str, x: Tensor, y: Tensor) -> ArraySet:
    """Points and values as a set; every fifth sample is for testing."""
    inputs, targets = x.float()[..., None, None], y.float()[:, None]
    test = torch.arange(len(x)) % TEST_SHARE == TEST_SHARE - 1
    splits = (ArraySplit(inputs[part], targets[part]) for part in (~test, test))
    return ArraySet(name, (component,), *splits)
