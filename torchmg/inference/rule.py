"""What rules are made of: the table of them, and how they read a node's arguments."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, fx

from torchmg.inference.fold import Folder, Rule

RULES: dict[Any, Rule] = {}
"""For each ATen operation what it is in a folded network; filled by the modules of rules."""


def rule(*targets: Any) -> Callable[[Rule], Rule]:
    """Make the decorated function the rule of these operations."""

    def keep(made: Rule) -> Rule:
        RULES.update(dict.fromkeys(targets, made))
        return made

    return keep


def arguments(node: fx.Node) -> dict[str, Any]:
    """All arguments by their names in the schema, defaults filled in."""
    named = {}
    for place, argument in enumerate(node.target._schema.arguments):  # pyright: ignore
        given = node.args[place] if place < len(node.args) else node.kwargs.get(argument.name, argument.default_value)
        named[argument.name] = given
    return named


def pair(value: Any) -> tuple[int, int]:
    """One number or two as two."""
    if isinstance(value, int):
        return value, value
    return (value[0], value[-1])


def constant(folder: Folder, node: Any) -> Tensor | None:
    """A constant in float64."""
    known = folder.known.get(node) if isinstance(node, fx.Node) else None
    return known.double() if isinstance(known, Tensor) and known.is_floating_point() else None


def shape_of(folder: Folder, value: int) -> tuple[int, ...]:
    """The shape of a value that is known to have one."""
    shape = folder.shapes[value]
    assert shape is not None
    return shape
