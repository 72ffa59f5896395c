"""Tables of runs: the short one of README.md, those beside no row of a paper, experiments; and the commands of all."""

from collections.abc import Mapping, Sequence
from typing import Any

from pages.tree import Tree
from torchmg.paper import TABLES
from torchmg.paper.measured import Measured, of_row
from torchmg.paper.rows import Accuracy
from torchmg.paper.show import ends, mean_and_spread
from torchmg.tables import Table
from torchmg.train.recipe import BASES
from torchmg.train.scores import score_of


def short(tree: Tree) -> str:
    """A line a model and data set.

    Of several options or lengths it is the longest run, then the one with most seeds, then the smallest; never the
    best, which would be picking on the test set.
    """
    chosen: dict[tuple[str, str], Measured] = {}
    for one in sorted(tree.results, key=lambda m: (m.recipe.subset > 0, -m.recipe.epochs, -len(m.test), m.parameters)):
        chosen.setdefault((one.recipe.data, one.recipe.model), one)
    columns = ("data", "model", "parameters", "MACs", "epochs", "seeds", "score", "train %", "test %", "printed test %")
    rows = []
    for one in _ordered(chosen.values()):
        printed = beside(one, tree)[1]
        scores = (score_of(one.recipe.data).label, mean_and_spread(one.train), mean_and_spread(one.test))
        counted = (one.parameters, one.macs, epochs(one, tree), len(one.test))
        rows.append((one.recipe.data, model(one), *counted, *scores, None if printed is None else str(printed.test)))
    note = (
        "Means over seeds (standard deviation) after the last epoch, both splits in evaluation mode. Where fewer "
        "epochs ran than were to run, such as `12 of 400`, the run was shortened and reproduces nothing."
    )
    return Table(columns, rows, note=note).markdown() if rows else ""


def others(tree: Tree) -> str:
    """The runs that stand beside no row of a paper on the page."""
    shown = [found for table in TABLES.values() for row in table.rows if (found := of_row(row, table, tree.results))]
    columns = (
        *("data", "model", "parameters", "MACs", "epochs", "seeds", "score", "train %", "test %", "gap"),
        *("device", "s a run", "versions", "date"),
    )
    rows = []
    for one in _ordered(one for one in tree.results if not any(one is other for other in shown)):
        scores = (
            score_of(one.recipe.data).label,
            mean_and_spread(one.train),
            mean_and_spread(one.test),
            f"{one.gap:.2f}",
        )
        counted = (one.parameters, one.macs, epochs(one, tree), len(one.test))
        rows.append((one.recipe.data, model(one), *counted, *scores, *where(one)))
    return Table(columns, rows).markdown() if rows else ""


def commands(tree: Tree) -> str:
    """The command of every run, in the order of their data."""
    lines = [run.command for one in _ordered(tree.results) for run in one.runs]
    return "\n".join(["```", *lines, "```"]) if lines else ""


def experiment(tree: Tree, folder: str) -> str:
    """Runs on the same data by the same recipe, with the command of the first below."""
    found = sorted(tree.measured(folder), key=lambda one: -(one.parameters or 0))
    if not found:
        return ""
    first = found[0]
    alike = [name for name, value in _options(first) if all((name, value) in _options(one) for one in found)]
    label = score_of(first.recipe.data).label
    columns = ("model", "parameters", "MACs", f"train {label} %", f"test {label} %")
    rows = [
        (model(one, alike), one.parameters, one.macs, mean_and_spread(one.train), mean_and_spread(one.test))
        for one in found
    ]
    dates, seeds = (sorted({value(run) for one in found for run in one.runs}) for value in (_date, _seed))
    devices, versions = (sorted({s for one in found for s in one.said(what)}) for what in ("device", "versions"))
    note = (
        f"{first.recipe.data}, epochs: {epochs(first, tree)}; {'; '.join(devices)}; {'; '.join(versions)}; "
        f"{' to '.join(ends(dates))}; seed {', '.join(map(str, seeds))}. The first row is"
    )
    return f"{Table(columns, rows, note=note).markdown()}\n\n```\n{first.runs[0].command}\n```"


def experiments(tree: Tree) -> str:
    """A list of the experiments, each with its page."""
    lines = []
    for folder in tree.experiments():
        _, paper, name = folder.split("/")
        runs = tree.measured(folder)
        lines.append(f"- [{name.replace('_', ' ')}](papers/{paper}.md): {len(runs)} networks, `{folder}`")
    return "\n".join(lines)


def beside(one: Measured, tree: Tree) -> tuple[Mapping[str, Any] | None, Accuracy | None]:
    """How the paper trained that the runs belong to, and what it prints for their row."""
    for table in TABLES.values():
        for row in table.rows:
            if of_row(row, table, [one]):
                return table.training, row.accuracy
    return None, None


def epochs(one: Measured, tree: Tree) -> str:
    """How many, and of how many where the run was shorter than the paper's, or than our recipe for its data."""
    training, _ = beside(one, tree)
    whole = (training or {}).get("epochs", BASES[one.recipe.data].epochs)
    shown = f"{one.recipe.epochs} of {whole}" if one.recipe.epochs < whole else str(one.recipe.epochs)
    return f"{shown}, {one.recipe.subset:,} samples" if one.recipe.subset else shown


def model(one: Measured, without: Sequence[str] = ()) -> str:
    """The model with the options that were set, but for those that go without saying."""
    given = [f"{name}={value}" for name, value in _options(one) if name not in without]
    return ", ".join([one.recipe.model, *given])


def where(one: Measured) -> tuple[str, float | None, str, str]:
    """Device, seconds of a run, versions and dates."""
    seconds = None if one.seconds is None else round(one.seconds)
    return "; ".join(one.said("device")), seconds, "; ".join(one.said("versions")), " to ".join(ends(one.said("date")))


def _options(one: Measured) -> list[tuple[str, object]]:
    return list(one.recipe.options.given().items())


def _ordered(found: Any) -> list[Measured]:
    return sorted(found, key=lambda one: (one.recipe.data, -(one.parameters or 0)))


def _date(run: Any) -> str:
    return run.date


def _seed(run: Any) -> int:
    return run.seed
