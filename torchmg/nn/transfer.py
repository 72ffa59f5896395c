"""Restriction and prolongation between the levels of a channel hierarchy.

R maps c channels to c/2 and P maps them back; both are grouped 1x1 convolutions without bias, P with the
transposed sparsity of R (MGIC paper, section 3.2; reduced to the counts of its Table 1). At the start every
row, the weights into one output channel, is positive and sums to 1, so that a constant stays that constant, unless
they are drawn as any other convolution's (`init="gaussian"`).

The weights live in one flat vector called `rows`, in a module that is no convolution by type: passes over a whole
network that re-draw "every conv", "every `weight`" or "every parameter of two or more dimensions" cannot
touch it. (Losing this initialisation to such a pass is a known defect of the published code.)

Both have an exact transpose, without their norm, so that hierarchies of linear maps have one.
"""

from typing import Self, get_args

import torch
from torch import Tensor, nn

from torchmg.errors import UsageError
from torchmg.hierarchy import (
    Dims,
    TransferGroups,
    TransferInit,
    TransferWeights,
    check_choice,
    check_groups,
    halved_axis,
    lattice_shape,
)
from torchmg.nn.conv import is_paired, pointwise
from torchmg.nn.conv_norm import pointwise_norm
from torchmg.nn.linear_transfer import draw_rows, linear_size, spread_up, weigh_down
from torchmg.nn.norm import batch_norm

__all__ = ["Prolongation", "Restriction", "Transfer", "TransferGroups", "TransferInit", "TransferWeights"]


