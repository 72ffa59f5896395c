"""Numbers that somebody typed where a record or a source file should speak.

What counts as one: in prose, a number before %, "percent" or "points", and every number from 10 to 100 with one or two
decimals (accuracies also stand in lists), unless a unit of something else follows; in a cell of a table a bare number
with one or two decimals; in docstrings and comments a number with decimals before % or "points". What is outside of
generated parts and of markers is looked at; there is no list of exceptions. Where a number is a tolerance or a
definition, it is marked with the source file that has it (`pages.values`); where nothing has it, it is not to be given.
"""

import ast
import io
import re
import tokenize
from pathlib import Path

from pages import parts, values

NUMBER = r"(?<![\w.,^])\d+(?:\.\d+)?"
SHARE = re.compile(rf"{NUMBER}\s*(?:%|percent\b|points\b(?! a side))")
ACCURACY = re.compile(r"(?<![\w.,^-])(?:[1-9]\d|100)\.\d{1,2}(?![\w.])(?!\s*(?:[kMG]\b|ms\b|GFLOP|GB|MB|s\b))")
CELL = re.compile(r"\|[ *]*\d{1,3}\.\d{1,2}(?: *\([\d.]+\))?[ *]*(?=\|)")
IN_CODE = re.compile(r"(?<![\w.^])\d+\.\d+\s*(?:%|percent\b|points\b)")
SPAN = re.compile(r"`[^`\n]*`")


def in_page(text: str) -> list[str]:
    """The typed numbers of a page, each with what stands around it."""
    text = SPAN.sub("", values.without(parts.without(text)))
    found = [match for pattern in (SHARE, ACCURACY, CELL) for match in pattern.finditer(text)]
    return [f"{' '.join(match[0].split())}: ...{_around(text, match)}..." for match in found]


def _around(text: str, match: re.Match[str]) -> str:
    return " ".join(text[max(0, match.start() - 40) : match.end() + 40].split())


def in_module(path: Path) -> list[str]:
    """The docstrings and comments of a module with a typed accuracy."""
    source = path.read_text(encoding="utf-8")
    if not IN_CODE.search(source):
        return []
    texts = [
        node.value.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    ]
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    texts += [token.string for token in tokens if token.type == tokenize.COMMENT]
    return [f"{path.name}: {match[0]}" for text in texts for match in IN_CODE.finditer(text)]
