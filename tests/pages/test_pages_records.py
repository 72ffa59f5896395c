"""Whatever the pages say of a run goes with its record."""

import json
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import results
from pages import figures, parts
from pages.tree import Tree
from torchmg.paper import TABLES
from torchmg.train.scores import score_of

ROOT = Path(__file__).parents[2]
RECORDS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "results").rglob("*.json")
    if "recipe" in json.loads(path.read_text())
)
"""Of runs; those of searches and timings have no recipe."""
NUMBER = re.compile(r"(?<![\d.])\d{1,3}\.\d{2}(?!\d)")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree, where the runs of each recipe have accuracies that stand nowhere else."""
    root = tmp_path_factory.mktemp("tree")
    for name in ("results", "docs", "benchmarks"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("*.png", "__pycache__"))
    for name in ("torchmg", "tests", "tools"):
        (root / name).symlink_to(ROOT / name)
    for path in ROOT.glob("*.md"):
        shutil.copy(path, root)
    taken = set(numbers(texts(root))).union(*map(scores, RECORDS))
    free = (text for text in (f"{number / 100:.2f}" for number in range(1000, 10_000, 17)) if text not in taken)
    chosen = {name: (float(next(free)), float(next(free))) for name in dict.fromkeys(map(of_all_seeds, RECORDS))}
    for name in RECORDS:
        values = json.loads((root / name).read_text())
        key = score_of(values["recipe"]["data"]).key
        values[f"test_{key}"], values[f"train_{key}"] = chosen[of_all_seeds(name)]
        (root / name).write_text(json.dumps(values))
    return root


@pytest.fixture(scope="module")
def before(copy: Path) -> dict[str, str]:
    return texts(copy)


def of_all_seeds(name: str) -> str:
    """The records of one recipe are called alike but for the seed."""
    return re.sub(r"_s\d+\.json$", "_s*.json", name)


def texts(root: Path) -> dict[str, str]:
    tree = Tree(root)
    fresh = {path: results.page(path, tree) for path in tree.pages()} | figures.tables(tree)
    return {path.relative_to(root).as_posix(): text for path, text in fresh.items()}


def numbers(pages: dict[str, str]) -> Counter[str]:
    return Counter(number for text in pages.values() for number in NUMBER.findall(text))


def scores(name: str, root: Path = ROOT) -> set[str]:
    values = json.loads((root / name).read_text())
    score = score_of(values["recipe"]["data"])
    return {f"{score.of(values, split):.2f}" for split in ("test", "train")}


def test_pages_with_other_records_have_none_of_the_numbers_of_these(before: dict[str, str]) -> None:
    """So none is typed, in whatever words. What papers print and benchmarks measured may be equal by chance."""
    printed = {str(row.accuracy.test) for t in TABLES.values() for row in t.rows if row.accuracy}
    printed |= {str(row.accuracy.train) for t in TABLES.values() for row in t.rows if row.accuracy}
    files = (ROOT / "benchmarks").glob("*.json")
    found = {float(number) for path in files for number in re.findall(r"\d+(?:\.\d+)?", path.read_text())}
    measured = {f"{number / unit:.2f}" for number in found for unit in (1, 1e6)}
    old = {text for name in RECORDS for text in scores(name)} - printed - measured
    assert len(old) > len(RECORDS) / 2
    assert not [text for text in old if numbers(before)[text]]


ONCE = ("results/ablation/",)
"""Folders whose records one function shows: the first of them stands for the others in the fast suite."""


def deleted() -> list[Any]:
    names = sorted(set(map(of_all_seeds, RECORDS)))
    first = {next((name for name in names if name.startswith(folder)), "") for folder in ONCE}
    like = [name for name in names if name.startswith(ONCE) and name not in first]
    return [pytest.param(name, marks=pytest.mark.slow if name in like else ()) for name in names]


@pytest.mark.parametrize("name", deleted())
def test_a_record_that_is_deleted_takes_its_number_along(copy: Path, before: dict[str, str], name: str) -> None:
    mine = [path for path in RECORDS if of_all_seeds(path) == name]
    own = scores(mine[0], copy)
    assert [text for text in own if numbers(before)[text]], "every run is shown somewhere"
    kept = {path: (copy / path).read_text() for path in mine}
    try:
        for path in mine:
            (copy / path).unlink()
            after = texts(copy)
            assert after != before
    finally:
        for path, text in kept.items():
            (copy / path).write_text(text)
    assert not [text for text in own if numbers(after)[text]]


def test_without_any_record_no_page_has_a_number_of_a_run(copy: Path, tmp_path: Path) -> None:
    root = tmp_path / "tree"
    shutil.copytree(copy, root, symlinks=True)
    shutil.rmtree(root / "results")
    after = texts(root)
    assert after["docs/papers/lowcost.md"].count(parts.EMPTY) == len(Tree(ROOT).experiments())
    assert "not run points" in after["docs/papers/lowcost.md"].replace("<!--/-->", "")
    assert "not yet run" in after["docs/results.md"]
    assert parts.EMPTY in after["README.md"]
    assert "torchmg" not in after["docs/images/paper_mgiad.csv"]


def test_pages_have_every_table_and_every_experiment() -> None:
    page = parts.names((ROOT / "docs" / "results.md").read_text())
    wanted = [f"paper/mgiad-{n}" for n in range(1, 10)] + [f"paper/mgic-{n}" for n in (3, 12, 5, 7)]
    assert page == [*wanted, "results/others", "results/experiments", "results/commands"]
    accuracies = {t.name for t in TABLES.values() if t.name.startswith("mg") and any(row.accuracy for row in t.rows)}
    assert accuracies <= {name.removeprefix("paper/") for name in page}
    assert results.unshown(Tree(ROOT)) == []


def test_every_row_of_the_tables_is_on_the_page(copy: Path) -> None:
    text = texts(copy)["docs/results.md"]
    for number in range(1, 10):
        table = TABLES[f"mgiad-{number}"]
        part = text.partition(f"<!-- paper/{table.name}:")[2].partition(parts.END)[0]
        lines = [line.split(" | ")[0].removeprefix("| ") for line in part.splitlines() if line.startswith("| M")]
        lines += [line.split(" | ")[0].removeprefix("| ") for line in part.splitlines() if line.startswith("| R")]
        assert sorted(lines) == sorted(row.label for row in table.rows)
        assert all(f" {row.accuracy.test}" in part for row in table.rows if row.accuracy)


def test_parts_without_an_end_and_unknown_parts_are_errors(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("<!-- results/short: written by tools/results.py -->\ntext")
    with pytest.raises(ValueError, match=r"a\.md: One of the parts results/short has no end"):
        results.page(tmp_path / "a.md", Tree(tmp_path))
    (tmp_path / "a.md").write_text(f"<!-- results/shrt: written by tools/results.py -->\n{parts.END}")
    with pytest.raises(ValueError, match=r"a\.md: No part of a page is called results/shrt"):
        results.page(tmp_path / "a.md", Tree(tmp_path))


def test_an_experiment_that_no_page_shows_is_told(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    folder = tmp_path / "results" / "mgic" / "new"
    folder.mkdir(parents=True)
    shutil.copy(ROOT / RECORDS[0], folder / "one.json")
    assert results.unshown(Tree(tmp_path)) == ["results/mgic/new"]
