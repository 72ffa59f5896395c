"""Numbers in prose: `<!--= EXPRESSION; FORMAT -->91.18<!--/-->`, of which the tool writes what is shown.

An expression is a calculation with + - * / and min, max, mean, std over references in braces:

    {results/lowcost/reach/explicit:test}           score of a run on the test samples; also `train`, `gap`
    {results/digits_resnet20_s*:test}               of several runs, inside of mean, std, min or max
    {benchmarks/queue_parallel:images_per_second.2} any value of a record, by its path
    {benchmarks/convert_study:rows[method=match layers,ratio=4].accuracy.0}   the entry of a list that has these values
    {benchmarks/cpu_layers:rows[*,kernel=3,group_size=4].gflops}              of all such entries, inside of mean, min
    {benchmarks/study_stability:rows[network=full][error 4 bits]}             a key in brackets may hold spaces and dots
    {paper/mgiad-1:MgNet^{A,B}, 20-type:test}       what a paper prints in a row; also `train`, `spread`, `gap`,
                                                    `parameters`, `macs`

A file without a slash lies in the folder that the page named last: `<!-- values: results/lowcost/reach -->`. FORMAT is
Python's, `.2f` unless given. Where a record is not there, or a single one for std, `not run` is shown.

Numbers that are nobody's measurement (tolerances, definitions, counts that a test holds) are marked with the source
file in which they stand, and the tool fails where they do not: `<!--@ tests/paper/test_paper_mgic.py -->2.2<!--/-->`.
"""

import ast
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from statistics import mean, stdev
from typing import Any

from pages.tree import NOT_RUN, Tree
from torchmg.paper import find
from torchmg.train.recipe import Recipe
from torchmg.train.scores import score_of

VALUE = re.compile(r"<!--(?P<kind>[=@]) (?P<what>.*?) -->(?P<shown>.*?)<!--/-->", re.DOTALL)
FOLDER = re.compile(r"<!-- values: (?P<folder>\S+) -->")
REFERENCE = re.compile(r"\{((?:[^{}]|\{[^{}]*\})*)\}")
CODE = ("torchmg/", "tests/", "benchmarks/", "tools/", "examples/")
"""Where a number that is not measured may stand."""
LEFT = re.compile(r"^\s*(?:[-*] |\d+\. )?<!--[=@]", re.MULTILINE)
OPERATORS: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


class MissingRecordError(Exception):
    """A record that an expression needs is not there."""


def _spread(found: Sequence[float]) -> float:
    """Standard deviation, of runs that are several."""
    if len(found) < 2:
        raise MissingRecordError
    return stdev(found)


FUNCTIONS: Mapping[str, Callable[[Sequence[float]], float]] = {"min": min, "max": max, "mean": mean, "std": _spread}


def valued(text: str, tree: Tree) -> str:
    """The page with every value as the records have it.

    Raises:
        ValueError: an expression that cannot be read, a field that a record does not have, a marker at the beginning of
            a line (markdown takes such a line for HTML), or a number that its source file does not have.
    """
    if wrong := LEFT.search(text):
        line = text[wrong.start() :].strip().partition("\n")[0]
        raise ValueError(f"A line must not begin with a marker: {line[:80]}")
    opened, closed = len(re.findall(r"<!--[=@]", text)), text.count("<!--/-->")
    if not opened == closed == len(VALUE.findall(text)):
        raise ValueError(f"{opened} values are opened and {closed} closed.")
    folders = [(match.end(), match["folder"]) for match in FOLDER.finditer(text)]

    def fresh(match: re.Match[str]) -> str:
        folder = next((name for end, name in reversed(folders) if end < match.start()), "")
        head = f"<!--{match['kind']} {match['what']} -->"
        shown = (
            stated(match["what"], match["shown"], tree) if match["kind"] == "@" else value(match["what"], tree, folder)
        )
        return f"{head}{shown}<!--/-->"

    return VALUE.sub(fresh, text)


def without(text: str) -> str:
    """The page without its values."""
    return VALUE.sub("", text)


