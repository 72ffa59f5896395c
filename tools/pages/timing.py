"""Tables of what was timed and verified, from the records in benchmarks/."""

from pages.tree import Tree
from torchmg.bench.pages import PAGES, all_targets, checked


def timed(name: str, tree: Tree) -> str:
    """The table of the record that the script `name` in benchmarks/ wrote."""
    record = tree.record(f"benchmarks/{name}")
    return "" if record is None else PAGES[name](checked(record, name))


def targets(tree: Tree) -> str:
    """All targets of all records."""
    records = [(name, tree.record(f"benchmarks/{name}")) for name in PAGES]
    found = [checked(record, name) for name, record in records if record is not None]
    return all_targets(found) if found else ""


def verified(record: dict) -> str:
    """A markdown table, a row per check, with what it ran on below."""
    columns = list(record["rows"][0])
    lines = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    lines += [f"| {' | '.join('-' if v is None else v for v in row.values())} |" for row in record["rows"]]
    here = record["environment"]
    return "\n".join([*lines, "", f"{record['note']} torch {here['torch']}, {here['processor']}, {here['date']}."])
