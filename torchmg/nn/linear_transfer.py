"""Full weighting and linear interpolation along a chain of channels, with free weights.

As in one-dimensional geometric multigrid, but learned: coarse channel j is joined with the fine channels 2j - 1, 2j and
2j + 1, by one matrix T or its transpose. Its weights lie in one vector: n of the taps at 2j, n at 2j + 1, and n - 1 at
2j - 1, which the first coarse channel does not have. Definitions ours, lowcost spec 4.3 (p_T = 3).
"""

import torch
from torch import Tensor


def linear_size(coarse: int) -> int:
    """Weights between `coarse` channels and twice as many."""
    return 3 * coarse - 1


def draw_rows(coarse: int, random: bool, down: bool) -> Tensor:
    """First values whose rows, the weights into one channel, are positive and sum to 1; float64.

    Args:
        coarse: channels of the coarser level.
        random: multiply each weight by a number from [0.5, 1.5) before the sums are taken.
        down: full weighting, [1, 2, 1] / 4 (at the first channel [2, 1] / 3), else interpolation, 1 and [1, 1] / 2.
    """
    taps = torch.ones(linear_size(coarse), dtype=torch.float64)
    if down:
        taps[:coarse] = 2
    if random:
        taps *= torch.empty_like(taps).uniform_(0.5, 1.5)
    ones = torch.ones(1, coarse if not down else 2 * coarse, 1, dtype=torch.float64)
    sums = weigh_down(ones, taps)[0, :, 0] if down else spread_up(ones, taps)[0, :, 0]
    if down:
        return taps / torch.cat([sums, sums, sums[1:]])
    even, odd = sums[::2], sums[1::2]
    return taps / torch.cat([even, odd, odd[:-1]])


def _taps(x: Tensor, rows: Tensor) -> list[Tensor]:
    """The taps at 2j, 2j + 1 and 2j - 1, with as many axes behind as `x` has."""
    coarse = (len(rows) + 1) // 3
    return list(rows[(...,) + (None,) * (x.dim() - 2)].split([coarse, coarse, coarse - 1]))


def weigh_down(x: Tensor, rows: Tensor) -> Tensor:
    """T: (batch, 2 n, ...) -> (batch, n, ...)."""
    middle, right, left = _taps(x, rows)
    even, odd = x[:, ::2], x[:, 1::2]
    y = middle * even + right * odd
    return torch.cat([y[:, :1], y[:, 1:] + left * odd[:, :-1]], 1)


def spread_up(y: Tensor, rows: Tensor) -> Tensor:
    """The transpose of T: (batch, n, ...) -> (batch, 2 n, ...)."""
    middle, right, left = _taps(y, rows)
    odd = right * y
    odd = torch.cat([odd[:, :-1] + left * y[:, 1:], odd[:, -1:]], 1)
    return torch.stack([middle * y, odd], 2).flatten(1, 2)
