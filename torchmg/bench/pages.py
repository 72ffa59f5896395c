"""Markdown tables of a page from the records of the scripts in benchmarks/."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torchmg.bench.gpu_pages import GPU_PAGES
from torchmg.bench.script import Target, targets_table
from torchmg.errors import DataError
from torchmg.tables import Cell, Table

Record = Mapping[str, Any]
Row = Mapping[str, Any]


def checked(record: Record, name: str) -> Record:
    """The record of one script, unless it was made with --quick.

    Raises:
        DataError: it says nothing.
    """
    if record["quick"]:
        raise DataError(f"benchmarks/{name}.json was made with --quick and says nothing; run the script without it.")
    return record


def all_targets(records: Sequence[Record]) -> str:
    """Every target of all records."""
    rows = [{k: v for k, v in row.items() if k != "met"} for record in records for row in record["targets"]]
    return targets_table([Target(**row) for row in rows]).markdown()


def peaks(record: Record) -> str:
    """Ceilings by the number of threads."""
    sizes = list(record["peaks"][0]["copy"])
    columns = ("threads", "matrix product, GFLOP/s", *(f"copy of {size} MiB, GB/s" for size in sizes))
    rows = [(p["threads"], p["gflops"], *(p["copy"][size] for size in sizes)) for p in record["peaks"]]
    return _page(record, columns, rows)


def layers(record: Record) -> str:
    """A row for each layer but for its group size, which makes the columns."""
    groups = sorted({row["group_size"] for row in record["rows"]})
    columns = ("layer", "channels, size", "batch", "threads", *(f"group {group}" for group in groups))
    lines: dict[tuple[Cell, ...], dict[int, str]] = {}
    for r in record["rows"]:
        place = (f"{r['kernel']}x{r['kernel']}", f"{r['channels']}, {r['size']}x{r['size']}", r["batch"], r["threads"])
        text = f"{r['speed_up']:.2f} / {r['gflops']:.0f} / {r['over_copy']:.2f}"
        lines.setdefault(place, {})[r["group_size"]] = text
    rows = [(*place, *(cells.get(group) for group in groups)) for place, cells in lines.items()]
    note = "times as fast as the better of PyTorch's layouts / GFLOP/s / time over that of a copy of the input."
    return _page(record, columns, rows, note)


def blocks(record: Record) -> str:
    """A row for each case: the fastest engine of both blocks, and the fastest but ours of the MGIC block."""
    columns = (
        *("channels, size", "group", "batch", "threads", "MAC ratio", "dense, ms", "MGIC, ms", "ratio", "efficiency"),
        "efficiency without torchmg",
    )
    rows = []
    for place, of_case in _by(record["rows"], "channels", "size", "group_size", "batch", "threads").items():
        width, side, *rest = place
        dense = _fastest(of_case, "dense")
        ours, others = _fastest(of_case, "mgic"), [row for row in of_case if row["engine"] != "torchmg"]
        times = (f"{r['ms']:.3g} ({r['engine']})" for r in (dense, ours))
        cells = (round(ours["mac_ratio"], 1), *times, round(ours["ratio"], 1), round(ours["efficiency"], 2))
        rows.append((f"{width}, {side}x{side}", *rest, *cells, round(_fastest(others, "mgic")["efficiency"], 2)))
    return _page(record, columns, rows)


def networks(record: Record) -> str:
    """A row for each network, batch size and number of threads; milliseconds of an image in each engine."""
    engines = list(dict.fromkeys(row["engine"] for row in record["rows"]))
    columns = ("network", "M MACs", "batch", "threads", *engines, "images/s", "ratio", "efficiency")
    rows = []
    for place, of_case in _by(record["rows"], "model", "batch", "threads").items():
        model, batch, threads = place
        best = _fastest(of_case, model)
        ms = {row["engine"]: row["ms"] / batch for row in of_case}
        cells = (
            f"{ms[engine]:.3g}" + " *" * (engine == best["engine"]) if engine in ms else None for engine in engines
        )
        speed = (round(best["images_per_second"], 1), round(best["ratio"], 2), round(best["efficiency"], 2))
        rows.append((model, round(best["macs"] / 1e6), batch, threads, *cells, *speed))
    note = "ms of an image, * the fastest engine, for which the last three columns are; ratio and efficiency as above."
    return _page(record, columns, rows, "\n".join([note, *record["left_out"]]))


def training(record: Record) -> str:
    """A row for each network and number of threads."""
    columns = ("network", "M MACs", "threads", "images/s, planes", "images/s, channels last")
    rows = []
    for (model, threads), of_case in _by(record["rows"], "model", "threads").items():
        speed = {row["layout"]: round(row["images_per_second"], 1) for row in of_case}
        rows.append((model, round(of_case[0]["macs"] / 1e6), threads, speed["planes"], speed["channels_last"]))
    return _page(record, columns, rows)


def widths(record: Record) -> str:
    """A row for each width and number of threads: both blocks in their fastest engines."""
    names = list(dict.fromkeys(row["model"] for row in record["rows"]))
    rows = []
    for (threads, width), of_case in _by(record["rows"], "threads", "channels").items():
        best = (_fastest(of_case, name) for name in names)
        rows.append((threads, width, *(f"{row['ms']:.3g} ({row['engine']})" for row in best)))
    return _page(record, ("threads", "channels", *(f"{name}, ms" for name in names)), rows)


PAGES: Mapping[str, Callable[[Record], str]] = {
    "peaks": peaks,
    "cpu_layers": layers,
    "cpu_blocks": blocks,
    "cpu_networks": networks,
    "cpu_training": training,
    "cpu_widths": widths,
    **GPU_PAGES,
}
"""Name of the script in benchmarks/ -> the table of its record."""


def _page(record: Record, columns: Sequence[str], rows: Sequence[Sequence[Cell]], note: str = "") -> str:
    here, engines = record["environment"], record["engines"]
    versions = ", ".join(f"{name} {number}" for name, number in engines.items() if number)
    machine = f"{here['processor']}, {here['vector_units']}, torch {here['torch'].partition('+')[0]}"
    made = f"{machine}, {versions}, {here['date']}: `{record['command']}`"
    return Table(columns, rows, note="\n".join(part for part in (note, made) if part)).markdown()


def _by(rows: Sequence[Row], *keys: str) -> dict[tuple[Any, ...], list[Row]]:
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row[key] for key in keys), []).append(row)
    return found


def _fastest(rows: Sequence[Row], model: str) -> Row:
    return min((row for row in rows if row["model"] == model), key=lambda row: row["ms"])
