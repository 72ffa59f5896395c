"""Training pictures that are partly erased, covered by another picture of the batch, or blended with it.

Random erasing (Zhong et al. 2020) paints a box in the mean colour; CutMix (Yun et al. 2019) fills one with what the
partner has there; mixup (Zhang et al. 2018) blends both. A sample's partner is the one before it in the batch, as in
torchvision's transforms: the order is random, so the partner is. Everything else is a function of (seed, epoch, index),
drawn for each sample by itself where the published codes draw once for a batch.
"""

from typing import Self

import torch
from torch import Tensor

from torchmg.data.order import BOXES, draws, shares
from torchmg.data.samples import Preparation

UNIT = 2**24
"""What stands for 1 in the table's whole numbers."""
ERASED = (0.02, 0.4)
"""Smallest and largest share of the picture that is erased (Zhong et al. 2020, section 5.1, for small pictures)."""
ASPECTS = (0.3, 1 / 0.3)
"""Lowest and highest height over width of what is erased."""
COLUMNS = 9
"""Of the table: the erased box, the pasted box (top, bottom, left, right each), the partner's share in UNITs."""


class MixedPreparation:
    """Another preparation, and then erasing and mixing: (float images (B, C, H, W), labels or shares of classes).

    With `cutmix` or `mixup` the targets of a training batch are float32 (B, classes), each class's share of the
    picture; of CutMix by pixels that were pasted. Samples that are not mixed have 1 for their class. In evaluation, and
    with `erase` alone, targets are the labels as they are.

    Args:
        inner: what prepares the pictures before; its own table stands in the first columns.
        shape: (C, H, W) of what it makes.
        classes: how many there are.
        cutmix: chance of CutMix for a sample; the pasted share is uniform (Beta(1, 1), the paper's for all its runs)
            before the box is cut at the picture's border.
        mixup: alpha of the share Beta(alpha, alpha) that the partner has in a sample without CutMix; 0: no mixup.
        erase: chance that a box of the sample is erased, before it is mixed.
    """

    def __init__(
        self,
        inner: Preparation,
        shape: tuple[int, ...],
        classes: int,
        *,
        cutmix: float = 0.0,
        mixup: float = 0.0,
        erase: float = 0.0,
    ) -> None:
        self.inner, self.sides, self.classes = inner, (shape[1], shape[2]), classes
        self.cutmix, self.mixup, self.erase = cutmix, mixup, erase

    def to(self, device: torch.device | str) -> Self:
        """The same with its constants on a device."""
        self.inner = self.inner.to(device)
        return self

    def table(self, seed: int, epoch: int, size: int) -> Tensor:
        """What to do with each sample in an epoch: the inner table's columns, then `COLUMNS` of its own."""
        drawn = draws(seed, epoch, size, UNIT, 9, stream=BOXES).double() / UNIT
        coin, left_out, *centre = drawn[:, :4].unbind(1)
        cut = coin < self.cutmix
        pasted = _pasted(left_out, centre, self.sides).where(cut[:, None], 0)
        coin, *shape = drawn[:, 4:].unbind(1)
        erased = _erased(shape, self.sides).where((coin < self.erase)[:, None], 0)
        blends = torch.zeros(size, 1, dtype=torch.int64)
        if self.mixup:
            partner = (shares(seed, epoch, size, self.mixup) * UNIT).round().long()
            blends = partner.where(~cut, 0)[:, None]
        before = self.inner.table(seed, epoch, size)
        return torch.cat([*(() if before is None else (before,)), erased, pasted, blends], 1)

    def __call__(self, inputs: Tensor, targets: Tensor, rows: Tensor | None) -> tuple[Tensor, Tensor]:
        """Prepare a batch; `rows` int64 (B, columns) on its device, None for evaluation."""
        if rows is None:
            return self.inner(inputs, targets, None)
        before, own = rows[:, :-COLUMNS], rows[:, -COLUMNS:]
        images, labels = self.inner(inputs, targets, before if before.shape[1] else None)
        erased, pasted, blends = own[:, :4], own[:, 4:8], own[:, 8]
        if self.erase:
            images = images.masked_fill(_inside(erased, self.sides), 0)
        if not (self.cutmix or self.mixup):
            return images, labels
        share = blends.to(images.dtype) / UNIT
        partner = images.roll(1, 0)
        images = torch.lerp(images, partner, share[:, None, None, None])
        images = torch.where(_inside(pasted, self.sides), partner, images)
        share = share + _area(pasted).to(images.dtype) / (self.sides[0] * self.sides[1])  # one of the two is zero
        certain = (labels[:, None] == torch.arange(self.classes, device=labels.device)).to(images.dtype)
        return images, torch.lerp(certain, certain.roll(1, 0), share[:, None])


def _pasted(left_out: Tensor, centre: list[Tensor], sides: tuple[int, int]) -> Tensor:
    """Boxes int64 (N, 4) about centres that are uniform over the picture, cut at its border.

    Args:
        left_out: (N,) share of the picture outside of the box before it is cut.
        centre: (N,) each, the centre's row and column as shares of the sides.
        sides: height and width.
    """
    edges = []
    for middle, side in zip(centre, sides, strict=True):
        half = (side * (1 - left_out).sqrt()).long() // 2
        place = (side * middle).long()
        edges += [(place - half).clamp(0, side), (place + half).clamp(0, side)]
    return torch.stack(edges, 1)


def _erased(shape: list[Tensor], sides: tuple[int, int]) -> Tensor:
    """Boxes int64 (N, 4) inside of the picture; a side that would be longer than the picture's is as long.

    The paper draws such a box again, which here would make a sample's numbers depend on others'.

    Args:
        shape: (N,) each, uniform in [0, 1): share of the picture, aspect, row, column.
        sides: height and width.
    """
    share, aspect, *corner = shape
    area = (ERASED[0] + (ERASED[1] - ERASED[0]) * share) * sides[0] * sides[1]
    aspect = ASPECTS[0] + (ASPECTS[1] - ASPECTS[0]) * aspect
    edges = []
    for length, place, side in zip(((area * aspect).sqrt(), (area / aspect).sqrt()), corner, sides, strict=True):
        length = length.round().long().clamp(1, side)
        first = (place * (side - length + 1)).long()
        edges += [first, first + length]
    return torch.stack(edges, 1)


def _inside(boxes: Tensor, sides: tuple[int, int]) -> Tensor:
    """Which pixels lie in boxes (B, 4): bool (B, 1, H, W)."""
    rows, columns = (torch.arange(side, device=boxes.device) for side in sides)
    top, bottom, left, right = (edge[:, None] for edge in boxes.unbind(1))
    tall, wide = (rows >= top) & (rows < bottom), (columns >= left) & (columns < right)
    return tall[:, None, :, None] & wide[:, None, None, :]


def _area(boxes: Tensor) -> Tensor:
    """Pixels in boxes (B, 4): int64 (B,)."""
    top, bottom, left, right = boxes.unbind(1)
    return (bottom - top) * (right - left)
