"""Write what README.md and the pages in docs/ say of results, from the records in results/ and benchmarks/.

    python tools/results.py            rewrites parts, values and figures
    python tools/results.py --check    fails when a page is not what the records say, or when a number was typed

A record in results/ is the `record.json` of a finished run, copied there under the name `<recipe>_s<seed>.json`; those
of an experiment lie in a folder of their own, results/<paper>/<experiment>/, those of `torchmg study hierarchy` in
results/ablation/. A record in benchmarks/ is what the script
of its name wrote (verify.json: `torchmg verify --json`). Pages ask by name for what they show (`pages.parts`), and for
single values in prose (`pages.values`); numbers may stand nowhere else (`pages.typed`). Of the figures of papers'
tables the CSV is compared, since PNGs differ with the version of what draws them.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from pages import figures, first_look, modern, papers, parts, runs, timing, typed, values, zoo
from pages.tree import Tree
from torchmg.bench.pages import PAGES
from torchmg.study.search_page import search_text

ROOT = Path(__file__).resolve().parent.parent

PARTS: Mapping[str, Callable[[Tree], str]] = {
    "results/short": runs.short,
    "results/others": runs.others,
    "results/commands": runs.commands,
    "results/experiments": runs.experiments,
    "results/modern": modern.both,
    "results/compare_digits": first_look.compared,
    "results/ablation": lambda tree: tree.ablation.table().markdown() if tree.ablation else "",
    "benchmarks/targets": timing.targets,
}
"""Name of a part -> what writes it; an empty text where there are no records."""
RECORDS: Mapping[str, Callable[..., str]] = {
    "benchmarks/verify": timing.verified,
    "benchmarks/convert_zoo": zoo.converted,
    "benchmarks/convert_study": zoo.study,
    "results/search/fashion_mnist": search_text,
}
"""Name of a part and of the one record that it shows -> what writes it."""


def write(name: str, tree: Tree) -> str:
    """The part called `name`.

    Raises:
        ValueError: no such part.
    """
    kind, _, rest = name.partition("/")
    if name in PARTS:
        return PARTS[name](tree)
    if name in RECORDS:
        record = tree.record(name)
        return "" if record is None else RECORDS[name](record)
    if kind == "paper":
        return papers.table(rest, tree)
    if kind == "benchmarks" and rest in PAGES:
        return timing.timed(rest, tree)
    if kind == "results" and rest.count("/") == 1:
        return runs.experiment(tree, name)
    raise ValueError(f"No part of a page is called {name}.")


def page(path: Path, tree: Tree) -> str:
    """A page as the records have it.

    Raises:
        ValueError: a part or value that cannot be written; the message names the page.
    """
    try:
        text = parts.filled(path.read_text(encoding="utf-8"), lambda name: write(name, tree))
        return values.valued(text, tree)
    except ValueError as error:
        raise ValueError(f"{path.relative_to(tree.root)}: {error}") from error


def unshown(tree: Tree) -> list[str]:
    """Experiments that no page has a table of."""
    wanted = {name for path in tree.pages() for name in parts.names(path.read_text(encoding="utf-8"))}
    return [folder for folder in tree.experiments() if folder not in wanted]


def numbers_typed(root: Path) -> list[str]:
    """Every number that stands where only the tool may write one."""
    tree = Tree(root)
    found = [
        f"{path.relative_to(root)}: {line}"
        for path in tree.pages()
        for line in typed.in_page(path.read_text(encoding="utf-8"))
    ]
    return found + [line for path in sorted((root / "torchmg").rglob("*.py")) for line in typed.in_module(path)]


def main() -> int:
    """Rewrite or check."""
    tree = Tree(ROOT)
    try:
        fresh = {path: page(path, tree) for path in tree.pages()} | figures.tables(tree)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    stale = [path for path, text in fresh.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    wrong = [f"No page has a table of {folder}." for folder in unshown(tree)]
    if "--check" in sys.argv[1:]:
        wrong += [
            f"{path.relative_to(ROOT)} is not what the records say; run: python tools/results.py" for path in stale
        ]
    else:
        figures.draw(tree, [path for path in stale if path.suffix == ".csv"])
        for path in stale:  # a figure before its CSV, so that one that failed is drawn again
            path.write_text(fresh[path], encoding="utf-8")
    wrong += [f"A typed number. {line}" for line in numbers_typed(ROOT)]
    print("".join(f"{line}\n" for line in wrong), end="", file=sys.stderr)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
