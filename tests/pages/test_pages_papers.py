"""A paper's table on the results page, and what was tried where ours differs, from made-up records."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import results
from pages import papers, runs, why
from pages.tree import Tree
from torchmg.models.options import ModelOptions
from torchmg.paper import TABLES, find
from torchmg.paper.measured import of_row
from torchmg.train.recipe import Recipe, recipe

LABEL = "MGiaD, c_K=16, g_s=8"
OPTIONS = ModelOptions(group_size=8, coarsest=16)
PAPER = recipe("mgiad_fashion_mnist_mgiad20", options=OPTIONS)
"""The training of Table IV; the row prints 93.35 (0.09)."""


def put(root: Path, made: Recipe, test: float, name: str = "", date: str = "2026-01-02") -> str:
    here = {"torchmg": "0.1.0", "torch": "2.15.0", "device": "cpu", "threads": 1, "date": date}
    values = {"recipe": made.to_json(), "parameters": 36858, "macs": 17_363_104, "environment": here, "seconds": 100.0}
    values |= {"train_accuracy": 97.5, "test_accuracy": test, "command": f"torchmg train {made.seed}"}
    name = name or f"results/{made.name}_{made.epochs}_s{made.seed}.json"
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(json.dumps(values))
    return name


def cells(root: Path) -> dict[str, str]:
    lines = [line.strip("| ").split(" | ") for line in papers.table("mgiad-4", Tree(root)).splitlines() if "|" in line]
    return next(dict(zip(lines[0], line, strict=True)) for line in lines if line[0] == LABEL)


def test_a_full_run_a_shortened_one_and_none(tmp_path: Path) -> None:
    assert cells(tmp_path)["our test %"] == "not yet run"
    put(tmp_path, replace(PAPER, epochs=12, schedule="cosine"), 92.0)
    short = cells(tmp_path)
    assert short["difference"] == "-1.35, shortened"
    assert short["training"] == "12 of 400 epochs, schedule cosine, augment none"
    assert "reproduc" not in papers.table("mgiad-4", Tree(tmp_path))
    for seed, test in enumerate((93.3, 93.4, 93.5)):
        put(tmp_path, replace(PAPER, seed=seed), test, date=f"2026-01-0{seed + 3}")
    full = cells(tmp_path)
    assert (full["test %"], full["our test %"], full["our train %"]) == ("93.35 (0.09)", "93.40 (0.10)", "97.50 (0.00)")
    assert (full["gap"], full["our gap"], full["difference"]) == ("4.28", "4.10", "+0.05, agrees")
    assert (full["parameters"], full["MACs"], full["training"]) == ("36,858", "17,363,104", "augment none")
    assert full["runs"] == (
        "n = 3; cpu, 1 thread(s); 100 s a run; torchmg 0.1.0, torch 2.15.0; 2026-01-03 to 2026-01-05"
    )
    others = runs.others(Tree(tmp_path))
    assert "12 of 400" in others, "the shortened run, beside no row any more"
    assert "93.40" not in others


def listed(root: Path, **changes: str) -> None:
    entry = {"table": "mgiad-4", "row": LABEL, "setting": "augment", "record": "results/why/a.json", **changes}
    lines = "\n".join(f'{key} = "{value}"' for key, value in entry.items())
    (root / "results" / "why.toml").write_text(f"[[tried]]\n{lines}\n")


@pytest.mark.parametrize(
    ("varied", "setting", "told"),
    [
        ({"augment": "crop_flip"}, "augment", "augment crop_flip: 93.00 (+1.00)"),
        ({"options": replace(OPTIONS, correction="plain")}, "correction", "correction plain: 93.00 (+1.00)"),
        ({"weight_decay": 0.001, "seed": 3}, "weight_decay", "weight_decay 0.001: 93.00 (+1.00)"),
    ],
)
def test_what_was_tried_is_told_below_the_table(
    tmp_path: Path, varied: dict[str, Any], setting: str, told: str
) -> None:
    put(tmp_path, PAPER, 92.0)
    assert f"**{LABEL}**, -1.35 points (limit 0.30): nothing was tried" in papers.table("mgiad-4", Tree(tmp_path))
    put(tmp_path, replace(PAPER, **varied), 93.0, "results/why/a.json")
    listed(tmp_path, setting=setting)
    text = papers.table("mgiad-4", Tree(tmp_path))
    assert f"**{LABEL}**, -1.35 points (limit 0.30), tried: {told}." in text
    (tmp_path / "results" / "why" / "a.json").unlink()
    assert f"tried: {setting}: not run." in papers.table("mgiad-4", Tree(tmp_path))


def test_a_run_that_varies_more_or_something_else_is_refused(tmp_path: Path) -> None:
    put(tmp_path, PAPER, 92.0)
    for changes, found in (
        ({"augment": "crop_flip", "lr": 0.1}, "in lr, augment, not in augment alone"),
        ({"lr": 0.1}, "in lr, not in augment alone"),
        ({}, "in nothing, not in augment alone"),
    ):
        put(tmp_path, replace(PAPER, **changes), 93.0, "results/why/a.json")
        listed(tmp_path)
        with pytest.raises(ValueError, match=found):
            papers.table("mgiad-4", Tree(tmp_path))
    listed(tmp_path, row="MGiaD, c_K=1")
    with pytest.raises(ValueError, match="mgiad-4 has no row 'MGiaD, c_K=1'"):
        papers.table("mgiad-4", Tree(tmp_path))
    listed(tmp_path, because="no")
    with pytest.raises(ValueError, match="an entry has the keys"):
        papers.table("mgiad-4", Tree(tmp_path))


def test_shortened_runs_need_no_explanation(tmp_path: Path) -> None:
    put(tmp_path, replace(PAPER, epochs=12), 80.0)
    assert "tried" not in papers.table("mgiad-4", Tree(tmp_path))


def test_every_run_that_the_repository_lists_is_there_and_varies_what_it_says() -> None:
    tree = Tree(results.ROOT)
    for entry in why.tried(tree):
        assert (tree.root / entry["record"]).is_file(), entry
        table = find(entry["table"])
        (row,) = (row for row in table.rows if row.label == entry["row"])
        assert of_row(row, table, tree.results), entry
    for table in TABLES.values():
        why.paragraphs(table, table.rows, tree)


def test_the_short_table_takes_the_longest_run_and_never_the_best(tmp_path: Path) -> None:
    put(tmp_path, replace(PAPER, epochs=12), 99.0)
    put(tmp_path, replace(PAPER, options=replace(OPTIONS, group_size=4)), 91.0, "results/g4.json")
    put(tmp_path, PAPER, 93.0)
    put(tmp_path, replace(PAPER, seed=1), 94.0)
    lines = [line for line in runs.short(Tree(tmp_path)).splitlines() if line.startswith("| fashion")]
    assert len(lines) == 1
    assert "| 400 | 2 | accuracy | 97.50 (0.00) | 93.50 (0.71) | 93.35 |" in lines[0]
    assert runs.commands(Tree(tmp_path)).count("torchmg train") == 4
