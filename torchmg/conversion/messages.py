"""What a user is told when there is nothing to convert."""

from collections import Counter
from collections.abc import Sequence

from torch import nn

from torchmg.conversion.refusals import MULTIGRID, Skip
from torchmg.conversion.sites import Site

MATCHING = (
    "What matches: nn.Linear, nn.Conv1d/2d/3d and nn.ConvTranspose1d/2d/3d without groups between the first and the"
    " last layer, and residual blocks of convolutions that keep their width and resolution"
)
SHOWN = 5
"""Reasons that are told apart; the rest is summed up."""


def multigrid_in(model: nn.Module) -> int:
    """How many of torchmg's layers and blocks a network has, those within others left out."""
    if isinstance(model, MULTIGRID):
        return 1
    return sum(multigrid_in(child) for child in model.children())


def nothing_matched(skips: Sequence[Skip], sites: Sequence[Site] = (), *, ours: int = 0) -> str:
    """The message for when nothing is converted: what was seen, why it stays, and what would match.

    Args:
        skips: the layers that stay.
        sites: those that match and yet were not taken, such as ones that are too narrow; usually none.
        ours: layers and blocks that are multigrid already, see `multigrid_in`.
    """
    ends = [f"{word}=True" for word in ("stem", "head") if any(f"{word}=True" in skip.reason for skip in skips)]
    match = MATCHING + (f"; with {', '.join(ends)} those ends too." if ends else ".")
    if ours:
        were = "is one multigrid layer or block" if ours == 1 else f"are {ours} multigrid layers and blocks"
        match = f"There {were} in it already: to choose other sizes, undo that conversion (report.undo). {match}"
    if not skips and not sites:
        return f"The model has no layer of torch that mixes channels. {match}"
    kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(skip.kind for skip in skips).most_common())
    if sites:
        taken = Counter(site.kind for site in sites).most_common()
        first = f"Nothing is converted: {', '.join(f'{count} {kind}' for kind, count in taken)} match and are not taken"
        first += f"; {len(skips)} layers ({kinds}) stay:" if skips else "."
    else:
        first = f"Nothing in the model can be converted. Of its {len(skips)} layers ({kinds}) all stay:"
    reasons = Counter(skip.reason for skip in skips).most_common()
    lines = [f"  {count} x {reason}" for reason, count in reasons[:SHOWN]]
    if more := sum(count for _, count in reasons[SHOWN:]):
        lines.append(f"  {more} x other reasons")
    return "\n".join([first, *lines, match])
