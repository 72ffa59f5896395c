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
from torch.nn.functional import one_hot

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
    starts = [_neighbours(outputs, groups), _aggregate(energy @ energy.T, groups)]
    found = [_alternate(energy, labels, groups) for labels in starts]
    # From the inputs' side the same, turned round.
    turned = _alternate(energy.T, _aggregate(energy.T @ energy, groups), groups)
    found.append((turned[1], turned[0]))
    rows, columns = max(found, key=lambda pair: _within(energy, *pair))
    plain = _within(energy, *(_neighbours(n, groups) for n in energy.shape))
    if _within(energy, rows, columns) <= plain * (1 + _LEAST):
        return identity
    between = _sums(_sums(energy, columns, groups).T, rows, groups)
    rank = _nested(between + between.T).argsort()
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
    starts = [plain, _aggregate(mutual, groups), _aggregate(mutual / norms.outer(norms), groups)]
    found = [_exchange_both(mutual, labels, groups) for labels in starts]
    labels = max(found, key=lambda labels: _within(mutual, labels, labels))
    if _within(mutual, labels, labels) <= _within(mutual, plain, plain) * (1 + _LEAST):
        return torch.arange(channels)
    between = _sums(_sums(mutual, labels, groups).T, labels, groups)
    return _sorted(_nested(between).argsort()[labels])


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


def _sums(energy: Tensor, columns: Tensor, groups: int) -> Tensor:
    """The energy between each row and each group of columns, (rows, groups)."""
    return energy @ one_hot(columns, groups).to(energy)


def _alternate(energy: Tensor, rows: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Groups of rows and of columns: those of one side are assigned for the other's, in turn, while that helps."""
    columns = _assign(_sums(energy.T, rows, groups))
    best = _within(energy, rows, columns)
    for _ in range(_PASSES):
        rows = _exchange(_sums(energy, columns, groups), rows)
        columns = _exchange(_sums(energy.T, rows, groups), columns)
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
    values = _sums(mutual, labels, groups)
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


def _aggregate(alike: Tensor, groups: int) -> Tensor:
    """Equal groups: pairs of the most alike, pairs of pairs while sizes halve; the rest grows around seeds."""
    size = len(alike) // groups
    labels = torch.arange(len(alike))
    norms = alike.diagonal().clamp_min(1e-30).sqrt()
    alike = alike / norms.outer(norms) if bool((alike.diagonal() > 0).any()) else alike.clone()
    while size % 2 == 0:
        merged = _matching(alike)
        labels, alike = merged[labels], _merge(alike, merged)
        size //= 2
    if size > 1:
        merged = _grow(alike, size)
        labels = merged[labels]
    return labels


def _merge(alike: Tensor, labels: Tensor) -> Tensor:
    count = int(labels.max()) + 1
    return _sums(_sums(alike, labels, count).T, labels, count)


def _matching(alike: Tensor) -> Tensor:
    """Labels of pairs: those that are each other's best first; what is left after many rounds by its number."""
    labels, pairs = torch.full((len(alike),), -1), 0
    alike = alike.clone()
    alike.fill_diagonal_(-torch.inf)
    for _ in range(_PASSES):
        free = (labels < 0).nonzero().squeeze(1)
        if not len(free):
            return labels
        best = alike[free][:, free].argmax(1)
        one = (best[best] == torch.arange(len(free))) & (best > torch.arange(len(free)))
        one = one.nonzero().squeeze(1)
        if not len(one):
            break
        labels[free[one]] = labels[free[best[one]]] = torch.arange(pairs, pairs + len(one))
        pairs += len(one)
    free = (labels < 0).nonzero().squeeze(1)
    labels[free] = pairs + torch.arange(len(free)) // 2
    return labels


def _grow(alike: Tensor, size: int) -> Tensor:
    """Labels of groups of `size`: the strongest that is free and those most alike to it."""
    labels = torch.full((len(alike),), -1)
    strongest = alike.sum(1).argsort(descending=True, stable=True).tolist()
    count = 0
    for seed in strongest:
        if labels[seed] >= 0:
            continue
        closeness = alike[seed].masked_fill(labels >= 0, -torch.inf)
        closeness[seed] = torch.inf
        labels[closeness.topk(size).indices] = count
        count += 1
    return labels


def _nested(between: Tensor) -> Tensor:
    """An order of groups in which those that are strongly coupled are neighbours, pairs of pairs where that divides."""
    members = [[group] for group in range(len(between))]
    while len(members) > 1 and len(members) % 2 == 0:
        merged = _matching(between)
        pairs: list[list[int]] = [[] for _ in range(len(members) // 2)]
        for old, new in enumerate(merged.tolist()):
            pairs[new] += members[old]
        members, between = pairs, _merge(between, merged)
    return torch.tensor([group for part in members for group in part])
