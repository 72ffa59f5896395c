"""Where a command's table goes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchmg.errors import UsageError
from torchmg.tables import Table


@dataclass(frozen=True)
class Output:
    """How to give the result."""

    json: bool = False
    """Print JSON instead of a table."""
    csv: Path | None = None
    """Also write the rows to this file as CSV."""

    def give(self, table: Table, data: Table | None = None, **more: Any) -> None:
        """Print `table`; machines get `data` (default: the same), with `more` added to the JSON."""
        self.give_text(str(table), data or table, **more)

    def give_text(self, text: str, data: Table, **more: Any) -> None:
        """Print `text`; machines get `data`, with `more` added to the JSON."""
        if self.csv is not None:
            try:
                self.csv.write_text(data.csv())
            except OSError as error:
                raise UsageError(f"{self.csv} cannot be written: {error.strerror}.") from error
        print(data.json(**more) if self.json else text)
