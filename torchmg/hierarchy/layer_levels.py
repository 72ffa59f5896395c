"""Levels of one linear layer between two widths, and what it costs. No torch."""

from dataclasses import dataclass
from functools import cached_property
from math import gcd

from torchmg.errors import UsageError
from torchmg.hierarchy.levels import Hierarchy
from torchmg.hierarchy.rules import GroupRule, StopRule


@dataclass(frozen=True)
class LayerHierarchy:
    """A channel hierarchy of a layer in_channels -> out_channels.

    Both widths are multiples of their greatest common divisor d, and it is d that is halved and cut into groups: with
    in = a d and out = b d, a level of width d_l has a d_l inputs, b d_l outputs, and as many groups as a square layer
    of that width. For in = out this is the hierarchy of `Multigrid` and of MGIC (paper, section 3.1); the rest is ours.

    Raises:
        UsageError: widths, group size or coarsest width below 1.
        UnknownNameError: an unknown rule.
    """

    in_channels: int
    out_channels: int
    group_size: int = 8
    """Channels of d in a group: of the narrower side, where one width divides the other."""
    coarsest: int = 16
    """Width of d at which coupling is full."""
    stop: StopRule = "le"
    group_rule: GroupRule = "ceil"

    def __post_init__(self) -> None:
        for name in ("in_channels", "out_channels"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise UsageError(f"{name} must be a whole number of channels, at least 1; got {value!r}.")
        _ = self.core

    @cached_property
    def core(self) -> Hierarchy:
        """The hierarchy of the common divisor."""
        return Hierarchy(self.divisor, self.group_size, self.coarsest, self.stop, self.group_rule)

    @property
    def divisor(self) -> int:
        """The greatest common divisor of both widths."""
        return gcd(self.in_channels, self.out_channels)

    @cached_property
    def inputs(self) -> tuple[int, ...]:
        """Input width of every level, finest first."""
        return tuple(self.in_channels // self.divisor * level.channels for level in self.core.levels)

    @cached_property
    def outputs(self) -> tuple[int, ...]:
        """Output width of every level."""
        return tuple(self.out_channels // self.divisor * level.channels for level in self.core.levels)

    @cached_property
    def groups(self) -> tuple[int, ...]:
        """Groups of every level, 1 on the coarsest; the transfers below a level have as many."""
        return tuple(level.groups for level in self.core.levels)

    def weights(self, taps: int) -> int:
        """Weights of all levels and transfers, for kernels of `taps` entries."""
        return self.macs(taps, 1, 1)

    def macs(self, taps: int, inside: int, outside: int) -> int:
        """Multiply-accumulates on `inside` input positions and `outside` output ones.

        Restrictions work at the input's positions, prolongations and kernels at the output's. Transposed convolutions
        have their kernels at the input's: see `transposed_macs`.
        """
        relax, restrict, prolong = self._parts(taps)
        return restrict * inside + (relax + prolong) * outside

    def transposed_macs(self, taps: int, inside: int, outside: int) -> int:
        """The same of a transposed convolution, each of whose kernels is laid at every input position."""
        relax, restrict, prolong = self._parts(taps)
        return (restrict + relax) * inside + prolong * outside

    def _parts(self, taps: int) -> tuple[int, int, int]:
        """Weights of the kernels, of the restrictions and of the prolongations of all levels."""
        sizes = list(zip(self.inputs, self.outputs, self.groups, strict=True))
        relax = sum(taps * a * b // g for a, b, g in sizes)
        restrict = sum(a * (a // 2) // g for a, _, g in sizes[:-1])
        prolong = sum(b * (b // 2) // g for _, b, g in sizes[:-1])
        return relax, restrict, prolong
