"""Write the tables of README.md and of pages in docs/ from the records in results/ and benchmarks/.

    python tools/results.py            rewrites the parts between the markers
    python tools/results.py --check    fails when a table is not what the records say

A record in results/ is the `record.json` of a finished run, copied there under the name `<recipe>_s<seed>.json`; those
of an experiment lie in a folder of their own, results/<paper>/<experiment>/, and make a table in docs/papers/<paper>.md
between markers that name it; those of `torchmg study hierarchy` lie in results/ablation/. benchmarks/verify.json is
what `torchmg verify --json` printed, and benchmarks/convert_zoo.json what `benchmarks/convert_zoo.py` wrote. The tables
of docs/performance.md are those of `torchmg.bench.pages`, each from the record of the script in benchmarks/ whose name
its markers have, and all targets are in README.md too; a table whose record is not there yet is left as it is.
"""

import json
import sys
from pathlib import Path

from torchmg.bench.pages import PAGES, all_targets, checked
from torchmg.study.ablated import page_section
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


def experiment(records: list[dict]) -> str:
    """A markdown table of runs on the same data by the same recipe, with the command of the first below."""
    first = records[0]
    score = score_of(first["recipe"]["data"])
    alike = {
        name for name, value in options(first["recipe"]) if all((name, value) in options(r["recipe"]) for r in records)
    }
    lines = [
        f"| model | parameters | MACs | train {score.label} % | test {score.label} % |",
        "|---|---:|---:|---:|---:|",
    ]
    for r in sorted(records, key=lambda r: -r["parameters"]):
        scores = (f"{score.of(r, 'train'):.2f}", f"{score.of(r, 'test'):.2f}")
        cells = (model(r["recipe"], alike), f"{r['parameters']:,}", f"{r['macs']:,}", *scores)
        lines.append(f"| {' | '.join(cells)} |")
    here = first["environment"]
    dates = sorted({r["environment"]["date"] for r in records})
    seeds = sorted({r["recipe"]["seed"] for r in records})
    note = (
        f"{first['recipe']['data']}, epochs: {epochs(first['recipe'])}; {here['device']}, {here['threads']} thread(s), "
        f"torch {here['torch'].partition('+')[0]}, {' to '.join(dict.fromkeys((dates[0], dates[-1])))}, "
        f"seed {', '.join(map(str, seeds))}. The first row is"
    )
    most = max(records, key=lambda r: r["parameters"])
    return "\n".join([*lines, "", note, "", "```", most["command"], "```"])


def options(recipe: dict) -> list[tuple[str, object]]:
    """The options that were set."""
    return [(name, value) for name, value in recipe["options"].items() if value is not None]


def model(recipe: dict, without: frozenset[str] | set[str] = frozenset()) -> str:
    """The model with the options that were set, but for those that go without saying."""
    options = [
        f"{name}={value}" for name, value in recipe["options"].items() if value is not None and name not in without
    ]
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


CHECKS = ("forward", "backward", "export", "undo")
"""What was tried on a converted network, by the names in the record."""
SHARE = 0.7
"""Of what could be converted; a network of which less was is listed with the reasons."""


def converted(record: dict) -> str:
    """A markdown table, a row per network, with how many meet what was asked and why the others do not."""
    rows = record["rows"]
    lines = [
        "| network | input | sizes | blocks, layers | M parameters | M MACs | converted % | works |",
        "|---|---|---|---:|---:|---:|---:|---|",
    ]
    for row in rows:
        if "share" not in row:
            lines.append(f"| {row['network']} | {_size(row)} | - | - | - | - | - | {row['error']} |")
            continue
        cells = (
            *(row["network"], _size(row), f"{row['group_size']}, {row['coarsest']}"),
            *(f"{row['blocks']}, {row['layers']}", _fall(row, "before", "after", 2)),
            *(_fall(row, "macs_before", "macs_after", 0), f"{100 * row['share']:.1f}", _works(row)),
        )
        lines.append(f"| {' | '.join(cells)} |")
    good = [row for row in rows if row.get("share", 0) >= SHARE and _works(row) == "all"]
    here, libraries = record["environment"], record["libraries"]
    note = (
        f"{len(good)} of {len(rows)} networks: at least {100 * SHARE:.0f} % converted, and all of it works.\n"
        f"torch {here['torch'].partition('+')[0]}, torchvision {libraries['torchvision']}, timm {libraries['timm']}, "
        f"{here['date']}. Made by:"
    )
    rest = [f"- {row['network']}: {_why(row)}" for row in rows if row not in good]
    listed = ["", "The others:", "", *rest] if rest else []
    return "\n".join([*lines, "", note, "", "```", record["command"], "```", *listed])