class Transfer(nn.Module):
    """A 1x1 map (batch, in_channels, *spatial) -> (batch, out_channels, *spatial), optionally normalised.

    Args:
        in_channels, out_channels: widths; `groups` must divide both.
        groups: number of groups; weights are in_channels * out_channels / groups.
        init: see `TransferInit`.
        order: see `TransferGroups`; `linear` and `lattice` need as many groups as there are coarse channels, and
            `linear` has weights between neighbouring groups, 3 coarse - 1 in all.
        norm: follow with batch normalisation (zero shift at the start).
        dims: spatial axes of the tensors, 0 for vectors.

    Raises:
        GroupError: `groups` does not divide a width.
        UsageError: an order that groups of this number, or these widths, cannot have.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        groups: int,
        *,
        init: TransferInit = "random",
        order: TransferGroups = "neighbour",
        norm: bool = False,
        dims: Dims = 2,
    ) -> None:
        super().__init__()
        name = f"a transfer {in_channels} -> {out_channels}"
        check_groups(in_channels, groups, name)
        check_groups(out_channels, groups, name)
        check_choice("transfer_init", init, get_args(TransferInit))
        check_choice("transfer_groups", order, get_args(TransferGroups))
        coarse = min(in_channels, out_channels)
        if order in ("linear", "lattice") and (groups != coarse or in_channels + out_channels != 3 * coarse):
            raise UsageError(
                f"The order {order!r} is of transfers that halve or double and have one group for each coarse channel; "
                f"got {name} in {groups} groups. Use groups={coarse} or the order 'neighbour'."
            )
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.init: TransferInit = init
        self.order: TransferGroups = order
        linear = order == "linear"
        self.rows = nn.Parameter(torch.empty(linear_size(coarse) if linear else in_channels * out_channels // groups))
        self.norm = batch_norm(out_channels, dims) if norm else nn.Identity()
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw the rows anew, see `TransferInit`."""
        if self.order == "linear":
            coarse, restricts = min(self.in_channels, self.out_channels), self.in_channels > self.out_channels
            rows = draw_rows(coarse, self.init == "random", restricts)
        else:
            rows = torch.empty(self.out_channels, self.in_channels // self.groups, dtype=torch.float64)
            rows = rows.uniform_(0.5, 1.5) if self.init == "random" else rows.fill_(1.0)
            rows = (rows / rows.sum(1, keepdim=True)).flatten()
        self.rows.copy_(rows.sqrt() * torch.randn_like(rows) if self.init == "gaussian" else rows)

    def weight_view(self) -> Tensor:
        """(out_channels, in_channels / groups): row i holds the weights into output channel i, within its group."""
        return self.rows.view(self.out_channels, -1)

    def group_map(self, x: Tensor) -> Tensor:
        """The map itself, without norm."""
        return pointwise(x, self.weight_view(), self.groups)

    def group_adjoint(self, y: Tensor) -> Tensor:
        """Its exact transpose: (batch, out_channels, *spatial) -> (batch, in_channels, *spatial)."""
        transposed = self.weight_view().unflatten(0, (self.groups, -1)).transpose(1, 2).flatten(0, 1)
        return pointwise(y, transposed, self.groups)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the map, then the norm."""
        if self.order in ("neighbour", "pair") and not isinstance(self.norm, nn.Identity):
            return pointwise_norm(self.weight_view(), self.groups, self.norm, x)
        return self.norm(self.group_map(x))

    def dense_weight(self) -> Tensor:
        """The map without norm as a dense (out_channels, in_channels) matrix."""
        eye = torch.eye(self.in_channels, dtype=self.rows.dtype, device=self.rows.device)
        return self.group_map(eye).T

    def elementwise_macs(self, y: Tensor) -> int:
        """MACs of a call that returned `y` and is no matrix product or convolution to a counter of those; else 0."""
        if self.order != "linear" and not is_paired(self.weight_view(), self.groups):
            return 0
        return self.rows.numel() * y[:, 0].numel()

    def extra_repr(self) -> str:
        """Widths, groups and an order that is not the default."""
        order = "" if self.order == "neighbour" else f", order={self.order}"
        return f"{self.in_channels} -> {self.out_channels}, groups={self.groups}, init={self.init}{order}"


def _to_groups(x: Tensor, order: TransferGroups, groups: int) -> Tensor:
    """Fine channels (batch, channels, ...) in the order of their groups."""
    if order == "interleaved":
        return x.unflatten(1, (-1, groups)).transpose(1, 2).flatten(1, 2)
    if order == "lattice":
        rows, columns = lattice_shape(x.shape[1])
        if halved_axis((rows, columns)) == 1:
            return x
        pairs = x.unflatten(1, (rows // 2, 2, columns)).transpose(2, 3)
        pairs = pairs if rows // 2 >= columns else pairs.transpose(1, 2)
        return pairs.flatten(1, 3)
    return x


def _from_groups(x: Tensor, order: TransferGroups, groups: int) -> Tensor:
    """The inverse of `_to_groups`."""
    if order == "interleaved":
        return x.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)
    if order == "lattice":
        rows, columns = lattice_shape(x.shape[1])
        if halved_axis((rows, columns)) == 1:
            return x
        turned = rows // 2 < columns
        pairs = x.unflatten(1, (columns, rows // 2, 2) if turned else (rows // 2, columns, 2))
        pairs = pairs.transpose(1, 2) if turned else pairs
        return pairs.transpose(2, 3).flatten(1, 3)
    return x


class Restriction(Transfer):
    """R: to the coarser level, `channels` -> `channels / 2`.

    With `order="interleaved"`, group j of G gathers the fine channels j, j + G, j + 2G, ...; coarse channels
    always stay in the order of their groups. With `order="lattice"` the fine channels lie on `lattice_shape(channels)`
    and the coarse ones on its `coarse_lattice`, both row by row.

    Raises:
        UsageError: `balanced` with `order="linear"`, whose ends leave no positive weights to balance.
    """

    def __init__(
        self,
        channels: int,
        groups: int,
        *,
        init: TransferInit = "random",
        order: TransferGroups = "neighbour",
        norm: bool = False,
        balanced: bool = False,
        dims: Dims = 2,
    ) -> None:
        check_groups(channels, 2, "a restriction halves its channels")
        if balanced and order == "linear":
            raise _no_transpose()
        self.balanced = balanced
        super().__init__(channels, channels // 2, groups, init=init, order=order, norm=norm, dims=dims)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw rows; when a prolongation is this map's transpose, scale columns alike, so that its rows sum to 1.

        Gaussian rows have no sums, and stay as they are drawn.
        """
        super().reset_parameters()
        if not self.balanced or self.init == "gaussian":
            return
        rows = self.weight_view().double().view(self.groups, -1, self.in_channels // self.groups)
        for _ in range(100):  # Sinkhorn's iteration; converges to rounding in a few sweeps for entries this alike
            rows = rows * (0.5 / rows.sum(1, keepdim=True))
            rows = rows / rows.sum(2, keepdim=True)
        self.rows.copy_(rows.flatten())

    def group_map(self, x: Tensor) -> Tensor:
        """(batch, channels, *spatial) -> (batch, channels / 2, *spatial), without norm."""
        if self.order == "linear":
            return weigh_down(x, self.rows)
        return super().group_map(_to_groups(x, self.order, self.groups))

    def group_adjoint(self, y: Tensor) -> Tensor:
        """R^T: (batch, channels / 2, *spatial) -> (batch, channels, *spatial)."""
        if self.order == "linear":
            return spread_up(y, self.rows)
        return _from_groups(super().group_adjoint(y), self.order, self.groups)


class Prolongation(Transfer):
    """P: back to the finer level, `channels / 2` -> `channels`, with the transposed sparsity of R.

    `Prolongation.transpose_of(restriction)` shares R's parameter instead of having its own: P = 2 R^T, whose
    rows sum to 1 when R was built `balanced`.
    """

    def __init__(
        self,
        channels: int,
        groups: int,
        *,
        init: TransferInit = "random",
        order: TransferGroups = "neighbour",
        norm: bool = True,
        dims: Dims = 2,
    ) -> None:
        check_groups(channels, 2, "a prolongation doubles its channels")
        self.shared = False
        super().__init__(channels // 2, channels, groups, init=init, order=order, norm=norm, dims=dims)

    @classmethod
    def transpose_of(cls, restriction: Restriction, *, norm: bool = True, dims: Dims = 2) -> Self:
        """A prolongation that uses (and trains) the restriction's own weights.

        Raises:
            UsageError: a restriction of `order="linear"`.
        """
        if restriction.order == "linear":
            raise _no_transpose()
        prolongation = cls(
            restriction.in_channels,
            restriction.groups,
            init=restriction.init,
            order=restriction.order,
            norm=norm,
            dims=dims,
        )
        prolongation.rows = restriction.rows
        prolongation.shared = True
        return prolongation

    def reset_parameters(self) -> None:
        """Draw rows anew; shared rows are the restriction's to draw."""
        if not self.shared:
            super().reset_parameters()

    def weight_view(self) -> Tensor:
        """(channels, (channels / 2) / groups), as in `Transfer`."""
        if not self.shared:
            return super().weight_view()
        restriction = self.rows.view(self.groups, self.in_channels // self.groups, -1)
        return 2 * restriction.transpose(1, 2).flatten(0, 1)

    def group_map(self, x: Tensor) -> Tensor:
        """The map without norm; its outputs return to the places where R gathered its inputs."""
        if self.order == "linear":
            return spread_up(x, self.rows)
        return _from_groups(super().group_map(x), self.order, self.groups)

    def group_adjoint(self, y: Tensor) -> Tensor:
        """P^T: (batch, channels, *spatial) -> (batch, channels / 2, *spatial)."""
        if self.order == "linear":
            return weigh_down(y, self.rows)
        return super().group_adjoint(_to_groups(y, self.order, self.groups))


def _no_transpose() -> UsageError:
    return UsageError(
        "P = 2 R^T cannot have positive rows of sum 1 with transfer_groups='linear', whose first row has a tap "
        "less. Use transfer_weights='own', or transfer_groups='pair'."
    )
