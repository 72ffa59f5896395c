"""The table of a search for a page, from its record."""

from typing import Any

from torchmg.study.recipe import search_table, winning


def search_text(record: dict[str, Any]) -> str:
    """The candidates of a search, and the command that trains the winner, as markdown."""
    here = record["environment"]
    made = f"{here['device']}, {here['threads']} thread(s), torch {here['torch'].partition('+')[0]}, {here['date']}."
    command = winning(record).command()
    return "\n".join([search_table(record).markdown(), "", made, "The winner:", "", "```", command, "```"])
