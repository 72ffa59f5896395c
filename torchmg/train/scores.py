"""What a task is scored by, in records, logs, tables and pictures. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from torchmg.data.names import SETS


@dataclass(frozen=True)
class Score:
    """A number in percent, the higher the better."""

    key: str
    """In logs and records, after `train_` or `test_`."""
    label: str
    """For people."""
    loss: str
    """What the loss is, for people."""

    def of(self, values: Mapping[str, Any], split: str) -> float:
        """The score in a row of a log or in a record, of the split `train`, `test`, `test_flip` or `holdout`."""
        return float(values[f"{split}_{self.key}"])


SCORES: Mapping[str, Score] = MappingProxyType(
    {
        "classify": Score("accuracy", "accuracy", "loss (nats)"),
        "segment": Score("miou", "mIoU", "loss (nats)"),
        "points": Score("accuracy", "accuracy", "loss (nats)"),
        "regress": Score("explained", "explained variance", "mean squared error"),
    }
)
"""Task -> what it is scored by: top-1 accuracy; intersection over union, mean over classes; share of the variance."""


def score_of(data: str) -> Score:
    """The score of a data set's task."""
    return SCORES[SETS[data].task]
