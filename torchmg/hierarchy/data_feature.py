r"""What MgNet's data-feature relations cost, between resolutions and in channels. No torch.

With widths c_l, group size s (c_K on the coarsest) and k x k kernels, a level in channels costs

    2 k^2 s c_l  (A, B)  +  4 (eta_pre + eta_post) c_l  (norms of steps)  +  3 c_l  (R, Pi, P)  +  2 c_l  (norm of P)

parameters, the coarsest 2 k^2 c_K^2 + 4 (eta_pre + eta_post) c_K: linear in the width for fixed s and c_K.

Source: van Betteray, Rottmann, Kahl, "MGiaD: Multigrid in all dimensions"; its published counts fix the terms.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import gcd

from torchmg.hierarchy.cost import Cost, Level, LevelCost
from torchmg.hierarchy.cycle import Cycle
from torchmg.hierarchy.levels import Hierarchy
from torchmg.hierarchy.rules import Dims, NormUses, Share, SmootherKind, TransferNorm


def relation_cost(
    level: Level,
    steps: int,
    transfers: int = 0,
    *,
    share: Share = "level",
    norms: NormUses = "use",
    smoother: SmootherKind = "conv",
    degree: int = 1,
    kernel_size: int = 3,
    dims: Dims = 2,
    map_cost: tuple[int, int] | None = None,
) -> Cost:
    """Cost of the relation A u = f of one level.

    Args:
        level: its width and groups.
        steps: its smoothing steps.
        transfers: how often A is applied besides, to pass to or from another level.
        share: as in `torchmg.nn.mgnet.DataFeature`, and so the next three.
        norms: see above.
        smoother: see above.
        degree: see above.
        kernel_size: of A and B.
        dims: spatial axes.
        map_cost: weights and MACs for each pixel of A or B where they are not grouped convolutions.
    """
    conv = level.channels**2 * kernel_size**dims // level.groups
    conv, macs = map_cost or (conv, conv)
    data_maps, feature_maps = {"level": (1, 1), "A": (1, steps), "none": (steps, steps)}[share]
    if smoother == "conv":
        weights, applied = conv * (data_maps + feature_maps), macs * (2 * steps + transfers)
    else:
        coefficients = {"jacobi": 1, "chebyshev": 2, "learned": degree + 1, "adjoint": 1}[smoother] * feature_maps
        applications = 1 if smoother == "adjoint" else degree
        weights, applied = conv * data_maps, macs * ((1 + applications) * steps + transfers)
        # Coefficients weigh whole maps; as for norms, no MACs are counted for them.
        return Cost(weights, 4 * level.channels * (steps if norms == "use" else 1) + coefficients, applied - weights)
    return Cost(weights, 4 * level.channels * (steps if norms == "use" else 1), applied - weights)


def sic_costs(
    hierarchy: Hierarchy,
    cycle: Cycle,
    *,
    fas: bool = True,
    transfer_norm: TransferNorm = "prolong",
    share: Share = "level",
    norms: NormUses = "use",
    smoother: SmootherKind = "conv",
    degree: int = 1,
    dims: Dims = 2,
    map_costs: Sequence[tuple[int, int]] | None = None,
) -> list[LevelCost]:
    """Closed-form cost of every level of `torchmg.nn.sic.SiC`, finest first; the arguments are that class's.

    `map_costs` are those of A on every level, see `relation_cost`.
    """
    levels = hierarchy.levels
    steps, visits = cycle.relaxations(len(levels)), cycle.visits(len(levels))
    costs = []
    for index, level in enumerate(levels):
        down = visits[index] if index + 1 < len(levels) else 0
        came = visits[index - 1] if index else 0
        if not fas and (share == "none" or steps[index] == 1):
            came = 0
        relax = relation_cost(
            level,
            steps[index],
            down + (came if fas else -came),  # features that start from zero need no A(0)
            share=share,
            norms=norms,
            smoother=smoother,
            degree=degree,
            dims=dims,
            map_cost=map_costs[index] if map_costs else None,
        )
        costs.append(LevelCost(relax))
    maps = 2 if fas else 1
    for index, (fine, coarse) in enumerate(pairwise(levels)):
        weights = fine.channels * coarse.channels // hierarchy.groups_of_transfer(index)
        restrict = Cost(maps * weights, maps * 2 * coarse.channels if transfer_norm == "both" else 0)
        prolong = Cost(weights, 2 * fine.channels if transfer_norm != "none" else 0)
        times = visits[index]
        costs[index] = LevelCost(costs[index].relax, restrict.used(times), prolong.used(times))
    return costs


def grid_transfer_weights(in_channels: int, out_channels: int, depthwise: bool = True, kernel_size: int = 3) -> int:
    """Weights of one transfer between resolutions, R or Pi: k^2 in out / gcd(in, out), dense without the gcd."""
    groups = gcd(in_channels, out_channels) if depthwise else 1
    return kernel_size**2 * in_channels * out_channels // groups
