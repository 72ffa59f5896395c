"""The papers' tables as data: what is printed, what we count, and what our runs reached."""

from torchmg.errors import UnknownNameError, did_you_mean
from torchmg.paper import mgiad, mgic
from torchmg.paper.rows import PaperTable

TABLES = {table.name: table for table in (*mgiad.TABLES, *mgic.TABLES)}
"""Name -> table, in the order of the papers."""


def find(name: str) -> PaperTable:
    """The table called `name`, such as `mgiad-2`; raises `UnknownNameError` with the nearest names."""
    if name in TABLES:
        return TABLES[name]
    raise UnknownNameError(f"Unknown table '{name}'.{did_you_mean(name, TABLES)} (torchmg table lists all)")
