"""What operators cost, in closed form. No torch."""

from dataclasses import dataclass

from torchmg.hierarchy.rules import Dims, RelaxationKind


@dataclass(frozen=True)
class Level:
    """One level: the width of its tensor, the inner width of its relaxation, and the number of groups."""

    channels: int
    hidden: int
    groups: int

    @property
    def group_size(self) -> int:
        """Tensor channels in each group."""
        return self.channels // self.groups


@dataclass(frozen=True)
class Cost:
    """Parameters of one operator, and through its weights its MACs."""

    weights: int
    norms: int = 0
    """Of every use of the operator: each has norms of its own."""
    repeated: int = 0
    """Weights applied once more, summed over the second and later uses."""

    @property
    def parameters(self) -> int:
        """All trainable numbers: convolution weights, and scale and shift of the norms."""
        return self.weights + self.norms

    def macs(self, pixels: int) -> int:
        """Multiply-accumulates on a map of `pixels` (height times width): every weight meets every pixel once a use."""
        return (self.weights + self.repeated) * pixels

    def used(self, times: int) -> "Cost":
        """The cost of `times` uses of this operator: weights are shared, norms are not."""
        return Cost(self.weights, self.norms * times, self.repeated * times + self.weights * (times - 1))

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.weights + other.weights, self.norms + other.norms, self.repeated + other.repeated)


@dataclass(frozen=True)
class LevelCost:
    """What one level costs; the coarsest has no transfers (both zero)."""

    relax: Cost
    restrict: Cost = Cost(0)
    prolong: Cost = Cost(0)

    @property
    def total(self) -> Cost:
        """Relaxation and both transfers."""
        return self.relax + self.restrict + self.prolong


def _convolutions(kind: RelaxationKind, level: Level, kernel_size: int) -> list[tuple[int, int, int]]:
    """(in channels, out channels, kernel size) of each convolution of a relaxation on `level`."""
    c, h, k = level.channels, level.hidden, kernel_size
    return {
        "conv": [(c, c, k)],
        "residual": [(c, c, k), (c, c, k)],
        "bottleneck": [(c, h, 1), (h, h, k), (h, c, 1)],
        "mlp": [(c, 4 * c, 1), (4 * c, c, 1)],
    }[kind]


def relaxation_cost(kind: RelaxationKind, level: Level, kernel_size: int = 3, dims: Dims = 2) -> Cost:
    """Closed-form cost of one relaxation: c_in c_out k^dims / groups a convolution, two parameters a channel a norm.

    With `dims=0` that is a grouped linear map, whatever the kernel size.
    """
    convolutions = _convolutions(kind, level, kernel_size)
    weights = sum(a * b * k**dims // level.groups for a, b, k in convolutions)
    normalised = {"conv": [], "mlp": [level.channels]}.get(kind, [b for _, b, _ in convolutions])
    return Cost(weights, sum(2 * width for width in normalised))
