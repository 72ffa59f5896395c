"""What every data set gives to training: splits of samples, and their preparation for a network."""

from typing import Any, ClassVar, Protocol, Self

from torch import Tensor

IGNORE = 255
"""In a mask: a pixel without a class, which counts for nothing."""


class Split(Protocol):
    """Samples and their targets.

    A split that is held in memory also has them as tensors `inputs` (N, ...) and `targets` (N, ...), which may then
    live on a device.
    """

    def __len__(self) -> int:
        """How many samples there are."""
        ...

    def take(self, chosen: Tensor, rows: Tensor | None) -> tuple[Tensor, Tensor]:
        """(inputs, targets) of some samples, as stored.

        Args:
            chosen: int64 (B,), places in the split, on the CPU.
            rows: `Preparation.table`'s rows of these samples, on the CPU, for splits that cut pictures while they
                decode them; None in evaluation.
        """
        ...


class Preparation(Protocol):
    """Turns stored samples into a network's inputs and targets, augmented where its table says how."""

    def table(self, seed: int, epoch: int, size: int) -> Tensor | None:
        """What to do with each of `size` samples in an epoch: int64 (size, columns) on the CPU; None for nothing.

        A pure function of its arguments, row i that of sample i.
        """
        ...

    def __call__(self, inputs: Tensor, targets: Tensor, rows: Tensor | None) -> tuple[Tensor, Tensor]:
        """(float inputs, targets), normalised, and augmented unless `rows` is None.

        A pure function of its arguments, of tensor operations of fixed shapes on the device of the tensors.
        """
        ...

    def to(self, device: Any) -> Self:
        """The same with its constants on a device."""
        ...


class DataSet(Protocol):
    """A named data set of one task."""

    task: ClassVar[str]
    """What is to be computed: a `torchmg.models.catalog.Task`."""

    @property
    def name(self) -> str:
        """As in `torchmg.data.DATASETS`, or the user's own."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """The name of each class, or of each number of a target."""
        ...

    @property
    def num_classes(self) -> int:
        """How many channels a network's output has."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """(channels, ...) of one of a network's inputs."""
        ...

    @property
    def train(self) -> Split:
        """What is trained on."""
        ...

    @property
    def test(self) -> Split:
        """What is held out."""
        ...

    def hashes(self) -> dict[str, str]:
        """Sha256 of what a record says it was trained on."""
        ...

    def preparation(self, augment: str = "none") -> Preparation:
        """How samples are prepared, with an augmentation of `torchmg.data.AUGMENTATIONS`.

        Raises:
            UnknownNameError: No such augmentation.
            UsageError: One that is not for such samples.
        """
        ...
