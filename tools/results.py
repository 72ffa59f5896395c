"""Write the results table of README.md from the records in results/.

    python tools/results.py            rewrites the part between the markers
    python tools/results.py --check    fails when the table is not what the records say

A record is the `record.json` of a finished run, copied to results/ under the name `<recipe>_s<seed>.json`.
"""

import json
import sys
from pathlib import Path

from torchmg.train.recipe import BASES

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- results: written by tools/results.py -->", "<!-- end of results -->"


def table(records: list[dict]) -> str:
    """A markdown table, a row per record, with the commands that made them below."""
    lines = [
        "| data | model | parameters | MACs | epochs | seed | train % | test % | torch, device | date |",
        "|---|---|---:|---:|---:|---:|---:|---:|---|---|",
    ]
    for r in records:
        recipe, here = r["recipe"], r["environment"]
        cells = (
            *(recipe["data"], recipe["model"], f"{r['parameters']:,}", f"{r['macs']:,}", epochs(recipe)),
            *(recipe["seed"], f"{r['train_accuracy']:.2f}", f"{r['test_accuracy']:.2f}"),
            *(f"{here['torch'].partition('+')[0]}, {here['device']}", here["date"]),
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    commands = "\n".join(r["command"] for r in records)
    note = (
        "Accuracy of the last epoch; training accuracy in evaluation mode, without augmentation. Where fewer epochs\n"
        "ran than the recipe has, the run was shortened and compares with no paper. Made by:"
    )
    return "\n".join([*lines, "", note, "", "```", commands, "```"])


def epochs(recipe: dict) -> str:
    """How many, and of how many where the run was shorter than our recipe for its data."""
    whole = BASES[recipe["data"]].epochs
    return f"{recipe['epochs']} of {whole}" if recipe["epochs"] < whole else str(recipe["epochs"])


def updated(text: str, records: list[dict]) -> str:
    """The README with a fresh table between its markers."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n\n{table(records)}\n\n{END}{tail}"


def load_records() -> list[dict]:
    """All records, by data set, seed and size."""
    records = [json.loads(path.read_text()) for path in sorted((ROOT / "results").glob("*.json"))]
    return sorted(records, key=lambda r: (r["recipe"]["data"], r["recipe"]["seed"], -r["parameters"]))


def main() -> int:
    """Rewrite or check README.md."""
    readme = ROOT / "README.md"
    fresh = updated(readme.read_text(), load_records())
    if "--check" in sys.argv[1:]:
        if fresh != readme.read_text():
            print("README.md's results are not what results/ holds; run: python tools/results.py", file=sys.stderr)
            return 1
        return 0
    readme.write_text(fresh)
    return 0


if __name__ == "__main__":
    sys.exit(main())
