"""Maps of channels that are not carried out yet: y = rows x + bias at every pixel.

Slices, shuffles, repetitions, batch normalisation, negation and sums of one tensor's channels all are such maps. They
are multiplied out here and become one grouped 1x1 convolution, a part of the convolution before them, or nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class ChannelMap:
    """`rows` (*axes, channels of the source) and `bias` (*axes) applied to the value `source` at every pixel.

    Attributes:
        source: a value, or None for what is the same for all inputs (then `rows` has no columns).
        rows: None is the identity.
        bias: None is zero.
        axes: how the channels are arranged, usually in one axis.
        space: (height, width), (height * width,) once flattened, or () of vectors.
        step: of every how many pixels there is one.
    """

    source: int | None
    axes: tuple[int, ...]
    space: tuple[int, ...]
    rows: Tensor | None = None
    bias: Tensor | None = None
    step: tuple[int, int] = (1, 1)

    @property
    def is_identity(self) -> bool:
        """Whether it is the source itself, up to the shape."""
        return self.rows is None and self.bias is None and self.step == (1, 1)

    @property
    def is_flat(self) -> bool:
        """Whether it makes channels in one axis of pictures or vectors."""
        return len(self.axes) == 1 and len(self.space) in (0, 2)

    def dense_rows(self) -> Tensor:
        """The rows, written out."""
        if self.rows is not None:
            return self.rows
        channels = 1
        for size in self.axes:
            channels *= size
        return torch.eye(channels, dtype=torch.float64).view(*self.axes, channels)

    def dense_bias(self) -> Tensor:
        """The bias, written out."""
        return torch.zeros(self.axes, dtype=torch.float64) if self.bias is None else self.bias

    def rearranged(self, rows: Tensor, bias: Tensor | None) -> "ChannelMap":
        """Other rows, and the axes they have."""
        return replace(self, rows=rows, bias=bias, axes=tuple(rows.shape[:-1]))

    def scaled(self, factor: Tensor) -> "ChannelMap":
        """Every channel times its factor; `factor` broadcasts over `axes`."""
        factor = factor.double().expand(torch.broadcast_shapes(factor.shape, self.axes))
        return self.rearranged(self.dense_rows() * factor[..., None], None if self.bias is None else self.bias * factor)

    def shifted(self, shift: Tensor) -> "ChannelMap":
        """Every channel plus its shift; `shift` broadcasts over `axes`."""
        return replace(self, bias=(self.dense_bias() + shift.double()).expand(self.axes).contiguous())

    def plus(self, other: "ChannelMap", factor: float = 1.0) -> "ChannelMap | None":
        """Self + factor * other, if both come from one source and have one shape."""
        if other.source is None and other.axes == self.axes:
            return self.shifted(factor * other.dense_bias()) if other.bias is not None else self
        if self.source is None and other.axes == self.axes:
            turned = other if factor == 1.0 else other.scaled(torch.tensor(factor))
            return turned.plus(self)
        if (self.source, self.axes, self.space, self.step) != (other.source, other.axes, other.space, other.step):
            return None
        bias = None
        if self.bias is not None or other.bias is not None:
            bias = self.dense_bias() + factor * other.dense_bias()
        return self.rearranged(self.dense_rows() + factor * other.dense_rows(), bias)

    def through(self, weight: Tensor, groups: int) -> "ChannelMap":
        """The grouped 1x1 map of (out, in / groups) after this one, which has one axis."""
        blocks = weight.unflatten(0, (groups, -1))
        rows = (blocks @ self.dense_rows().unflatten(0, (groups, -1))).flatten(0, 1)
        bias = None if self.bias is None else (blocks @ self.bias.view(groups, -1, 1)).flatten()
        return replace(self, rows=rows, bias=bias, axes=(weight.shape[0],))

    def on_axes(self, apply: Callable[[Tensor], Tensor]) -> "ChannelMap":
        """`apply` to rows and bias alike; it leaves the last axis, that of the source's channels, alone."""
        bias = None if self.bias is None else apply(self.bias[..., None])[..., 0]
        return self.rearranged(apply(self.dense_rows()), bias)


def diagonal(rows: Tensor) -> Tensor | None:
    """The diagonal of a square matrix that has nothing beside it, else None."""
    if rows.shape[0] != rows.shape[1]:
        return None
    values = rows.diagonal()
    return values if int(rows.count_nonzero()) == int(values.count_nonzero()) else None


def selection(rows: Tensor) -> int | None:
    """The first channel, if the rows pick neighbouring channels in order, else None."""
    first = rows[0].nonzero().flatten()
    if first.numel() != 1:
        return None
    start = int(first)
    if start + rows.shape[0] > rows.shape[1]:
        return None
    wanted = torch.zeros_like(rows)
    wanted[torch.arange(rows.shape[0]), start + torch.arange(rows.shape[0])] = 1
    return start if torch.equal(rows, wanted) else None


def blocks(rows: Tensor) -> int:
    """Into how many equal diagonal blocks a matrix can be cut without losing an entry."""
    out, into = rows.shape
    where = rows.nonzero()
    for groups in range(min(out, into), 1, -1):
        if out % groups or into % groups:
            continue
        if bool((where[:, 0] // (out // groups) == where[:, 1] // (into // groups)).all()):
            return groups
    return 1


def block_weight(rows: Tensor, groups: int) -> Tensor:
    """(out, in / groups, 1, 1): the blocks of a block-diagonal matrix as the weight of a grouped 1x1 convolution."""
    out, into = rows.shape
    cut = rows.view(groups, out // groups, groups, into // groups)
    return cut.diagonal(dim1=0, dim2=2).permute(2, 0, 1).reshape(out, into // groups, 1, 1).contiguous()
