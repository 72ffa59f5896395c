"""What one row of a paper's table says, and how our count is judged against it. No torch.

A verdict is computed from the printed number and from our count; only its reason is written down.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Literal

from torchmg.hierarchy import Hierarchy
from torchmg.models.options import ModelOptions

NOT_BUILT = "not built yet"
"""Verdict of a row whose model torchmg does not have."""

Term = Literal[
    "first-level transfers, never called", "unused norm pair per level", "left out by the rule of the released code"
]
"""How a published count differs from that of the tensors which a forward pass uses.

The first two are tensors in it that no forward pass touches and that our models do not have. With the widths c_1, c_2,
... of the resolutions, finest first: a pair of depthwise 3x3 transfers into the first resolution, 18 c_1 weights; one
pair of batch norms on every resolution, 4 (c_1 + c_2 + ...) weights. The third, below 0, is what IMEXnet's script does
not count: norms, the classifier, and the stencil of the last step of diffusion."""

FACTORS = MappingProxyType({"k": 10**3, "M": 10**6, "G": 10**9})


@dataclass(frozen=True)
class Printed:
    """A number as a paper prints it, such as `11,174k` or `0.53M`."""

    text: str
    unit: int
    """What the last significant digit counts: 1,000 in `458k`, 10,000 in `0.53M`."""

    @property
    def value(self) -> int:
        """The number itself."""
        digits = self.text.replace(",", "").rstrip("".join(FACTORS))
        return int(Decimal(digits) * FACTORS.get(self.text[-1], 1))

    def agrees(self, count: int) -> str:
        """`exact` when `count` rounds to this number, `exact if truncated` when its last digits are cut off; or ``."""
        if 2 * abs(count - self.value) <= self.unit:
            return "exact"
        return "exact if truncated" if 0 <= count - self.value < self.unit else ""

    def deviation(self, count: int) -> str:
        """How far `count` lies above (+) or below (-) this number, in percent of this number."""
        return f"{100 * (count / self.value - 1):+.1f} %"


def printed(text: str) -> Printed:
    """A number that ends in M or G, such as `0.53M`, `91M` and `1.6G`, known to its last printed digit."""
    decimals = len(text.rstrip("MG").partition(".")[2])
    return Printed(text, FACTORS[text[-1]] // 10**decimals)


@dataclass(frozen=True)
class Accuracy:
    """Accuracies as printed, in percent; decimal numbers, so that no digit appears that is not in the paper."""

    test: Decimal
    train: Decimal | None = None
    spread: Decimal | None = None
    """Standard deviation of the test accuracy over the paper's runs; that of the training accuracy is at most 0.01
    wherever the MGiaD paper leaves it out, which is everywhere."""

    @property
    def gap(self) -> Decimal | None:
        """Train minus test: what MGiaD claims to keep small."""
        return None if self.train is None else self.train - self.test


@dataclass(frozen=True)
class Network:
    """A model of ours on a data set: what a row is counted with, and which runs belong to it."""

    model: str
    data: str
    options: ModelOptions = field(default_factory=ModelOptions)

    def command(self) -> str:
        """Model and options as the command line takes them; the data set decides input channels and classes."""
        given = (f"--{name.replace('_', '-')} {value}" for name, value in self.options.given().items())
        return " ".join([self.model, *given])


@dataclass(frozen=True)
class Row:
    """One row: what is printed, and which model of ours it is compared with."""

    label: str
    """The configuration in the paper's words and symbols, misprinted labels included."""
    parameters: Printed
    ours: Network | Hierarchy | None = None
    """What is counted: a network, or of a hierarchy the transfers only; None: not built yet."""
    accuracy: Accuracy | None = None
    macs: Printed | None = None
    terms: tuple[Term, ...] = ()
    """What has to be added to our count (or taken off) before it compares with the printed one."""
    misprint: str = ""
    """Why the printed count cannot be that of the label, where it cannot."""
    departs: str = ""
    """How ours is not what the label says, where only another configuration comes near; it then never counts as a
    match."""
    note: str = ""
    """What else is to be said about the row."""
    repeats: str = ""
    """Name of the table that has this row already, so that it is not counted twice."""

    def verdict(self, count: int | None) -> str:
        """Of the printed parameters: `exact`, `exact if truncated`, `misprint (+x %)`, `not matched (+x %)`.

        Args:
            count: ours in the published convention; None gives `not built yet`.
        """
        return self._judge(self.parameters, count, bool(self.misprint))

    def verdict_of_macs(self, count: int | None) -> str | None:
        """Of the printed MACs, in the same words; None where none are printed."""
        return None if self.macs is None else self._judge(self.macs, count, False)

    def _judge(self, printed: Printed, count: int | None, misprint: bool) -> str:
        if count is None:
            return NOT_BUILT
        if not self.departs and (agreement := printed.agrees(count)):
            return agreement
        return f"{'misprint' if misprint else 'not matched'} ({printed.deviation(count)})"


@dataclass(frozen=True)
class PaperTable:
    """One table of a paper."""

    name: str
    """What a user types: `mgiad-2`, `mgic-12`."""
    source: str
    """Paper and number, as in `MGiaD, Table II`."""
    title: str
    rows: tuple[Row, ...]
    training: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """How the paper trained, as far as it says: fields of `Recipe`."""
    note: str = ""

    @property
    def built(self) -> int:
        """Rows that torchmg has a model for."""
        return sum(row.ours is not None for row in self.rows)
