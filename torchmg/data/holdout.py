"""Training samples that stand in for the test samples: for choosing settings without a look at the test set."""

import torch
from torch import Tensor

from torchmg.data.images import ImageSet, ImageSplit
from torchmg.data.order import epoch_order
from torchmg.errors import UsageError


class HoldoutSet(ImageSet):
    """A data set without its test samples: some training samples are held out in their place.

    Made by `hold_out`; mean and deviation are those of the samples that are left.
    """

    def hashes(self) -> dict[str, str]:
        """As of any set, but what stands in for the test samples is called `holdout_`."""
        return {key.replace("test_", "holdout_"): value for key, value in super().hashes().items()}


def hold_out(name: str, classes: tuple[str, ...], samples: ImageSplit, count: int) -> HoldoutSet:
    """Cut a training split in two: what is trained on, and `count` samples that are held out.

    Of each class the same share is held out, to the nearest whole number. Which samples depends on labels and `count`
    alone, so that they are the same for every seed and model.

    Args:
        name: of the whole set.
        classes: names, by label.
        samples: all training samples.
        count: how many are held out.

    Raises:
        UsageError: none, or so many that fewer than two are left.
    """
    size = len(samples)
    if not 1 <= count <= size - 2:
        raise UsageError(
            f"{name} has {size:,} training samples, of which 1 to {size - 2:,} can be held out; got holdout={count:,}."
        )
    held = torch.zeros(size, dtype=torch.bool)
    held[held_out_places(samples.labels, count)] = True
    train, test = (ImageSplit(samples.images[part], samples.labels[part]) for part in (~held, held))
    return HoldoutSet(name, classes, train, test)


def held_out_places(labels: Tensor, count: int) -> Tensor:
    """Which samples are held out: int64 (count,), ascending.

    Args:
        labels: int64 (N,), from 0.
        count: at most N. Whole shares of the classes are rounded down, and what is missing goes to the classes with
            the largest rests.
    """
    sizes = labels.bincount()
    quotas, rests = count * sizes // len(labels), count * sizes % len(labels)
    quotas[rests.argsort(descending=True, stable=True)[: count - int(quotas.sum())]] += 1
    order = epoch_order(0, 0, len(labels))
    drawn = labels[order]
    chosen = [order[drawn == label][:quota] for label, quota in enumerate(quotas.tolist())]
    return torch.cat(chosen).sort().values
