"""What was tried where ours differs from the printed accuracy, each as a run that varies one setting.

results/why.toml lists them, a table each:

    [[tried]]
    table = "mgiad-4"
    row = "ResNet20"
    setting = "augment"
    record = "results/why/resnet20_crop_flip_s0.json"

The record must differ from the runs of the row in exactly that setting, a field of the recipe or an option of the model
(and in its seed). For a shortened run nothing need be tried: its length is why, and the table says so.
"""

import tomllib
from collections.abc import Sequence
from dataclasses import asdict
from statistics import mean
from typing import Any

from pages.tree import NOT_RUN, Tree
from torchmg.paper import find
from torchmg.paper.difference import difference
from torchmg.paper.measured import of_row
from torchmg.paper.rows import PaperTable, Row
from torchmg.paper.show import mean_and_spread
from torchmg.train.recipe import Recipe
from torchmg.train.records import read_record
from torchmg.train.scores import score_of

FILE = "results/why.toml"
KEYS = {"table", "row", "setting", "record"}


def tried(tree: Tree) -> list[dict[str, str]]:
    """The entries of the list; none where there is no file.

    Raises:
        ValueError: an entry with other keys, or of a row that no table has.
    """
    path = tree.root / FILE
    entries = tomllib.loads(path.read_text(encoding="utf-8"))["tried"] if path.is_file() else []
    for entry in entries:
        if entry.keys() != KEYS:
            raise ValueError(f"{FILE}: an entry has the keys {', '.join(sorted(KEYS))}; got {', '.join(entry)}.")
        if entry["row"] not in [row.label for row in find(entry["table"]).rows]:
            raise ValueError(f"{FILE}: {entry['table']} has no row '{entry['row']}'.")
    return entries


def paragraphs(table: PaperTable, rows: Sequence[Row], tree: Tree) -> list[str]:
    """A line for each row whose full-length runs differ from the printed accuracy, with what was tried."""
    lines = []
    for row in rows:
        ours = of_row(row, table, tree.results)
        apart = difference(row.accuracy, ours, table.training)
        entries = [entry for entry in tried(tree) if (entry["table"], entry["row"]) == (table.name, row.label)]
        if ours is None or apart is None or not (entries or apart.verdict == "differs"):
            continue
        runs = [_told(entry, ours.recipe, mean(ours.test), tree) for entry in entries]
        limit = f"limit {apart.limit:.2f}" if apart.verdict == "differs" else apart.verdict
        head = f"**{row.label}**, {apart.points:+.2f} points ({limit})"
        lines.append(f"{head}, tried: {'; '.join(runs)}." if runs else f"{head}: nothing was tried to explain it yet.")
    return lines


def varied(one: Recipe, other: Recipe) -> dict[str, Any]:
    """What the other has otherwise than the one, options by their own names, seeds apart."""
    flat = [{**asdict(recipe), **recipe.options.given(), "options": None, "seed": None} for recipe in (one, other)]
    keys = dict.fromkeys([*flat[0], *flat[1]])
    return {key: flat[1].get(key) for key in keys if flat[0].get(key) != flat[1].get(key)}


def _told(entry: dict[str, str], recipe: Recipe, reached: float, tree: Tree) -> str:
    path = tree.root / entry["record"]
    if not path.is_file():
        return f"{entry['setting']}: {NOT_RUN}"
    other, record = read_record(path)
    found = varied(recipe, other)
    if list(found) != [entry["setting"]]:
        raise ValueError(
            f"{FILE}: {entry['record']} differs from the runs of {entry['table']}, {entry['row']}, in "
            f"{', '.join(found) or 'nothing'}, not in {entry['setting']} alone."
        )
    test = score_of(other.data).of(record, "test")
    return f"{entry['setting']} {found[entry['setting']]}: {mean_and_spread([test])} ({test - reached:+.2f})"
