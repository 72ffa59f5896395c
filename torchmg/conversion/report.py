"""What a conversion did, or would do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from torchmg.conversion.plan import FORMAT
from torchmg.conversion.refusals import Skip
from torchmg.conversion.regress import restore_norms
from torchmg.conversion.schemes import Scheme
from torchmg.conversion.sites import Site
from torchmg.conversion.surgery import Undo
from torchmg.conversion.units import Cost
from torchmg.errors import UsageError
from torchmg.tables import Table


@dataclass(frozen=True)
class Change:
    """One layer or block and what became of it."""

    site: Site
    scheme: Scheme | None
    """With its sizes; None: the budget left it as it was."""
    before: Cost
    after: Cost
    fit_error: float | None = None
    """||W - W'|| / ||W|| of the warm start's weights, before any training; of a block, over its layers."""
    output_error: float | None = None
    """The same of outputs on the given data, where data were given."""
    loss: float | None = None
    """What the budget took its loss for."""


@dataclass(frozen=True)
class Report:
    """What was replaced, by what, what was skipped and why, and how well the new weights fit. Prints as a table."""

    model: str
    changes: tuple[Change, ...]
    skipped: tuple[Skip, ...]
    before: Cost
    """Of the whole network; MACs are 0 without `example_input`."""
    after: Cost
    warm_start: str
    dry_run: bool
    _undo: Undo | None = field(default=None, repr=False, compare=False)
    _norms: Mapping[nn.Module, Mapping[str, Tensor]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def replaced(self) -> tuple[Change, ...]:
        """The changes that are none on paper only."""
        return tuple(change for change in self.changes if change.scheme is not None)

    @property
    def eligible_share(self) -> float:
        """Share of the parameters that could be converted, by type, which are replaced; 1 if there are none."""
        replaced = sum(change.before.params for change in self.replaced)
        eligible = sum(change.before.params for change in self.changes)
        eligible += sum(skip.parameters for skip in self.skipped if skip.eligible)
        return replaced / eligible if eligible else 1.0

    @property
    def estimated_loss(self) -> float:
        """Sum of the losses that the budget estimated."""
        return sum(change.loss or 0.0 for change in self.changes)

    def plan(self) -> dict[str, Any]:
        """What `apply_plan` needs to build the same network again, as JSON can hold it."""
        changes = [{"paths": list(c.site.paths), **c.scheme.plan()} for c in self.changes if c.scheme is not None]
        return {"format": FORMAT, "model": self.model, "changes": changes}

    def undo(self, model: nn.Module) -> nn.Module:
        """Put the very same original modules back into the converted network, in place, and re-estimated statistics.

        The function then is the old one bit for bit, unless what was not converted was trained since.

        Raises:
            UsageError: a dry run, a second call, a network without the replacements.
        """
        if self._undo is None:
            raise UsageError("This was a dry run: nothing was replaced, so there is nothing to undo.")
        model = self._undo.undo(model)
        restore_norms(self._norms)
        return model

    def table(self) -> Table:
        """One row for each layer, block and skip that is not about layers nobody would convert."""
        errors = any(change.output_error is not None for change in self.changes)
        columns = ["module", "kind", "becomes", "parameters", "after", "MACs", "after ", "fit error"]
        columns += ["output error"] if errors else []
        rows: list[list[Any]] = []
        for change in self.changes:
            row = [
                _names(change.site.paths),
                change.site.kind,
                "stays" if change.scheme is None else str(change.scheme),
            ]
            row += [change.before.params, change.after.params, change.before.macs or None, change.after.macs or None]
            row += [None if change.fit_error is None else round(change.fit_error, 3)]
            row += [None if change.output_error is None else round(change.output_error, 3)] if errors else []
            rows.append(row)
        for skip in self.skipped:
            row = [skip.path or "(root)", skip.kind, f"skipped: {skip.reason}", skip.parameters, skip.parameters]
            rows.append([*row, *[None] * (len(columns) - len(row))])
        verb = "Would convert" if self.dry_run else "Converted"
        title = (
            f"{verb} {len(self.replaced)} of {len(self.changes) + len(self.skipped)} layers and blocks of {self.model}"
        )
        return Table(columns, rows, title, self.summary())

    def summary(self) -> str:
        """The totals in one line."""
        less = self.before.params / max(self.after.params, 1)
        line = f"Parameters {self.before.params:,} -> {self.after.params:,} ({less:.2f} times fewer)"
        if self.before.macs:
            line += f", MACs {self.before.macs:,} -> {self.after.macs:,}"
        return f"{line}; {100 * self.eligible_share:.0f} % of what can be converted. Warm start: {self.warm_start}."

    def __str__(self) -> str:
        return str(self.table())


def _names(paths: Sequence[str]) -> str:
    first = paths[0] or "(root)"
    return first if len(paths) == 1 else f"{first} and {len(paths) - 1} more"
