"""What torchmg raises when something outside its control is wrong, and the nearest-name helper.

Every message says what was wrong, where, and the nearest thing that works. The command line turns a
`TorchmgError` into one message and the exit code of its kind; nothing else is caught there.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class TorchmgError(Exception):
    """Base of everything torchmg raises on purpose; the work could not be done (exit code 1)."""

    exit_code = 1


class UsageError(TorchmgError, ValueError):
    """The request itself is wrong: a name, an option, a size (exit code 2)."""

    exit_code = 2


class UnknownNameError(UsageError):
    """A model, recipe, data set or option that does not exist."""


class GroupError(UsageError):
    """Channels that cannot be cut into the groups asked for."""


class ShapeError(UsageError):
    """A tensor or input size that a module cannot take."""


class BudgetError(UsageError):
    """A limit on parameters or operations that no choice of settings can meet."""


class DataError(TorchmgError):
    """A data file that is missing, damaged, or not what its name says."""


class CheckpointError(TorchmgError):
    """A checkpoint or run folder that cannot be read or written, or does not fit."""


class ResumeError(CheckpointError):
    """A run that cannot be continued exactly with what was asked."""

    exit_code = 2


class DivergedError(TorchmgError):
    """The training loss stopped being a finite number."""


class InterruptedRunError(TorchmgError):
    """A run was stopped on request and saved; the message says how to continue it."""

    exit_code = 130


class LostProcessError(TorchmgError):
    """One of several processes of a run ended before its time; the run goes on from its last checkpoint."""


class ExportError(TorchmgError):
    """A model that a file format cannot hold, or a file that does not compute what the model does."""


class MissingExtraError(TorchmgError, ImportError):
    """An optional package is needed and absent; the message names the extra."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs the extra '{extra}': pip install 'torchmg[{extra}]'.")


class HierarchyWarning(UserWarning):
    """A hierarchy that is legal but almost certainly not what was meant."""


class DataWarning(UserWarning):
    """Data that is well formed but not byte for byte the published files."""


class CheckpointWarning(UserWarning):
    """A damaged or missing file of a run that was made good from another one."""


class ExactnessWarning(UserWarning):
    """A continued run whose numbers may differ in the last bits from an unbroken one."""


def nearest(name: str, choices: Iterable[str], count: int = 3) -> list[str]:
    """The up to `count` choices most like `name`, best first; empty when none is alike."""
    known = {choice.lower(): choice for choice in choices}
    return [known[match] for match in get_close_matches(name.lower(), known, n=count, cutoff=0.5)]


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """`" Did you mean a, b?"`, or all choices when none is alike (at most twelve of them)."""
    choices = list(choices)
    if near := nearest(name, choices):
        return f" Did you mean {', '.join(near)}?"
    more = ", ..." if len(choices) > 12 else ""
    return f" Known: {', '.join(sorted(choices)[:12])}{more}."
