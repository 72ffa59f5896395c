"""Tables of what was converted: which networks convert, and what they reach after it."""

from typing import Any

from torchmg.tables import Table

NAMES = {
    "none": "drawn anew",
    "taylor": "Torch-Pruning, Taylor",
    "magnitude": "Torch-Pruning, magnitude",
    "svd": "low rank",
    "svd on data": "low rank, fitted on data",
    "scratch": "from scratch",
}
CHECKS = ("forward", "backward", "export", "undo")
"""What was tried on a converted network, by the names in the record."""
SHARE = 0.7
"""Of what could be converted; a network of which less was is listed with the reasons."""


def converted(record: dict) -> str:
    """A markdown table, a row per network, with how many meet what was asked and why the others do not."""
    rows = record["rows"]
    lines = [
        "| network | input | sizes | blocks, layers | M parameters | M MACs | converted % | works |",
        "|---|---|---|---:|---:|---:|---:|---|",
    ]
    for row in rows:
        if "share" not in row:
            lines.append(f"| {row['network']} | {_size(row)} | - | - | - | - | - | {row['error']} |")
            continue
        cells = (
            *(row["network"], _size(row), f"{row['group_size']}, {row['coarsest']}"),
            *(f"{row['blocks']}, {row['layers']}", _fall(row, "before", "after", 2)),
            *(_fall(row, "macs_before", "macs_after", 0), f"{100 * row['share']:.1f}", _works(row)),
        )
        lines.append(f"| {' | '.join(cells)} |")
    good = [row for row in rows if row.get("share", 0) >= SHARE and _works(row) == "all"]
    here, libraries = record["environment"], record["libraries"]
    note = (
        f"{len(good)} of {len(rows)} networks: at least {100 * SHARE:.0f} % converted, and all of it works.\n"
        f"torch {here['torch'].partition('+')[0]}, torchvision {libraries['torchvision']}, timm {libraries['timm']}, "
        f"{here['date']}. Made by:"
    )
    rest = [f"- {row['network']}: {_why(row)}" for row in rows if row not in good]
    listed = ["", "The others:", "", *rest] if rest else []
    return "\n".join([*lines, "", note, "", "```", record["command"], "```", *listed])


def _size(row: dict) -> str:
    """The input's size, without the batch."""
    return " x ".join(map(str, row["input"][1:]))


def _fall(row: dict, before: str, after: str, digits: int) -> str:
    """Before and after, in millions."""
    return f"{row[before] / 1e6:,.{digits}f} to {row[after] / 1e6:,.{digits}f}"


def _works(row: dict) -> str:
    """`all`, or what does not."""
    bad = [f"{name}: {row.get(name, 'not reached')}" for name in CHECKS if row.get(name) != "yes"]
    return "; ".join([*bad, *([row["error"]] if "error" in row else [])]) or "all"


def _why(row: dict) -> str:
    """Why a network is not among those that meet what was asked."""
    why = [] if _works(row) == "all" else [_works(row)]
    short = row.get("share", 1) < SHARE
    stays = [s for s in row.get("skips", ()) if short and s["eligible"] and s["share"] >= 0.005]
    why += [f"{100 * s['share']:.0f} % of its parameters stay, because {s['reason']}" for s in stays]
    return "; ".join(why)


def named(method: str) -> str:
    """A method as people call it."""
    start, _, form = method.partition(" ")
    return NAMES.get(method) or f"{NAMES.get(start, start)}, {form}"


def study(record: dict[str, Any]) -> str:
    """A row for each way of making the network small."""
    tuning = record["fine_tuning"]["epochs"]
    columns = (
        "way",
        "times fewer",
        "parameters",
        "M MACs",
        "at once",
        "1 epoch",
        f"{tuning} epochs",
    )
    rows = [
        (
            named(row["method"]), row["ratio"], row["parameters"], round(row["macs"] / 1e6, 1),
            *(None if step == "0" and row["method"].startswith("scratch") else f"{row['accuracy'][step]:.2f}"
              for step in ("0", "1", str(tuning))),
        )
        for row in record["rows"]
    ]  # fmt: skip
    here, dense = record["environment"], record["dense"]
    accuracy = ", ".join(f"{value:.2f} %" for value in dense["accuracy"].values())
    note = (
        f"Accuracy in percent on all test pictures of {record['data']}; the dense network has {accuracy} with "
        f"{dense['parameters']:,} parameters after {record['epochs']} epochs of {record['samples']:,} pictures. "
        f"{here['device']}, torch {here['torch'].partition('+')[0]}, {here['date']}, seed "
        f"{', '.join(dense['accuracy'])}: `{record['command']}`"
    )
    return Table(columns, rows, note=note).markdown()
