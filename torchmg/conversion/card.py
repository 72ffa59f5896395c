"""Cards: markdown that says what a network is, under a header that the Hugging Face Hub reads. Only given facts.

`model_card` is that of an archive; `torchmg.card` makes those of trained runs of the same parts.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torchmg.tables import Table


class Costs(NamedTuple):
    """A quantity of the base model and of the converted one."""

    before: int
    after: int


def model_card(
    name: str,
    *,
    repo: str | None = None,
    license: str | None = None,  # noqa: A002 (the Hub's name)
    base: str | None = None,
    base_model: str | None = None,
    what: str = "",
    parameters: Costs | None = None,
    macs: Costs | None = None,
    input: Sequence[int] = (),  # noqa: A002 (as in count)
    scores: Mapping[str, str | float] | None = None,
    tags: Sequence[str] = (),
    notes: str = "",
) -> str:
    """Markdown with a header that the Hugging Face Hub reads.

    Args:
        name: the heading.
        repo: where it will lie, `user/name` or a folder; for the lines that load it.
        license: its identifier on the Hub, such as `apache-2.0`; that of the base model's weights binds.
        base: the model that was converted, as `build` takes it; None for one without a name.
        base_model: repository of the weights that the conversion started from, if they are on the Hub.
        what: what was converted, and to what.
        parameters: unique ones, before and after.
        macs: multiply-accumulates of one forward pass for one sample of `input`, before and after.
        input: shape of one sample.
        scores: what was measured -> value.
        tags: for the Hub; `torchmg` and `multigrid` always stand first.
        notes: closing text, such as how it was trained.

    Returns:
        The text. What is not given is not mentioned.
    """
    lines = [*header(tags, license=license, base_model=base_model), f"# {name}", ""]
    if what:
        lines += [what, ""]
    lines += [
        *_costs(parameters, macs, input),
        *_scores(scores or {}),
    ]
    builds = base is not None and ".py:" not in base
    given = "" if builds else ", model"
    code = [f"net = torchmg.from_pretrained({json.dumps(repo or 'FOLDER')}{given})"]
    if not builds:
        code.insert(0, f"model = ...  # {'the network that was converted' if base is None else base}")
    lines += loading(["import torchmg", "", *code])
    if builds:
        lines += [f"The base model is `{base}`.", ""]
    if notes:
        lines += [notes, ""]
    return "\n".join(lines)


def header(tags: Sequence[str] = (), *, license: str | None = None, **fields: Any) -> list[str]:  # noqa: A002
    """The lines that the Hub reads, at the top of a card.

    Args:
        tags: behind `torchmg` and `multigrid`, which always stand first.
        license: as in `model_card`.
        **fields: others, such as `base_model`; those that are None are left out.
    """
    values = {"license": license, "library_name": "torchmg", "tags": [*dict.fromkeys(("torchmg", "multigrid", *tags))]}
    values |= fields
    # A JSON value is a YAML value, whatever signs it has.
    return ["---", *(f"{key}: {json.dumps(value)}" for key, value in values.items() if value is not None), "---", ""]


def loading(code: Sequence[str]) -> list[str]:
    """The section on how to load the network, with these lines of Python."""
    return ["## Load", "", "```python", *code, "```", ""]


def _costs(parameters: Costs | None, macs: Costs | None, size: Sequence[int]) -> list[str]:
    label = f"MACs, one sample of {'x'.join(map(str, size))}" if size else "MACs"
    rows: list[list[Any]] = [
        [label, costs.before, costs.after, f"{costs.after / costs.before:.3f}" if costs.before else "-"]
        for label, costs in (("parameters", parameters), (label, macs))
        if costs is not None
    ]
    return [Table(["", "before", "after", "after / before"], rows).markdown(), ""] if rows else []


def _scores(scores: Mapping[str, str | float]) -> list[str]:
    return [Table(["measured", "value"], [list(item) for item in scores.items()]).markdown(), ""] if scores else []
