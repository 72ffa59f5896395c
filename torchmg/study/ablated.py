"""What the study of the hierarchy found: rows, tables and the picture, from records alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from torchmg.plot.dots import Course, Dot, draw_dots
from torchmg.plot.picture import Picture
from torchmg.study.members import MEMBERS, QUESTIONS, REFERENCE, UNIT
from torchmg.study.plan import SEEDED, Planned, planned_as, read_plan
from torchmg.tables import Cell, Table, deviation, plus_minus
from torchmg.train.records import read_record
from torchmg.train.scores import score_of

PANELS = {"parameters": "at equal parameters", "time": "at equal time of training"}
"""Budget -> heading of its panel."""
NOTE = (
    "equal: what a network shares with MGIC in the first row: base width, parameters, or the time of a training step. "
    "All have the same recipe, and as many epochs where no others are named. Accuracies of the last epoch, both "
    "splits in evaluation mode, mean ± standard deviation over seeds. step / MGIC: time of a step over the first "
    "row's, in turns, one thread."
)


@dataclass(frozen=True)
class Ablated:
    """One network of the study: what was planned, and what its runs reached."""

    run: Planned
    macs: int
    train: tuple[float, ...]
    """Accuracies in percent, a seed each."""
    test: tuple[float, ...]

    @property
    def says(self) -> str:
        """What it is, for people."""
        says = MEMBERS[self.run.member].says
        return says if self.run.length == 1 else f"{says}, {self.run.length} times the epochs"


@dataclass(frozen=True)
class Ablation:
    """All networks of a study, by question, and where they come from."""

    rows: tuple[Ablated, ...]
    title: str
    epochs: int
    """Of a run of length 1."""

    def table(self) -> Table:
        """For people."""
        own = next((row for row in self.rows if row.run.member == REFERENCE.name), None)
        cells: list[list[Cell]] = []
        for row in self.rows:
            run = row.run
            ratio = None if own is None else round(run.parameters / own.run.parameters, 3)
            question = QUESTIONS[MEMBERS[run.member].question]
            cells.append(
                [
                    *("" if cells and question in (line[0] for line in cells) else question, row.says),
                    *(run.budget, run.base, run.parameters, ratio, row.macs, run.step),
                    *(plus_minus(row.train), plus_minus(row.test), len(row.test)),
                ]
            )
        columns = ["question", "network", "equal", "base width", "parameters", "/ MGIC", "MACs", "step / MGIC"]
        return Table([*columns, "train %", "test %", "seeds"], cells, self.title, NOTE)

    def data(self) -> Table:
        """For machines, and behind the picture: numbers unrounded."""
        columns = "run member question budget length base parameters macs step seeds"
        cells = [
            (
                *(r.run.name, r.run.member, MEMBERS[r.run.member].question, r.run.budget, r.run.length, r.run.base),
                *(r.run.parameters, r.macs, r.run.step, len(r.test)),
                *(mean(r.train), deviation(r.train), mean(r.test), deviation(r.test)),
            )
            for r in self.rows
        ]
        return Table([*columns.split(), "train_mean", "train_std", "test_mean", "test_std"], cells, self.title)

    def draw(self, stem: Path) -> Picture:
        """Dots of every question in a panel for each budget, and the course of the pair that trains longer.

        A network of the reference's own width is in both panels, hollow: it has about as many parameters and takes
        about as long, which the table says exactly.

        Raises:
            MissingExtraError: matplotlib is not installed.
            UsageError: there is nothing to draw, or files that cannot be written.
        """
        dots = []
        for row in self.rows:
            question = MEMBERS[row.run.member].question
            if question == "training":
                continue
            for budget, panel in PANELS.items():
                if row.run.budget in ("width", budget):
                    hollow = row.run.budget == "width" and row.run.member != REFERENCE.name
                    score = mean(row.test), deviation(row.test)
                    dots.append(Dot(QUESTIONS[question], row.says, panel, *score, hollow=hollow))
        axis = "test accuracy (%)"
        longer, heading = self._courses(), QUESTIONS["training"]
        how: dict[str, Any] = {"axis": axis, "title": self.title, "rows": self.data(), "courses": longer}
        return draw_dots(
            dots, stem, panels=list(PANELS.values()), reference=REFERENCE.says, course_title=heading, **how
        )

    def _courses(self) -> list[Course]:
        found: dict[str, list[Ablated]] = {}
        for row in self.rows:
            if MEMBERS[row.run.member].question == "training":
                found.setdefault(row.run.member, []).append(row)
        return [
            Course(
                MEMBERS[name].says,
                [row.run.length * self.epochs for row in rows],
                [mean(row.test) for row in rows],
                [deviation(row.test) for row in rows],
            )
            for name, rows in found.items()
        ]


def read_ablation(folder: Path, plan: Mapping[str, Planned]) -> Ablation | None:
    """What the records `<run>_s<seed>.json` in a folder say; None if there are none.

    Args:
        folder: of the records; files of other names are passed over.
        plan: where the times of steps come from; a run that is not in it has none.

    Raises:
        CheckpointError: a damaged record.
    """
    records: dict[str, dict[int, dict[str, Any]]] = {}
    for file in sorted(folder.glob("*.json")):
        found = SEEDED.fullmatch(file.stem)
        if found is not None and planned_as(found["run"]) is not None:
            records.setdefault(found["run"], {})[int(found["seed"])] = read_record(file)[1]
    return ablation(records, plan) if records else None


def recorded(records: Path, plan: Path) -> Ablation | None:
    """What the records in a folder say; None if there are none.

    Args:
        records: folder of the records.
        plan: the study's `plan.json`, which may be missing: then no times of steps are given.
    """
    return read_ablation(records, read_plan(plan) if plan.is_file() else {})


def ablation(records: Mapping[str, Mapping[int, Mapping[str, Any]]], plan: Mapping[str, Planned]) -> Ablation:
    """What records say, by name of the run and seed; at least one."""
    rows = [
        _row(name, [by_seed[seed] for seed in sorted(by_seed)], plan.get(name)) for name, by_seed in records.items()
    ]
    order = {name: place for place, name in enumerate(MEMBERS)}
    rows.sort(key=lambda row: (order[row.run.member], row.run.budget, row.run.length))
    name = next(iter(records))
    recipe = next(iter(records[name].values()))["recipe"]
    epochs = recipe["epochs"] // next(row.run.length for row in rows if row.run.name == name)
    seeds = sorted({len(row.test) for row in rows})
    counted = f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else str(seeds[0])
    samples = f" of {recipe['subset']:,} samples" if recipe["subset"] else ""
    title = f"{recipe['data']}, {epochs} epochs{samples}, {counted} seed{'s' * (counted != '1')}"
    return Ablation(tuple(rows), title, epochs)


def _row(name: str, records: Sequence[Mapping[str, Any]], planned: Planned | None) -> Ablated:
    found, first = planned_as(name), records[0]
    assert found is not None
    score, base = score_of(first["recipe"]["data"]), UNIT * first["recipe"]["options"]["width"]
    step = None if planned is None else planned.step
    run = Planned(found.member, found.budget, found.length, base, first["parameters"], step)
    train, test = (tuple(score.of(record, split) for record in records) for split in ("train", "test"))
    return Ablated(run, first["macs"], train, test)
