"""What training and evaluation measure, by task: the loss, and sums that scores are read from."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from torchmg.data.samples import IGNORE, DataSet
from torchmg.train.distill import soft_target_loss


class Metrics(NamedTuple):
    """What a model reached on a split: the mean loss and the scores of its task, in percent."""

    loss: float
    scores: Mapping[str, float]
    """By key, as in `torchmg.train.scores`; the first is the one that models are compared by."""
    classes: Mapping[str, float] = {}
    """Of segmentation, the intersection over union of every class that occurs, in percent."""

    @property
    def score(self) -> float:
        """The first score."""
        return next(iter(self.scores.values()))

    @property
    def accuracy(self) -> float:
        """Top-1 accuracy of samples or pixels, in percent."""
        return self.scores["accuracy"]

    def values(self, split: str) -> dict[str, float]:
        """As in logs and records: `test_loss`, `test_accuracy` and so on."""
        return {f"{split}_loss": self.loss, **{f"{split}_{key}": value for key, value in self.scores.items()}}


class Task(Protocol):
    """One kind of work. Sums are float64 vectors: the loss, how many units it is summed over, then the task's own."""

    sums: int
    """Length of the vector."""
    batch: int
    """Samples at once in evaluation."""

    def loss(self, outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        """The mean loss over the units of a batch."""
        ...

    def measure(self, sums: Tensor, outputs: Tensor, targets: Tensor, loss: Tensor | None = None) -> None:
        """Add a batch to the sums, in place and without waiting for the device; `loss` is its mean where known."""
        ...

    def imitation(self, outputs: Tensor, taught: Tensor, temperature: float) -> Tensor:
        """How far outputs are from a teacher's, the mean over the units of a batch; all units, labelled or not."""
        ...

    def metrics(self, sums: Sequence[float]) -> Metrics:
        """Loss and scores from sums."""
        ...


class Classification:
    """One class for each sample: cross entropy, top-1 accuracy. The third sum is how many are right.

    Targets are labels, int64 (B,), or each class's share, float (B, classes), of mixed samples; of those the class with
    the largest share is the right one.
    """

    sums, batch = 3, 500

    def __init__(self, batch: int = 500) -> None:
        self.batch = batch

    def loss(self, outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        """Mean cross entropy in nats."""
        return F.cross_entropy(outputs, targets, label_smoothing=smoothing)

    def measure(self, sums: Tensor, outputs: Tensor, targets: Tensor, loss: Tensor | None = None) -> None:
        """Add a batch."""
        if loss is None:
            sums[0] += F.cross_entropy(outputs, targets, reduction="sum")
        else:
            sums[0] += loss.double() * len(targets)
        sums[1] += len(targets)
        right = targets if targets.dim() == 1 else targets.argmax(1)
        sums[2] += (outputs.argmax(1) == right).sum()

    def imitation(self, outputs: Tensor, taught: Tensor, temperature: float) -> Tensor:
        """As `soft_target_loss`."""
        return soft_target_loss(outputs, taught, temperature)

    def metrics(self, sums: Sequence[float]) -> Metrics:
        """Loss and accuracy."""
        loss, seen, correct = sums
        return Metrics(loss / seen, {"accuracy": 100 * correct / seen})


class Segmentation:
    """One class for each pixel: cross entropy over labelled pixels, mean intersection over union, pixel accuracy.

    The sums from the third on are the confusion matrix, target times prediction. A class that is neither in the
    targets nor in the predictions has no intersection over union and is left out of the mean.

    Args:
        classes: names of the classes.
        batch: images at once in evaluation.
    """

    def __init__(self, classes: Sequence[str], batch: int = 8) -> None:
        self.classes, self.batch = tuple(classes), batch
        self.sums = 2 + len(classes) ** 2

    def loss(self, outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        """Mean cross entropy in nats over labelled pixels; zero where there is none."""
        total = F.cross_entropy(outputs, targets, ignore_index=IGNORE, reduction="sum", label_smoothing=smoothing)
        return total / (targets != IGNORE).sum().clamp(min=1)

    def measure(self, sums: Tensor, outputs: Tensor, targets: Tensor, loss: Tensor | None = None) -> None:
        """Add a batch."""
        known = targets != IGNORE
        labelled = known.sum()
        sums[0] += (self.loss(outputs, targets) if loss is None else loss).double() * labelled
        sums[1] += labelled
        count = len(self.classes)
        places = torch.where(known, targets * count + outputs.argmax(1), 0).flatten()
        sums[2:].index_add_(0, places, known.flatten().to(sums.dtype))

    def imitation(self, outputs: Tensor, taught: Tensor, temperature: float) -> Tensor:
        """As `soft_target_loss`, over all pixels: a teacher knows those without a label too."""
        return soft_target_loss(outputs, taught, temperature)

    def metrics(self, sums: Sequence[float]) -> Metrics:
        """Loss, mean intersection over union and pixel accuracy."""
        confusion = torch.tensor(sums[2:], dtype=torch.float64).view(len(self.classes), -1)
        right = confusion.diagonal()
        union = confusion.sum(0) + confusion.sum(1) - right
        each = {
            name: 100 * float(hit / whole) for name, hit, whole in zip(self.classes, right, union, strict=True) if whole
        }
        pixels = max(sums[1], 1.0)
        scores = {"miou": sum(each.values()) / max(len(each), 1), "accuracy": 100 * float(right.sum()) / pixels}
        return Metrics(sums[0] / pixels, scores, each)


class Regression:
    """Numbers for each sample: mean squared error, and the share of the targets' variance that it leaves explained.

    The sums from the third on are those of the targets and of their squares.
    """

    sums = 4

    def __init__(self, batch: int = 500) -> None:
        self.batch = batch

    def loss(self, outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        """Mean squared error over all numbers."""
        return F.mse_loss(outputs, targets)

    def measure(self, sums: Tensor, outputs: Tensor, targets: Tensor, loss: Tensor | None = None) -> None:
        """Add a batch."""
        count = targets.numel()
        sums[0] += (F.mse_loss(outputs, targets) if loss is None else loss).double() * count
        sums[1] += count
        sums[2] += targets.double().sum()
        sums[3] += targets.double().square().sum()

    def imitation(self, outputs: Tensor, taught: Tensor, temperature: float) -> Tensor:
        """Mean squared error to the teacher's numbers, which have no temperature."""
        return F.mse_loss(outputs, taught)

    def metrics(self, sums: Sequence[float]) -> Metrics:
        """Mean squared error and explained variance."""
        error, count, total, squares = sums
        variance = squares / count - (total / count) ** 2
        return Metrics(error / count, {"explained": 100 * (1 - error / count / variance) if variance > 0 else 0.0})


def task_of(data: DataSet) -> Task:
    """The task of a data set, with as many samples at once in evaluation as fit a few hundred megabytes."""
    numbers = 1
    for size in data.shape:
        numbers *= size
    if data.task == "segment":
        return Segmentation(data.classes, max(1, 2**20 // numbers))
    if data.task == "regress":
        return Regression(max(1, min(500, 2**22 // numbers)))
    if data.task == "points":
        return Classification(50)
    return Classification(min(500, max(16, 2**24 // (4 * numbers))))
