"""A residual block of any network as an MGIC cycle over narrower copies of itself."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from torchmg.conversion.narrow import narrowed
from torchmg.conversion.schemes import narrower
from torchmg.hierarchy import Dims, GroupRule, StopRule
from torchmg.nn.mgic import MGICBlock, Part


class MultigridBlock(nn.Module):
    """MGIC's Algorithm 1 with a user's own residual block as the relaxation; shapes in and out are the block's.

    On every level the relaxation is `narrowed(block, ...)`: the same class, norms and activations on the level's
    channels, its dense layers in groups, full on the coarsest level. So a one-level hierarchy is the block itself.
    Prolongations start with norms of scale zero, unlike a fresh `MGICBlock`'s: what a new block gives at first is its
    finest level alone, into which a trained block's weights can be put.

    Args:
        block: a residual block that keeps the shape (batch, channels, *spatial); it is not changed.
        channels, hidden: its outer and its inner width.
        dims: its spatial axes.
        group_size, coarsest, stop, group_rule: see `MGICBlock`; sizes are measured on the narrower of both widths.
        permuted: sort the channels before the cycle and back behind it; the list `order` is in the state dictionary
            and starts as the identity.

    Raises:
        UsageError: a block that cannot be narrowed; sizes below 1.
    """

    order: Tensor | None

    def __init__(
        self,
        block: nn.Module,
        channels: int,
        hidden: int,
        *,
        group_size: int,
        coarsest: int,
        permuted: bool = False,
        stop: StopRule = "le",
        group_rule: GroupRule = "ceil",
        dims: Dims = 2,
    ) -> None:
        super().__init__()
        self.cycle = MGICBlock(
            channels,
            relax=lambda width, groups: narrowed(block, channels, width, groups, dims=dims),
            group_size=group_size,
            coarsest=coarsest,
            stop=stop,
            group_rule=group_rule,
            group_by=narrower(channels, hidden),
            hidden=hidden,
            dims=dims,
        )
        for prolong in self.cycle.prolong:
            nn.init.zeros_(prolong.get_parameter("norm.weight"))
        self.register_buffer("order", torch.arange(channels) if permuted else None)

    @property
    def finest(self) -> nn.Module:
        """The relaxation of the finest level, as wide as the block."""
        return self.cycle.relax[0]

    def forward(self, x: Tensor) -> Tensor:
        """One cycle, in the sorted order of channels."""
        if self.order is None:
            return self.cycle(x)
        return self.cycle(x[:, self.order])[:, self.order.argsort()]

    def parts(self) -> Iterator[Part]:
        """Those of the cycle."""
        return (Part(f"cycle.{part.path}", part.role, part.level) for part in self.cycle.parts())
