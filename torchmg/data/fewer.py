"""A data set of which only some samples are trained on, for runs that have to be short."""

import hashlib
from typing import Any

from torch import Tensor

from torchmg.data.order import epoch_order
from torchmg.data.samples import DataSet, Split
from torchmg.errors import UsageError


class FewerSamples:
    """Some samples of a split, in its order.

    Args:
        split: all of them.
        chosen: int64 (n,), their places.
    """

    def __init__(self, split: Split, chosen: Tensor) -> None:
        self.split, self.chosen = split, chosen
        whole = [getattr(split, name, None) for name in ("inputs", "targets")]
        if all(isinstance(values, Tensor) for values in whole):
            self.inputs, self.targets = (values[chosen] for values in whole if values is not None)

    def __len__(self) -> int:
        return len(self.chosen)

    def take(self, chosen: Tensor, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(inputs, targets) of some of these samples, as the whole split's `take` gives them."""
        return self.split.take(self.chosen[chosen], rows)


class FewerToTrain:
    """A data set with all of its test samples and some of its training samples.

    Which ones depends on their number alone: a larger part contains a smaller one, and all runs see the same.

    Args:
        data: the whole.
        count: training samples to keep.

    Raises:
        UsageError: fewer than two, or more than there are.
    """

    def __init__(self, data: DataSet, count: int) -> None:
        size = len(data.train)
        if not 2 <= count <= size:
            raise UsageError(f"{data.name} has {size:,} training samples; {count:,} of them cannot be taken.")
        chosen = epoch_order(0, 0, size)[:count].sort().values
        self.data, self.train, self.test = data, FewerSamples(data.train, chosen), data.test
        self.task = data.task
        self._part = hashlib.sha256(chosen.numpy().astype("<i8").tobytes()).hexdigest()

    def __getattr__(self, name: str) -> Any:
        """The whole set's: name, classes, shape, preparation, mean and std of all training samples, and so on."""
        # A copy or an unpickled set is asked for its methods before it has any data.
        if name.startswith("_") or name == "data":
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.data, name)

    def hashes(self) -> dict[str, str]:
        """The whole set's, and `train_part`: sha256 (hex) of the places that are trained on."""
        return {**self.data.hashes(), "train_part": self._part}
