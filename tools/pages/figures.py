"""The figures of the papers' tables in docs/images, and the CSV behind each."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from pages.tree import Tree
from torchmg.plot import paper
from torchmg.plot.printed import PAPERS, table_of

FOLDER = "docs/images"


def tables(tree: Tree) -> dict[Path, str]:
    """File -> CSV of every figure."""
    return {tree.root / FOLDER / f"paper_{name}.csv": table_of(name, tree.results).csv() for name in PAPERS}


def draw(tree: Tree, files: Sequence[Path]) -> None:
    """Draw the figures behind these CSV files anew."""
    for file in files:
        with TemporaryDirectory() as folder:
            picture = paper(file.stem.removeprefix("paper_"), tree.results, Path(folder) / file.stem)
            shutil.copy(picture.files[0], file.with_suffix(".png"))
