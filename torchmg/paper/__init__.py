"""The papers: their tables as data (no torch), our counts and runs beside them; and their mathematics verified."""

from torchmg.errors import UnknownNameError, did_you_mean
from torchmg.paper import mgiad, mgic, pde
from torchmg.paper.rows import PaperTable
from torchmg.tables import Table

TABLES = {table.name: table for table in (*mgiad.TABLES, *mgic.TABLES, *pde.TABLES)}
"""Name -> table, in the order of the papers."""


def find(name: str) -> PaperTable:
    """The table called `name`, such as `mgiad-2`; raises `UnknownNameError` with the nearest names."""
    if name in TABLES:
        return TABLES[name]
    raise UnknownNameError(f"Unknown table '{name}'.{did_you_mean(name, TABLES)} (torchmg table lists all)")


def listing() -> Table:
    """Which tables there are, and how many of their rows torchmg has models for."""
    rows = [(table.name, table.source, table.title, len(table.rows), table.built) for table in TABLES.values()]
    note = "built: rows with a model of ours. One table: torchmg table NAME; all of them: torchmg table --all."
    return Table(["name", "source", "shows", "rows", "built"], rows, note=note)
