"""The figures of the papers' tables and of the ablation in docs/images, and the CSV behind each."""

import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from pages.tree import Tree
from torchmg.plot import paper
from torchmg.plot.picture import Picture
from torchmg.plot.printed import PAPERS, table_of
from torchmg.tables import Table

FOLDER = "docs/images"


def tables(tree: Tree) -> dict[Path, str]:
    """File -> CSV of every figure."""
    return {tree.root / FOLDER / f"{name}.csv": rows.csv() for name, (rows, _) in _figures(tree).items()}


def draw(tree: Tree, files: Sequence[Path]) -> None:
    """Draw the figures behind these CSV files anew."""
    found = _figures(tree)
    for file in files:
        with TemporaryDirectory() as folder:
            _, drawn = found[file.stem]
            shutil.copy(drawn(Path(folder) / file.stem).files[0], file.with_suffix(".png"))


def _figures(tree: Tree) -> dict[str, tuple[Table, Callable[[Path], Picture]]]:
    """Name -> the rows behind a figure, and what draws it."""
    found = {f"paper_{name}": (table_of(name, tree.results), partial(paper, name, tree.results)) for name in PAPERS}
    return found | ({"ablation": (tree.ablation.data(), tree.ablation.draw)} if tree.ablation else {})
