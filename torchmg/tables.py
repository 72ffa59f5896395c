"""One table type for everything that is printed, and the same rows as markdown, CSV and JSON."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Cell = str | int | float | None


@dataclass(frozen=True)
class Table:
    """Rows under named columns, with a line above (what it shows) and below (how it was counted)."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    title: str = ""
    note: str = ""

    def __str__(self) -> str:
        from rich import box
        from rich.console import Console
        from rich.table import Table as RichTable

        numeric = [all(not isinstance(row[i], str) for row in self.rows) for i in range(len(self.columns))]
        table = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        for column, right in zip(self.columns, numeric, strict=True):
            table.add_column(column, justify="right" if right else "left", no_wrap=True)
        for row in self.rows:
            table.add_row(*map(show, row))
        # A fixed width: text that is piped or stored must not depend on somebody's terminal.
        console = Console(file=io.StringIO(), width=500, color_system=None, markup=False, highlight=False)
        console.print(table)
        assert isinstance(console.file, io.StringIO)
        body = "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())
        return "\n".join(part for part in (self.title, body, self.note) if part)

    def markdown(self) -> str:
        """As GitHub's markdown: the title in bold, numbers to the right, every line of the note on its own."""
        numeric = [all(not isinstance(row[i], str) for row in self.rows) for i in range(len(self.columns))]
        lines = [self.columns, ["---:" if right else "---" for right in numeric]]
        lines += [[show(cell) for cell in row] for row in self.rows]
        body = "\n".join(f"| {' | '.join(map(_in_a_cell, line))} |" for line in lines) if self.columns else ""
        title = f"**{self.title}**" if self.title else ""
        return "\n\n".join(part for part in (title, body, *self.note.splitlines()) if part)

    def csv(self) -> str:
        """The rows as comma-separated values under a header line; missing values are empty."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(["" if cell is None else cell for cell in row] for row in self.rows)
        return out.getvalue()

    def json(self, **more: Any) -> str:
        """`{"title", "note", ..., "rows": [{column: value}]}`; `more` adds keys."""
        rows = [dict(zip(self.columns, row, strict=True)) for row in self.rows]
        return json.dumps({"title": self.title, "note": self.note, **more, "rows": rows}, indent=2)


def deviation(values: Sequence[float]) -> float | None:
    """Standard deviation, over seeds or folds, where there are several."""
    from statistics import stdev

    return stdev(values) if len(values) > 1 else None


def plus_minus(values: Sequence[float], mean_format: str = ".2f", spread_format: str = ".2f") -> str:
    """Mean and deviation for people: `92.44 ± 0.16`; of a single value that alone."""
    found = deviation(values)
    return f"{sum(values) / len(values):{mean_format}}" + ("" if found is None else f" ± {found:{spread_format}}")


def _in_a_cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def show(cell: Cell) -> str:
    """A cell for people: thousands separated, floats to four digits, `-` for what does not exist."""
    if cell is None:
        return "-"
    if isinstance(cell, bool | str):
        return str(cell)
    return f"{cell:,}" if isinstance(cell, int) else f"{cell:.4g}"
