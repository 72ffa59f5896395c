"""Shipped weights evaluated again: whether they still predict what they predicted when they were shipped."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from torchmg.data.samples import DataSet
from torchmg.models.shipped import Shipped
from torchmg.train.evaluate import evaluate
from torchmg.train.scores import score_of
from torchmg.train.tasks import Metrics

FLIPS, OF = 2, 10_000
"""Predictions of so many that rounding on another processor may change: those whose two best classes all but tie."""


def allowed(samples: int) -> int:
    """How many of `samples` predictions may differ, rounded up."""
    return -(-samples * FLIPS // OF)


@dataclass(frozen=True)
class Reproduction:
    """What shipped weights reach on the test samples, beside what was recorded."""

    samples: int
    recorded: float
    """The score of the run's record, in percent."""
    loss: float
    """The record's."""
    reached: Metrics
    different: int
    """Predictions that are not those which the weights shipped with."""
    other_data: tuple[str, ...]
    """Parts of the data whose sha256 is not the record's."""

    @property
    def good(self) -> bool:
        """Whether no more predictions differ than rounding explains."""
        return self.different <= allowed(self.samples)


def reproduce(model: nn.Module, weights: Shipped, data: DataSet, **how: Any) -> Reproduction:
    """Evaluate a network with shipped weights on the test samples of its data.

    Args:
        model: what `create` made of the weights, or that network optimised.
        weights: what is known of them.
        data: that of their record, as `torchmg.train.model.data_for` gives it.
        **how: to `evaluate`.
    """
    with predictions_of(model) as batches:
        reached = evaluate(model, data, "test", **how)
    found, recorded = torch.cat(batches), torch.tensor(list(weights.predictions))
    record, hashes = weights.record, data.hashes()
    same = int((found == recorded).sum()) if len(found) == len(recorded) else 0
    return Reproduction(
        samples=len(found),
        recorded=score_of(record["recipe"]["data"]).of(record, "test"),
        loss=record["test_loss"],
        reached=reached,
        different=max(len(found), len(recorded)) - same,
        other_data=tuple(part for part, value in record["data"].items() if hashes.get(part) != value),
    )


@contextmanager
def predictions_of(model: nn.Module) -> Iterator[list[Tensor]]:
    """While active, the list collects the class of each sample of every batch that a classifier sees, on the CPU."""
    found: list[Tensor] = []
    handle = model.register_forward_hook(lambda _module, _inputs, scores: found.append(scores.argmax(1).cpu()))
    try:
        yield found
    finally:
        handle.remove()
