"""Orders of channels in which those that are strongly coupled lie in one group.

Networks are trained without regard to the order of their channels, and a block structure sees that order. Here channels
are aggregated as in algebraic multigrid: each is matched with the one it is most alike, pairs with pairs, until the
groups of the finest level are full, and then groups with groups, which puts those that share a group of a coarser level
side by side. Assignments and exchanges then increase the energy within groups, sum of W_ij^2 over pairs of one group,
until no exchange does.

Source: pairwise aggregation is that of algebraic multigrid (Notay 2010); the balanced assignment is ours. No random
numbers: the same strengths give the same order.
"""

import torch
from torch import Tensor

from torchmg.conversion.aggregation import aggregate, group_sums, nested_order
from torchmg.errors import ShapeError, UsageError
from torchmg.hierarchy import check_groups

_PASSES = 100
"""Most rounds of exchanges, and of the alternation between both sides."""
_LEAST = 1e-6
"""Relative gains below this are rounding."""


def energy_within(strength: Tensor, groups: int) -> float:
    """Sum of strength^2 over pairs of one group, where neighbours make a group.

    Args:
        strength: (out, in).
        groups: their number, which divides both widths.
    """
    blocks = strength.double().square().unflatten(1, (groups, -1)).unflatten(0, (groups, -1))
    return torch.diagonal(blocks, dim1=0, dim2=2).sum().item()


