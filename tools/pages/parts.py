"""Generated parts of pages: what stands between `<!-- NAME: written by tools/results.py -->` and the end marker.

A page says what it wants by the name; a name that no record answers any more leaves `Not run yet.`, never what stood
there before.
"""

import re
from collections.abc import Callable

END = "<!-- end of results -->"
BEGIN = re.compile(r"<!-- ([\w/.-]+): written by tools/results\.py -->")
PART = re.compile(rf"({BEGIN.pattern}\n).*?({END})", re.DOTALL)
EMPTY = "Not run yet."


def names(text: str) -> list[str]:
    """The parts that a page wants, in order.

    Raises:
        ValueError: a part without an end.
    """
    found = [match[2] for match in PART.finditer(text)]
    if found != BEGIN.findall(text):
        raise ValueError(f"One of the parts {', '.join(BEGIN.findall(text))} has no end: {END}")
    return found


def filled(text: str, write: Callable[[str], str]) -> str:
    """The page with every part written anew."""
    names(text)
    return PART.sub(lambda match: f"{match[1]}\n{write(match[2]) or EMPTY}\n\n{match[3]}", text)


def without(text: str) -> str:
    """The page with its parts emptied: what people wrote."""
    return PART.sub(r"\1\3", text)
