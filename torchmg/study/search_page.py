"""The tables of docs/recipes.md, from the records of searches in results/search/."""

import json
from pathlib import Path
from typing import Any

from torchmg.study.recipe import search_table, winning

SEARCHED = ("fashion_mnist",)
"""Data sets whose table stands on the page; the record of each is results/search/<data>.json."""
NOT_YET = "Not searched yet."


def search_tables(root: Path) -> list[tuple[Path, str, str]]:
    """(page, marker, text) of every search; without its record a search has no number on the page.

    Args:
        root: the checkout.
    """
    page, found = root / "docs" / "recipes.md", []
    for data in SEARCHED:
        file = root / "results" / "search" / f"{data}.json"
        record = json.loads(file.read_text()) if file.is_file() else None
        marker = f"<!-- results/search/{data}: written by tools/results.py -->"
        found.append((page, marker, NOT_YET if record is None else _text(record)))
    return found


def _text(record: dict[str, Any]) -> str:
    """The candidates, and the command that trains the winner."""
    here = record["environment"]
    made = f"{here['device']}, {here['threads']} thread(s), torch {here['torch'].partition('+')[0]}, {here['date']}."
    command = winning(record).command()
    return "\n".join([search_table(record).markdown(), "", made, "The winner:", "", "```", command, "```"])
