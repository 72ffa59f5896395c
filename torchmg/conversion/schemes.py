"""What dense layers and blocks are converted into: the schemes a user names, and the sizes they can take. No torch."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, Self, get_args

from torchmg.errors import UsageError
from torchmg.hierarchy import GroupBy, GroupRule, Hierarchy, StopRule, check_choice
from torchmg.hierarchy.layer_levels import LayerHierarchy

SchemeName = Literal["mgic", "lean", "circulant"]
LeanStencil = Literal["9", "5"]


@dataclass(frozen=True)
class Scheme(ABC):
    """A way of making dense layers cheap. Sizes that are None are chosen, layer by layer, by the budget."""

    name: ClassVar[SchemeName]

    @abstractmethod
    def settings(self, width: int) -> Iterator[Self]:
        """This scheme with every combination of sizes that a layer of `width` can have, in no order.

        `width` is what is halved and cut: the greatest common divisor of a layer's widths, the inner width of a block.
        """

    @property
    @abstractmethod
    def fixed(self) -> Self:
        """This scheme with the default for every size that is None."""

    def plan(self) -> dict[str, Any]:
        """As JSON can hold it; `scheme_of` reads it."""
        return {"scheme": self.name, **{field.name: getattr(self, field.name) for field in fields(self)}}

    def __str__(self) -> str:
        sizes = [f"{field.name}={getattr(self, field.name)}" for field in fields(self) if field.name in self._shown]
        return f"{self.name} {' '.join(sizes)}"

    _shown: ClassVar[tuple[str, ...]] = ()


@dataclass(frozen=True)
class MGIC(Scheme):
    """Multigrid in channels: MGIC cycles for blocks, additive multigrid operators for single layers.

    Args:
        group_size: channels of a group on all levels but the coarsest; 8, as in `MGICBlock`, where no budget chooses.
        coarsest: width at which coupling is full; 16 where no budget chooses.
        blocks: convert whole residual blocks into MGIC cycles (Algorithm 1) where they are recognised; False: every
            layer on its own. None, the default, takes blocks where `match` fits them or nothing does, and layers where
            they are only projected: a projected layer has all levels of its dense kernel, a block the finest alone.
        permute: let `project` sort channels so that strongly coupled ones share a group.
        stop, group_rule: see `StopRule`, `GroupRule`.

    Raises:
        UsageError: sizes below 1.
        UnknownNameError: an unknown rule.
    """

    name: ClassVar[SchemeName] = "mgic"
    _shown: ClassVar[tuple[str, ...]] = ("group_size", "coarsest")

    group_size: int | None = None
    coarsest: int | None = None
    blocks: bool | None = None
    permute: bool = True
    stop: StopRule = "le"
    group_rule: GroupRule = "ceil"

    def __post_init__(self) -> None:
        _check_sizes(group_size=self.group_size, coarsest=self.coarsest)
        check_choice("stop", self.stop, get_args(StopRule))
        check_choice("group_rule", self.group_rule, get_args(GroupRule))

    @property
    def fixed(self) -> "MGIC":
        """With groups of 8 and a coarsest width of 16 unless given."""
        return self._with(self.group_size or 8, self.coarsest or 16)

    def settings(self, width: int) -> Iterator["MGIC"]:
        """Group sizes that are powers of two, and the halves of the width as coarsest ones."""
        halves = []
        while width % 2 == 0 and width > 2:
            width //= 2
            halves.append(width)
        for coarsest in [self.coarsest] if self.coarsest else halves:
            sizes = [self.group_size] if self.group_size else [2**e for e in range(1, 12) if 2**e <= 2 * coarsest]
            for group_size in sizes:
                yield self._with(group_size, coarsest)

    def layer_hierarchy(self, in_channels: int, out_channels: int) -> LayerHierarchy:
        """The levels of a layer in these sizes, which must be set."""
        return LayerHierarchy(in_channels, out_channels, *self._sizes, self.stop, self.group_rule)

    def block_hierarchy(self, channels: int, hidden: int) -> Hierarchy:
        """The levels of a block in these sizes, measured on the narrower of its widths."""
        return Hierarchy(channels, *self._sizes, self.stop, self.group_rule, hidden, narrower(channels, hidden))

    @property
    def _sizes(self) -> tuple[int, int]:
        assert self.group_size is not None, "the budget, or `fixed`, sets them"
        assert self.coarsest is not None
        return self.group_size, self.coarsest

    def _with(self, group_size: int, coarsest: int) -> "MGIC":
        return MGIC(group_size, coarsest, self.blocks, self.permute, self.stop, self.group_rule)


@dataclass(frozen=True)
class Lean(Scheme):
    """Lean couplings: all channels by one tap, the other taps within groups (`torchmg.nn.coupling.Lean`).

    Only kernels wider than one pixel become cheaper.

    Args:
        stencil: 9, all taps, or 5, those along the axes; None lets the budget choose, 9 without one.
        group_size: channels that a stencil reads; None lets the budget choose, 1 (depthwise) without one.

    Raises:
        UsageError: a group size below 1.
        UnknownNameError: an unknown stencil.
    """

    name: ClassVar[SchemeName] = "lean"
    _shown: ClassVar[tuple[str, ...]] = ("stencil", "group_size")

    stencil: LeanStencil | None = None
    group_size: int | None = None

    def __post_init__(self) -> None:
        _check_sizes(group_size=self.group_size)
        if self.stencil is not None:
            check_choice("stencil", self.stencil, get_args(LeanStencil))

    @property
    def fixed(self) -> "Lean":
        """With all taps and depthwise stencils unless given."""
        return Lean(self.stencil or "9", self.group_size or 1)

    def settings(self, width: int) -> Iterator["Lean"]:
        """Both stencils, and groups of powers of two that divide the width."""
        stencils: list[LeanStencil] = [self.stencil] if self.stencil else ["9", "5"]
        for stencil in stencils:
            sizes = [2**e for e in range(12) if width % 2**e == 0 and 2**e < width]
            for group_size in [self.group_size] if self.group_size else sizes:
                yield Lean(stencil, group_size)


@dataclass(frozen=True)
class Circulant(Scheme):
    """Block-circulant couplings (`torchmg.nn.coupling.Circulant`): fewer weights, as many MACs.

    Args:
        block: width of the circulant blocks, so the factor by which weights become fewer; None lets the budget choose,
            4 without one. Where it does not divide the widths, the largest smaller divisor is taken.

    Raises:
        UsageError: a block below 1.
    """

    name: ClassVar[SchemeName] = "circulant"
    _shown: ClassVar[tuple[str, ...]] = ("block",)

    block: int | None = None

    def __post_init__(self) -> None:
        _check_sizes(block=self.block)

    @property
    def fixed(self) -> "Circulant":
        """With blocks of 4 unless given."""
        return Circulant(self.block or 4)

    def settings(self, width: int) -> Iterator["Circulant"]:
        """Blocks that divide the width, powers of two and the width itself."""
        blocks = {2**e for e in range(1, 12) if width % 2**e == 0} | {width}
        for block in [self.block] if self.block else sorted(blocks - {1}):
            yield Circulant(block)


SCHEMES: dict[SchemeName, type[MGIC] | type[Lean] | type[Circulant]] = {
    "mgic": MGIC,
    "lean": Lean,
    "circulant": Circulant,
}
"""Every scheme by its name."""


def scheme_of(plan: dict[str, Any]) -> Scheme:
    """The scheme that `Scheme.plan` described.

    Raises:
        UsageError: a field that the scheme does not have, or a value it cannot take.
        UnknownNameError: an unknown scheme.
    """
    name = plan.get("scheme")
    check_choice("scheme", str(name), get_args(SchemeName))
    options = {key: value for key, value in plan.items() if key != "scheme"}
    kind = SCHEMES[name]  # pyright: ignore[reportArgumentType]
    known = {field.name for field in fields(kind)}
    if unknown := sorted(set(options) - known):
        raise UsageError(f"The scheme {name!r} has no {', '.join(unknown)}; it has {', '.join(sorted(known))}.")
    return kind(**options)


def narrower(channels: int, hidden: int) -> GroupBy:
    """Which of a block's widths its sizes are measured on: the middle where that is narrower."""
    return "mid" if hidden < channels else "outer"


def _check_sizes(**sizes: int | None) -> None:
    for name, value in sizes.items():
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise UsageError(f"{name} must be a whole number of channels, at least 1, or None; got {value!r}.")
