"""Which modules look inside their children when they run, such as attention that hands on its layers' weights."""

import dis
import inspect
from collections.abc import Iterator
from functools import lru_cache
from types import CodeType, FunctionType

from torch import nn

INNER = frozenset("weight bias kernel_size stride padding dilation groups".split())
"""Attributes of a dense layer that whatever replaces it has not, or has with another meaning; widths it has."""


@lru_cache(maxsize=4096)
def reads_of(kind: type[nn.Module]) -> frozenset[tuple[str, str]]:
    """(child, attribute) for every `self.child.attribute` with an attribute in `INNER` that its forward comes to.

    Methods and properties of the class that forward uses are followed. Bytecode is read, not source: it is there for
    classes typed at a prompt, too. What goes through `getattr` or another function is not seen.
    """
    found: set[tuple[str, str]] = set()
    seen: set[str] = set()
    open_names = ["forward"]
    while open_names:
        name = open_names.pop()
        if name in seen:
            continue
        seen.add(name)
        for code in _codes(kind, name):
            pairs = set(_pairs(code))
            found |= {pair for pair in pairs if pair[1] in INNER}
            open_names += [attribute for owner, attribute in pairs if owner == "self"]
    return frozenset(found)


def _codes(kind: type, name: str) -> Iterator[CodeType]:
    """The code of a method or property, of the one it overrides where it asks for that, and of functions within."""
    for owner in kind.__mro__[: kind.__mro__.index(nn.Module)]:
        member = vars(owner).get(name)
        member = member.fget if isinstance(member, property) else member
        function = inspect.unwrap(member) if callable(member) else None
        if not isinstance(function, FunctionType):
            continue
        yield from _nested(function.__code__)
        if "super" not in function.__code__.co_names:
            return


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)


def _pairs(code: CodeType) -> Iterator[tuple[str, str]]:
    """(name, attribute) of every `name.attribute`, where a name is an attribute itself or a variable made from one.

    Items and elements go by the name of their container: `self.layers[0].weight` and
    `for layer in self.layers: layer.weight` both give ("layers", "weight").
    """
    variables = {"self": "self"}
    # What the last value on the stack came from, and the value below it, which an index is taken of.
    last, below = "", ""
    for step in dis.get_instructions(code):
        kind = step.opname
        names = [str(name) for name in (step.argval if isinstance(step.argval, tuple) else (step.argval,))]
        if kind in {"LOAD_ATTR", "LOAD_METHOD"}:
            if last:
                yield last, names[0]
            last = names[0]
        elif kind.startswith("STORE_FAST"):
            variables[names[0]] = last
            last = variables.get(names[-1], "") if kind.endswith("LOAD_FAST") else ""
        elif kind.startswith(("LOAD_FAST", "LOAD_DEREF")):
            for name in names:
                below, last = last, variables.get(name, "")
        elif kind.startswith(("LOAD_CONST", "LOAD_SMALL_INT")):
            below, last = last, ""
        elif kind == "BINARY_SUBSCR" or (kind == "BINARY_OP" and step.argrepr == "[]"):
            last = below
        elif kind not in {"GET_ITER", "FOR_ITER", "CACHE", "NOP", "RESUME"}:
            last = ""