def stated(source: str, shown: str, tree: Tree) -> str:
    """A number as it stands, if the source file has every number in it."""
    path = tree.root / source
    if not source.startswith(CODE) or path.suffix not in (".py", ".h", ".cpp") or not path.is_file():
        raise ValueError(f"{source} is no source file that a number could come from.")
    code = path.read_text(encoding="utf-8").replace("_", "").replace(",", "")
    for number in re.findall(r"\d[\d,.]*", shown):
        if not re.search(rf"(?<![\d.]){re.escape(number.strip('.,').replace(',', ''))}(?![\d]|\.\d)", code):
            raise ValueError(f"{source} has no {number}.")
    return shown


def value(what: str, tree: Tree, folder: str = "") -> str:
    """What an expression shows."""
    expression, _, form = what.partition(";")
    names: dict[str, Any] = {}

    def named(match: re.Match[str]) -> str:
        name = f"_{len(names)}"
        names[name] = _look_up(match[1], tree, folder)
        return name

    try:
        result = _calculated(ast.parse(REFERENCE.sub(named, expression).strip(), mode="eval").body, names)
    except MissingRecordError:
        return NOT_RUN
    except SyntaxError as error:
        raise ValueError(f"'{what}' is no expression.") from error
    if isinstance(result, list):
        raise ValueError(f"'{what}' names several values; take their mean, min, max or std.")
    form = form.strip() or ("" if isinstance(result, str) else ".2f")
    return format(result, form)


def _calculated(node: ast.AST, names: Mapping[str, Any]) -> Any:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return node.value
    if isinstance(node, ast.Name) and node.id in names:
        return names[node.id]
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        return OPERATORS[type(node.op)](_calculated(node.left, names), _calculated(node.right, names))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS:
        values = [_calculated(argument, names) for argument in node.args]
        flat = [one for part in values for one in (part if isinstance(part, list) else [part])]
        return FUNCTIONS[node.func.id](flat)
    raise ValueError(f"Only + - * / and {', '.join(FUNCTIONS)} over references and numbers; got {ast.unparse(node)}.")


def _look_up(reference: str, tree: Tree, folder: str) -> Any:
    """The value that a reference names; a list where it names several."""
    file, _, path = reference.partition(":")
    if file.startswith("paper/"):
        return _printed(file.removeprefix("paper/"), *path.rsplit(":", 1))
    file = file if "/" in file else f"{folder}/{file}"
    if "*" in file:
        found = sorted(tree.root.glob(f"{file}.json"))
        files = [path.relative_to(tree.root).with_suffix("").as_posix() for path in found]
        if not files:
            raise MissingRecordError
        return [_field(tree.record(one), path, reference) for one in files]
    record = tree.record(file)
    if record is None:
        raise MissingRecordError
    return _field(record, path, reference)


def _field(record: Any, path: str, reference: str) -> Any:
    if path in ("test", "train", "gap"):
        score = score_of(Recipe.from_json(record["recipe"]).data)
        test, train = (score.of(record, split) for split in ("test", "train"))
        return {"test": test, "train": train, "gap": train - test}[path]
    return _followed(record, re.findall(r"\[[^\]]*\]|[^.\[]+", path), reference)


def _followed(found: Any, steps: Sequence[str], reference: str) -> Any:
    for number, step in enumerate(steps):
        try:
            if "=" not in step:
                found = found[_key(step, found)]
            elif step.startswith("[*,"):
                chosen = _matching(found, step[3:-1])
                if not chosen:
                    raise ValueError
                return [_followed(entry, steps[number + 1 :], reference) for entry in chosen]
            else:
                (found,) = _matching(found, step[1:-1])
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ValueError(f"{reference}: no '{step}' there.") from error
    return found


def _key(step: str, holder: Any) -> str | int:
    return int(step) if isinstance(holder, list) else step.strip("[]")


def _matching(entries: Sequence[Mapping[str, Any]], conditions: str) -> list[Any]:
    wanted = dict(condition.split("=", 1) for condition in conditions.split(","))
    return [entry for entry in entries if all(str(entry[key]) == text for key, text in wanted.items())]


def _printed(table: str, label: str, column: str) -> Any:
    rows = [row for row in find(table).rows if row.label == label]
    if len(rows) != 1:
        raise ValueError(f"{table} has {len(rows)} rows '{label}'.")
    if column in ("parameters", "macs"):
        number = getattr(rows[0], column)
        found = number and number.text
    else:
        found = getattr(rows[0].accuracy, column, None)
        found = None if found is None else float(found)
    if found is None:
        raise ValueError(f"{table}, {label}: no {column} is printed.")
    return found
