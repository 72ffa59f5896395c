"""Channels aggregated by how alike they are, as algebraic multigrid aggregates unknowns: pairs, and pairs of pairs.

Source: pairwise aggregation is that of algebraic multigrid (Notay 2010).
"""

import torch
from torch import Tensor
from torch.nn.functional import one_hot

_ROUNDS = 100
"""Most rounds of one matching."""


def group_sums(energy: Tensor, columns: Tensor, groups: int) -> Tensor:
    """The energy between each row and each group of columns, (rows, groups)."""
    return energy @ one_hot(columns, groups).to(energy)


def aggregate(alike: Tensor, groups: int) -> Tensor:
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
    return group_sums(group_sums(alike, labels, count).T, labels, count)


def _matching(alike: Tensor) -> Tensor:
    """Labels of pairs: those that are each other's best first; what is left after many rounds by its number."""
    labels, pairs = torch.full((len(alike),), -1), 0
    alike = alike.clone()
    alike.fill_diagonal_(-torch.inf)
    for _ in range(_ROUNDS):
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


def nested_order(between: Tensor) -> Tensor:
    """An order of groups in which those that are strongly coupled are neighbours, pairs of pairs where that divides."""
    members = [[group] for group in range(len(between))]
    while len(members) > 1 and len(members) % 2 == 0:
        merged = _matching(between)
        pairs: list[list[int]] = [[] for _ in range(len(members) // 2)]
        for old, new in enumerate(merged.tolist()):
            pairs[new] += members[old]
        members, between = pairs, _merge(between, merged)
    return torch.tensor([group for part in members for group in part])
