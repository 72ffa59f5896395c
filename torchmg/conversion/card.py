"""The card of an archive: what the network is, what it costs, and how to load it. Only facts that are given."""

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
    header = {"license": license, "library_name": "torchmg", "tags": [*dict.fromkeys(("torchmg", "multigrid", *tags))]}
    header["base_model"] = base_model
    # A JSON value is a YAML value, whatever signs it has.
    lines = ["---", *(f"{key}: {json.dumps(value)}" for key, value in header.items() if value is not None), "---", ""]
    lines += [f"# {name}", ""]
    if what:
        lines += [what, ""]
    lines += [
        *_costs(parameters, macs, input),
        *_scores(scores or {}),
        "## Load",
        "",
        "```python",
        "import torchmg",
        "",
    ]
    builds = base is not None and ".py:" not in base
    given = "" if builds else ", model"
    if not builds:
        lines.append(f"model = ...  # {'the network that was converted' if base is None else base}")
    lines += [f"net = torchmg.from_pretrained({json.dumps(repo or 'FOLDER')}{given})", "```", ""]
    if builds:
        lines += [f"The base model is `{base}`.", ""]
    if notes:
        lines += [notes, ""]
    return "\n".join(lines)


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