@torch.no_grad()
def group_orders(strength: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Orders of outputs and of inputs, each its own, that bring strong pairs into the same of equal groups.

    `W[out_order][:, in_order]` has group k of the outputs in rows k out / groups to (k + 1) out / groups, that of the
    inputs alike. The identity if no order is found that has more energy within its groups.

    Args:
        strength: (out, in), not negative: norms of the kernels between channels.
        groups: their number on the finest level, which divides both widths.

    Returns:
        Permutations (out,) and (in,), int64.

    Raises:
        ShapeError: no matrix.
        GroupError: groups that do not divide a width.
        UsageError: entries that are not finite.
    """
    energy = _energy(strength, groups)
    outputs, inputs = energy.shape
    identity = torch.arange(outputs), torch.arange(inputs)
    if groups == 1:
        return identity
    starts = [_neighbours(outputs, groups), aggregate(energy @ energy.T, groups)]
    found = [_alternate(energy, labels, groups) for labels in starts]
    # From the inputs' side the same, turned round.
    turned = _alternate(energy.T, aggregate(energy.T @ energy, groups), groups)
    found.append((turned[1], turned[0]))
    rows, columns = max(found, key=lambda pair: _within(energy, *pair))
    plain = _within(energy, *(_neighbours(n, groups) for n in energy.shape))
    if _within(energy, rows, columns) <= plain * (1 + _LEAST):
        return identity
    between = group_sums(group_sums(energy, columns, groups).T, rows, groups)
    rank = nested_order(between + between.T).argsort()
    return _sorted(rank[rows]), _sorted(rank[columns])


@torch.no_grad()
def group_order(strength: Tensor, groups: int) -> Tensor:
    """One order of the channels of a square coupling, for inputs and outputs alike; see `group_orders`.

    Args:
        strength: (channels, channels), not negative.
        groups: their number on the finest level, which divides the width.

    Returns:
        A permutation (channels,), int64.

    Raises:
        ShapeError: no square matrix.
        GroupError: groups that do not divide the width.
        UsageError: entries that are not finite.
    """
    energy = _energy(strength, groups)
    channels = len(energy)
    if energy.shape[1] != channels:
        raise ShapeError(f"One order for inputs and outputs needs as many of both; got {tuple(strength.shape)}.")
    mutual = energy + energy.T
    mutual.fill_diagonal_(0)  # always within a group
    norms = mutual.norm(dim=1).clamp_min(1e-30).sqrt()
    plain = _neighbours(channels, groups)
    starts = [plain, aggregate(mutual, groups), aggregate(mutual / norms.outer(norms), groups)]
    found = [_exchange_both(mutual, labels, groups) for labels in starts]
    labels = max(found, key=lambda labels: _within(mutual, labels, labels))
    if _within(mutual, labels, labels) <= _within(mutual, plain, plain) * (1 + _LEAST):
        return torch.arange(channels)
    between = group_sums(group_sums(mutual, labels, groups).T, labels, groups)
    return _sorted(nested_order(between).argsort()[labels])


def _energy(strength: Tensor, groups: int) -> Tensor:
    if strength.dim() != 2:
        raise ShapeError(f"Strengths are a matrix (out, in); got {tuple(strength.shape)}.")
    for width in strength.shape:
        check_groups(width, groups, f"an order of {width} channels")
    if not bool(torch.isfinite(strength).all()):
        raise UsageError("Strengths must be finite numbers.")
    # Single precision, which is twice as fast, is enough for a choice.
    energy = strength.detach().double().cpu().square()
    return (energy / energy.max().clamp_min(1e-300)).float()


def _neighbours(channels: int, groups: int) -> Tensor:
    return torch.arange(groups).repeat_interleave(channels // groups)


def _sorted(labels: Tensor) -> Tensor:
    """Channels by group, in their own order within one."""
    return labels.argsort(stable=True)


def _within(energy: Tensor, rows: Tensor, columns: Tensor) -> float:
    return energy[rows[:, None] == columns].sum().item()


def _alternate(energy: Tensor, rows: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Groups of rows and of columns: those of one side are assigned for the other's, in turn, while that helps."""
    columns = _assign(group_sums(energy.T, rows, groups))
    best = _within(energy, rows, columns)
    for _ in range(_PASSES):
        rows = _exchange(group_sums(energy, columns, groups), rows)
        columns = _exchange(group_sums(energy.T, rows, groups), columns)
        reached = _within(energy, rows, columns)
        if reached <= best * (1 + 1e-4):
            break
        best = reached
    return rows, columns


def _assign(values: Tensor) -> Tensor:
    """Equal groups of rows that make the sum of values[row, group] large: by greatest regret, then by exchanges."""
    channels, groups = values.shape
    room = torch.full((groups,), channels // groups)
    labels = torch.full((channels,), -1)
    open_values = values.clone()
    while bool((labels < 0).any()):
        # All that want a group compete for its room at once; those that lose most by another one go first.
        waiting = (labels < 0).nonzero().squeeze(1)
        first = open_values[waiting].topk(min(2, groups), dim=1)
        second = first.values[:, -1].clamp_min(0)
        regret = first.values[:, 0] - second
        ranked = regret.argsort(descending=True, stable=True)
        wanted = first.indices[:, 0][ranked]
        place = (wanted[:, None] == torch.arange(groups)).long().cumsum(0).gather(1, wanted[:, None]).squeeze(1)
        kept = place <= room[wanted]
        labels[waiting[ranked[kept]]] = wanted[kept]
        room -= torch.bincount(wanted[kept], minlength=groups)
        open_values[:, room == 0] = -1
    return _exchange(values, labels)


def _exchange(values: Tensor, labels: Tensor) -> Tensor:
    """Exchange rows of different groups while that increases the sum of values[row, group]."""
    labels = labels.clone()
    for _ in range(_PASSES):
        one, other, _ = _pairs(values, labels)
        if not len(one):
            break
        labels[one], labels[other] = labels[other], labels[one]
    return labels


def _exchange_both(mutual: Tensor, labels: Tensor, groups: int) -> Tensor:
    """The same where rows and columns are the same channels, and exchanges act on each other's gains."""
    labels = labels.clone()
    values = group_sums(mutual, labels, groups)
    best = _kept(values, labels)
    for _ in range(_PASSES):
        one, other, gain = _pairs(values, labels)
        gain = gain - 2 * mutual[one, other]
        ranked = gain.argsort(descending=True, stable=True)[: int((gain > _LEAST * best / len(labels)).sum())]
        one, other = one[ranked], other[ranked]
        tried, moved, reached = labels, values, best
        while len(one):
            tried, moved = labels.clone(), values.clone()
            tried[one], tried[other] = labels[other], labels[one]
            change = mutual[:, other] - mutual[:, one]
            moved.index_add_(1, labels[one], change).index_add_(1, labels[other], -change)
            reached = _kept(moved, tried)
            if reached > best:
                break
            one, other = one[: len(one) // 2], other[: len(other) // 2]  # the best alone always helps
        if not len(one):
            break
        labels, values, best = tried, moved, reached
    return labels


def _kept(values: Tensor, labels: Tensor) -> float:
    return values.gather(1, labels[:, None]).sum().item()


def _pairs(values: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Disjoint pairs of rows whose exchange gains something, and the gains.

    Of each pair of groups the two rows that gain most by the other's place; of pairs that share a row, the best.
    """
    channels, groups = values.shape
    gain = values - values.gather(1, labels[:, None])
    members = labels.argsort(stable=True).view(groups, -1)
    best = gain[members].max(1)  # (from, to)
    rows = members.gather(1, best.indices)
    both = (best.values + best.values.T).triu(1)
    source, target = (both > _LEAST * values.abs().max()).nonzero(as_tuple=True)
    ranked = both[source, target].argsort(descending=True, stable=True)
    source, target = source[ranked], target[ranked]
    one, other = rows[source, target], rows[target, source]
    place = torch.arange(len(one))
    first = torch.full((channels,), len(one))
    first.scatter_reduce_(0, one, place, "amin").scatter_reduce_(0, other, place, "amin")
    kept = (first[one] == place) & (first[other] == place)
    return one[kept], other[kept], both[source, target][kept]
