"""A paper's table with our counts and our runs beside it: for people, and with plain values for programs."""

from collections.abc import Sequence
from statistics import mean

from torchmg.paper.counts import Counts, by_the_text, counts
from torchmg.paper.difference import difference
from torchmg.paper.measured import NOT_YET, Measured, measurable, of_row
from torchmg.paper.rows import NOT_BUILT, Network, PaperTable, Row, Term
from torchmg.tables import Cell, Table, deviation

ADDED: dict[str, Term] = {
    "+ transfers": "first-level transfers, never called",
    "+ norms": "unused norm pair per level",
    "- rest": "left out by the rule of the released code",
}
"""Heading -> what the published counts hold besides ours, or leave out."""
CONVENTION = "effective: parameters of our model; as published: what its source would count ({})."
TEXT = "by the text's rules"
READ = f"{TEXT}: parameters with --preset paper, where the preset of ours may be another that comes nearer."
LEGEND = (
    "gap: train minus test accuracy; (in brackets): standard deviation over runs; difference: ours minus printed, "
    "where a run that was shortened compares with nothing. "
    "A percentage in a verdict says how far ours is from the printed number."
)


def for_people(table: PaperTable, results: Sequence[Measured]) -> Table:
    """One table with its notes numbered below; columns that nothing stands in are left out."""
    notes = list(dict.fromkeys(note for row in table.rows for note in _notes(row)))
    lines = []
    for row in table.rows:
        numbers = " ".join(f"[{notes.index(note) + 1}]" for note in _notes(row))
        cells = {**_printed_and_counted(row), **_accuracies(row, table, results)}
        lines.append({"configuration": row.label, **cells, "note": numbers or None})
    columns = [column for column in (lines[0] if lines else ()) if any(line[column] is not None for line in lines)]
    added = [f"{heading}: {term}" for heading, term in ADDED.items() if heading in columns]
    if not added and "as published" in columns:
        columns.remove("as published")
    below = [table.note, *(f"[{number}] {note}" for number, note in enumerate(notes, 1))]
    below += [CONVENTION.format("; ".join(added))] if added else []
    below += [READ] if TEXT in columns else []
    below += [LEGEND] if table.built else []
    return Table(
        columns,
        [[line[column] for column in columns] for line in lines],
        f"{table.source} ({table.name}): {table.title}",
        "\n".join(line for line in below if line),
    )


def for_programs(tables: Sequence[PaperTable], results: Sequence[Measured]) -> Table:
    """The rows of all tables under the same columns, numbers as numbers; None for what does not exist.

    What is said of a whole table, such as why it has no rows, stands in the note.
    """
    rows = [_values(row, table, results) for table in tables for row in table.rows]
    columns = list(rows[0]) if rows else ["table", "source", "configuration"]
    note = "\n".join([*(f"{table.source}: {table.note}" for table in tables if table.note), LEGEND])
    return Table(columns, [list(row.values()) for row in rows], "Tables of papers", note)


def _notes(row: Row) -> list[str]:
    repeated = f"The row of {row.repeats}, printed again." if row.repeats else ""
    reasons = [f"Misprint: {row.misprint}" if row.misprint else "", row.departs, row.note, repeated]
    return [reason for reason in reasons if reason]


def _printed_and_counted(row: Row) -> dict[str, Cell]:
    ours = counts(row)
    published, macs = (ours.published, ours.macs) if ours else (None, None)
    return {
        "ours": row.ours.command() if isinstance(row.ours, Network) else None,
        "printed": row.parameters.text,
        "effective": ours.effective if ours else None,
        **dict(zip(ADDED, _added(ours), strict=True)),
        "as published": published,
        "verdict": row.verdict(published),
        TEXT: by_the_text(row),
        "MACs printed": row.macs.text if row.macs else None,
        "our MACs": macs,
        "verdict on MACs": row.verdict_of_macs(macs),
    }


def _added(ours: Counts | None) -> list[int | None]:
    return [ours.terms.get(term) if ours else None for term in ADDED.values()]


