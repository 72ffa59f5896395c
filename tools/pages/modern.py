"""The recipe that a search found beside the paper's, on the same networks for the same number of epochs."""

from pages.runs import model, where
from pages.tree import Tree
from torchmg.paper.measured import Measured
from torchmg.paper.show import mean_and_spread
from torchmg.tables import Table

FOUND = "modern_"
"""How the recipes begin that searches found."""


def both(tree: Tree) -> str:
    """Two rows for each network that was trained with both recipes; the mirror image in a column of its own."""
    rows = []
    for ours in tree.results:
        if ours.recipe.base.startswith(FOUND):
            twins = [one for one in tree.results if _alike(one, ours) and not one.recipe.base.startswith(FOUND)]
            rows += [_row(one, tree) for one in (*twins, ours)]
    columns = (
        *("model", "recipe", "parameters", "epochs", "seeds", "train %", "test %", "gap", "test % with mirror image"),
        *("device", "s a run", "versions", "date"),
    )
    return Table(columns, rows).markdown() if rows else ""


def _alike(one: Measured, other: Measured) -> bool:
    """Whether they are the same network, trained on the same samples equally long."""
    return all(
        getattr(one.recipe, name) == getattr(other.recipe, name)
        for name in ("model", "options", "data", "epochs", "subset")
    )


def _row(one: Measured, tree: Tree) -> tuple[object, ...]:
    records = [tree.record(f"results/{run.file.removesuffix('.json')}") for run in one.runs]
    mirrored = [record["test_flip_accuracy"] for record in records if "test_flip_accuracy" in record]
    return (
        *(model(one), one.recipe.base, one.parameters, one.recipe.epochs, len(one.test)),
        *(mean_and_spread(one.train), mean_and_spread(one.test), f"{one.gap:.2f}"),
        mean_and_spread(mirrored) if mirrored else None,
        *where(one),
    )
