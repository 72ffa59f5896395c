"""One line of the report."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "absent", "warning", "broken"]
"""`absent`: something optional that can be added; `warning`: works, but not as well as it could; `broken`: does not."""


@dataclass(frozen=True)
class Finding:
    """What was looked at, what was found, and what to do about it."""

    area: str
    what: str
    status: Status
    found: str
    advice: str = ""
