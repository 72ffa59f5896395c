"""A paper's table for docs/results.md: every row with what is printed and what our runs reached."""

from collections.abc import Sequence
from statistics import mean

from pages import why
from pages.runs import where
from pages.tree import Tree
from torchmg.paper import find
from torchmg.paper.difference import difference
from torchmg.paper.measured import measurable, of_row
from torchmg.paper.rows import Network, PaperTable, Row
from torchmg.paper.show import mean_and_spread
from torchmg.tables import Cell, Table

NOT_YET = "not yet run"
COLUMNS = (
    *("configuration", "ours", "printed: parameters", "test %", "train %", "gap"),
    *("our test %", "our train %", "our gap", "difference", "parameters", "MACs", "training", "runs"),
)
WHOLE = ("mgiad", "mgic-12")
"""Tables whose every row is shown; of others those with a printed accuracy."""


def table(name: str, tree: Tree) -> str:
    """The table called `name`, and below it what was tried to explain where ours differs."""
    found = find(name)
    rows = [row for row in found.rows if row.accuracy is not None or name.startswith(WHOLE)]
    lines = [_line(row, found, tree) for row in rows]
    shown = Table(COLUMNS, lines, f"{found.source}: {found.title}").markdown()
    return "\n\n".join([shown, *why.paragraphs(found, rows, tree)])


def _line(row: Row, found: PaperTable, tree: Tree) -> Sequence[Cell]:
    printed, ours = row.accuracy, of_row(row, found, tree.results)
    said: tuple[Cell, ...] = (None, None, None)
    if printed is not None:
        spread = "" if printed.spread is None else f" ({printed.spread})"
        said = (f"{printed.test}{spread}", *(None if n is None else str(n) for n in (printed.train, printed.gap)))
    command = f"`{row.ours.command()}`" if isinstance(row.ours, Network) else None
    head = (row.label, command, row.parameters.text, *said)
    if ours is None:
        return (*head, NOT_YET if measurable(row) else None, *[None] * 7)
    apart = difference(printed, ours, found.training)
    scores = (mean_and_spread(ours.test), mean_and_spread(ours.train), f"{mean(ours.train) - mean(ours.test):.2f}")
    trained = ", ".join([*ours.differences(found.training), f"augment {ours.recipe.augment}"])
    device, seconds, versions, dates = where(ours)
    runs = f"n = {len(ours.test)}"
    ran = "; ".join(part for part in (runs, device, f"{seconds:,} s a run" if seconds else "", versions, dates) if part)
    return (
        *(*head, *scores, f"{apart.points:+.2f}, {apart.verdict}" if apart else None),
        *(ours.parameters, ours.macs, trained, ran),
    )
