"""Write the tables of README.md and docs/verify.md from the records in results/ and benchmarks/.

    python tools/results.py            rewrites the parts between the markers
    python tools/results.py --check    fails when a table is not what the records say

A record in results/ is the `record.json` of a finished run, copied there under the name `<recipe>_s<seed>.json`;
benchmarks/verify.json is what `torchmg verify --json` printed.
"""

import json
import sys
from pathlib import Path

from torchmg.train.recipe import BASES
from torchmg.train.scores import score_of

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- results: written by tools/results.py -->", "<!-- end of results -->"


def table(records: list[dict]) -> str:
    """A markdown table, a row per record, with the commands that made them below."""
    lines = [
        "| data | model | parameters | MACs | epochs | seed | score | train % | test % | torch, device | date |",
        "|---|---|---:|---:|---:|---:|---|---:|---:|---|---|",
    ]
    for r in records:
        recipe, here = r["recipe"], r["environment"]
        score = score_of(recipe["data"])
        cells = (
            *(recipe["data"], model(recipe), f"{r['parameters']:,}", f"{r['macs']:,}", epochs(recipe)),
            *(recipe["seed"], score.label, f"{score.of(r, 'train'):.2f}", f"{score.of(r, 'test'):.2f}"),
            *(f"{here['torch'].partition('+')[0]}, {here['device']}", here["date"]),
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    commands = "\n".join(r["command"] for r in records)
    note = (
        "Scores of the last epoch; those of training in evaluation mode, without augmentation. Where fewer epochs\n"
        "ran than the recipe has, the run was shortened and compares with no paper. Made by:"
    )
    return "\n".join([*lines, "", note, "", "```", commands, "```"])


def model(recipe: dict) -> str:
    """The model with the options that were set."""
    options = [f"{name}={value}" for name, value in recipe["options"].items() if value is not None]
    return f"{recipe['model']}, {', '.join(options)}" if options else recipe["model"]


def epochs(recipe: dict) -> str:
    """How many, and of how many where the run was shorter than our recipe for its data."""
    whole = BASES[recipe["data"]].epochs
    shown = f"{recipe['epochs']} of {whole}" if recipe["epochs"] < whole else str(recipe["epochs"])
    return f"{shown}, {recipe['subset']:,} samples" if recipe.get("subset") else shown


def verified(record: dict) -> str:
    """A markdown table, a row per check, with what it ran on below."""
    columns = list(record["rows"][0])
    lines = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    lines += [f"| {' | '.join('-' if v is None else v for v in row.values())} |" for row in record["rows"]]
    here = record["environment"]
    return "\n".join([*lines, "", f"{record['note']} torch {here['torch']}, {here['processor']}, {here['date']}."])


def updated(text: str, fresh: str) -> str:
    """The page with a fresh table between its markers."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n\n{fresh}\n\n{END}{tail}"


def load_records() -> list[dict]:
    """All records, by data set, seed and size."""
    records = [json.loads(path.read_text()) for path in sorted((ROOT / "results").glob("*.json"))]
    return sorted(records, key=lambda r: (r["recipe"]["data"], r["recipe"]["seed"], -r["parameters"]))


def main() -> int:
    """Rewrite or check the pages."""
    pages = {
        ROOT / "README.md": table(load_records()),
        ROOT / "docs" / "verify.md": verified(json.loads((ROOT / "benchmarks" / "verify.json").read_text())),
    }
    stale = 0
    for page, fresh in pages.items():
        text = updated(page.read_text(), fresh)
        if "--check" not in sys.argv[1:]:
            page.write_text(text)
        elif text != page.read_text():
            print(f"{page.name} is not what the records say; run: python tools/results.py", file=sys.stderr)
            stale = 1
    return stale


if __name__ == "__main__":
    sys.exit(main())