def _size(row: dict) -> str:
    """The input's size, without the batch."""
    return " x ".join(map(str, row["input"][1:]))


def _fall(row: dict, before: str, after: str, digits: int) -> str:
    """Before and after, in millions."""
    return f"{row[before] / 1e6:,.{digits}f} to {row[after] / 1e6:,.{digits}f}"


def _works(row: dict) -> str:
    """`all`, or what does not."""
    bad = [f"{name}: {row.get(name, 'not reached')}" for name in CHECKS if row.get(name) != "yes"]
    return "; ".join([*bad, *([row["error"]] if "error" in row else [])]) or "all"


def _why(row: dict) -> str:
    """Why a network is not among those that meet what was asked."""
    why = [] if _works(row) == "all" else [_works(row)]
    short = row.get("share", 1) < SHARE
    stays = [s for s in row.get("skips", ()) if short and s["eligible"] and s["share"] >= 0.005]
    why += [f"{100 * s['share']:.0f} % of its parameters stay, because {s['reason']}" for s in stays]
    return "; ".join(why)


def updated(text: str, fresh: str, begin: str = BEGIN) -> str:
    """The page with a fresh table between its markers."""
    head, _, rest = text.partition(begin)
    _, _, tail = rest.partition(END)
    return f"{head}{begin}\n\n{fresh}\n\n{END}{tail}"


def load_records(folder: Path = ROOT / "results") -> list[dict]:
    """All records in a folder, by data set, seed and size."""
    records = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    return sorted(records, key=lambda r: (r["recipe"]["data"], r["recipe"]["seed"], -r["parameters"]))


def performance(folder: Path) -> list[tuple[str, str]]:
    """(marker, table) of every benchmark whose record is in a folder, and of all their targets."""
    files = {name: folder / f"{name}.json" for name in PAGES}
    records = {name: checked(json.loads(file.read_text()), name) for name, file in files.items() if file.is_file()}
    fresh = {name: PAGES[name](record) for name, record in records.items()}
    if records:
        fresh["targets"] = all_targets(list(records.values()))
    return [(f"<!-- benchmarks/{name}: written by tools/results.py -->", text) for name, text in fresh.items()]


def main() -> int:
    """Rewrite or check the pages."""
    tables = [
        (ROOT / "README.md", BEGIN, table(load_records())),
        (ROOT / "docs" / "verify.md", BEGIN, verified(json.loads((ROOT / "benchmarks" / "verify.json").read_text()))),
        (
            ROOT / "docs" / "convert_zoo.md",
            BEGIN,
            converted(json.loads((ROOT / "benchmarks" / "convert_zoo.json").read_text())),
        ),
    ]
    page = ROOT / "docs" / "performance.md"
    for begin, fresh in performance(ROOT / "benchmarks"):
        tables.append((page, begin, fresh))
        if "targets" in begin:
            tables.append((ROOT / "README.md", begin, fresh))
    begin = "<!-- results/ablation: written by tools/results.py -->"
    fresh = page_section(ROOT / "results" / "ablation", ROOT / "benchmarks" / "study_hierarchy.json")
    tables.append((ROOT / "docs" / "ablation.md", begin, fresh))
    for folder in sorted(path for path in (ROOT / "results").glob("*/*") if path.is_dir()):
        page = ROOT / "docs" / "papers" / f"{folder.parent.name}.md"
        begin = f"<!-- results/{folder.parent.name}/{folder.name}: written by tools/results.py -->"
        tables.append((page, begin, experiment(load_records(folder))))
    stale = 0
    for page, begin, fresh in tables:
        text = updated(page.read_text(), fresh, begin)
        if "--check" not in sys.argv[1:]:
            page.write_text(text)
        elif text != page.read_text():
            print(f"{page.name} is not what the records say; run: python tools/results.py", file=sys.stderr)
            stale = 1
    return stale


if __name__ == "__main__":
    sys.exit(main())
