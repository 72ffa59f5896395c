"""The figures of the papers' tables and of the ablation in docs/images, and the CSV behind each."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from pages.tree import Tree
from torchmg.plot import paper
from torchmg.plot.printed import PAPERS, table_of
from torchmg.study.ablated import Ablation, recorded

FOLDER = "docs/images"
ABLATION = "ablation"


def ablation(tree: Tree) -> Ablation | None:
    """What the study of the hierarchy found; None while no run of it is recorded."""
    return recorded(tree.root / "results" / "ablation", tree.root / "benchmarks" / "study_hierarchy.json")


def tables(tree: Tree) -> dict[Path, str]:
    """File -> CSV of every figure."""
    csvs = {f"paper_{name}": table_of(name, tree.results).csv() for name in PAPERS}
    if found := ablation(tree):
        csvs[ABLATION] = found.data().csv()
    return {tree.root / FOLDER / f"{stem}.csv": csv for stem, csv in csvs.items()}


def draw(tree: Tree, files: Sequence[Path]) -> None:
    """Draw the figures behind these CSV files anew."""
    for file in files:
        with TemporaryDirectory() as folder:
            stem = Path(folder) / file.stem
            if file.stem == ABLATION:
                found = ablation(tree)
                assert found is not None  # it has a table
                picture = found.draw(stem)
            else:
                picture = paper(file.stem.removeprefix("paper_"), tree.results, stem)
            shutil.copy(picture.files[0], file.with_suffix(".png"))
