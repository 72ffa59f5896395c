"""The options of catalogue models as one flat value, for recipes and command lines. No torch."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from torchmg.hierarchy import GroupBy, GroupRule, StopRule, TransferNorm


@dataclass(frozen=True)
class ModelOptions:
    """What to change about a model; None leaves the model's own default."""

    group_size: int | None = None
    """Channels per group on every level but the coarsest (MGIC models; default 8)."""
    coarsest: int | None = None
    """Width at which channels are fully coupled (MGIC models; default 16)."""
    width: float | None = None
    """Multiplier on every stage's width (default 1)."""
    preset: Literal["paper", "table5", "reference_code", "two_level"] | None = None
    """Where the hierarchy's rules come from (MGIC models; default paper)."""
    shortcut: Literal["depthwise", "pointwise"] | None = None
    """How MGIC models change width and resolution (default depthwise)."""
    stop: StopRule | None = None
    """When to stop coarsening; overrides the preset."""
    group_rule: GroupRule | None = None
    """How many groups where sizes do not divide; overrides the preset."""
    group_by: GroupBy | None = None
    """Which width of a bottleneck the sizes are measured on."""
    transfer_init: Literal["random", "uniform"] | None = None
    """First values of the transfers' rows (default random, positive with sum 1)."""
    transfer_weights: Literal["own", "transpose"] | None = None
    """Whether a prolongation has its own weights or its restriction's, transposed (default own)."""
    transfer_groups: Literal["neighbour", "interleaved"] | None = None
    """Which fine channels a coarse one averages (default neighbour)."""
    transfer_norm: TransferNorm | None = None
    """Which transfers are normalised (default prolong)."""

    def given(self) -> dict[str, Any]:
        """Only what was set, as keyword arguments for `torchmg.create`."""
        return {name: value for name, value in asdict(self).items() if value is not None}