def _accuracies(row: Row, table: PaperTable, results: Sequence[Measured]) -> dict[str, Cell]:
    """Printed and measured, as text in the digits of the paper and in two decimals."""
    printed, run = row.accuracy, of_row(row, table, results)
    cells: dict[str, Cell] = dict.fromkeys(
        ("test %", "train %", "gap", "our test %", "our train %", "our gap", "difference")
    )
    if printed is not None:
        cells["test %"] = f"{printed.test}" if printed.spread is None else f"{printed.test} ({printed.spread})"
        cells["train %"] = None if printed.train is None else str(printed.train)
        cells["gap"] = None if printed.gap is None else str(printed.gap)
    if run is not None:
        trained = [*run.differences(table.training), *([f"{len(run.test)} seeds"] if len(run.test) > 1 else [])]
        cells["our test %"] = mean_and_spread(run.test) + (f" ({', '.join(trained)})" if trained else "")
        cells["our train %"], cells["our gap"] = mean_and_spread(run.train), f"{run.gap:.2f}"
    elif measurable(row):
        cells["our test %"] = NOT_YET
    if apart := difference(printed, run, table.training):
        cells["difference"] = f"{apart.points:+.2f}, {apart.verdict}"
    return cells


def mean_and_spread(values: Sequence[float]) -> str:
    """Such as `92.44 (0.16)`; of a single run the value alone."""
    found = deviation(values)
    return f"{mean(values):.2f}" + ("" if found is None else f" ({found:.2f})")


def ends(dates: Sequence[str]) -> tuple[str, ...]:
    """The first and the last of sorted dates; one where they are the same."""
    return tuple(dict.fromkeys((dates[0], dates[-1]))) if dates else ()


def _values(row: Row, table: PaperTable, results: Sequence[Measured]) -> dict[str, Cell]:
    ours, run, printed = counts(row), of_row(row, table, results), row.accuracy
    apart = difference(printed, run, table.training)
    network = row.ours if isinstance(row.ours, Network) else None
    transfers, norms, left_out = _added(ours)
    return {
        "table": table.name,
        "source": table.source,
        "configuration": row.label,
        "model": network.command() if network else (NOT_BUILT if row.ours is None else None),
        "data": network.data if network else None,
        "printed": row.parameters.text,
        "printed_parameters": row.parameters.value,
        "effective": ours.effective if ours else None,
        "first_level_transfers": transfers,
        "unused_norms": norms,
        "left_out": left_out,
        "published_convention": ours.published if ours else None,
        "verdict": row.verdict(ours.published if ours else None),
        "by_the_text": by_the_text(row),
        "printed_macs": row.macs.value if row.macs else None,
        "macs": ours.macs if ours else None,
        "macs_verdict": row.verdict_of_macs(ours.macs if ours else None),
        **{
            f"printed_{name}": None if value is None else float(value)
            for name, value in (
                ("test", printed and printed.test),
                ("test_std", printed and printed.spread),
                ("train", printed and printed.train),
                ("gap", printed and printed.gap),
            )
        },
        "test": mean(run.test) if run else None,
        "test_std": deviation(run.test) if run else None,
        "train": mean(run.train) if run else None,
        "train_std": deviation(run.train) if run else None,
        "gap": run.gap if run else None,
        "seeds": len(run.test) if run else None,
        "difference": apart.points if apart else None,
        "difference_limit": apart.limit if apart else None,
        "difference_verdict": apart.verdict if apart else None,
        "run_parameters": run.parameters if run else None,
        "run_macs": run.macs if run else None,
        "training": ", ".join(run.differences(table.training)) if run else None,
        "augment": run.recipe.augment if run else None,
        "seconds": run.seconds if run else None,
        "devices": "; ".join(run.said("device")) if run else None,
        "dates": " to ".join(ends(run.said("date"))) if run else None,
        "versions": "; ".join(run.said("versions")) if run else None,
        "records": " ".join(one.file for one in run.runs) if run else None,
        "repeats": row.repeats or None,
        "note": " ".join(_notes(row)) or None,
    }
