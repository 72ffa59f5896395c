"""Markdown tables of docs/performance.md from the records of the scripts in benchmarks/ that time a GPU."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torchmg.bench.gpu_engines import GRAPH
from torchmg.bench.gpu_layers import TORCH
from torchmg.bench.gpu_training import WAYS
from torchmg.tables import Cell, Table

Record = Mapping[str, Any]
Row = Mapping[str, Any]


def layers(record: Record) -> str:
    """A row for each layer and pass."""
    columns = (
        *("layer", "channels, size", "group", "pass", "floor, us", "bound", "copy, us", "torchmg, us"),
        *("% of copy bandwidth", *(f"cuDNN {layout}, us" for layout in TORCH), "compile, us", "over cuDNN"),
    )
    rows = []
    for r in record["rows"]:
        us = {name: f"{1000 * ms:.3g}" for name, ms in r["ms"].items()}
        place = (f"{r['kernel']}x{r['kernel']}", f"{r['channels']}, {r['side']}x{r['side']}", r["group"], r["pass"])
        share = f"{100 * r['bandwidth']:.0f}" if "bandwidth" in r else None
        floor = (f"{1000 * r['floor_ms']:.3g}", r["bound"], us.get("copy"), us.get("torchmg"), share)
        rows.append((*place, *floor, *(us.get(name) for name in (*TORCH, "compile")), _two(r.get("speed_up"))))
    return _page(record, columns, rows)


def blocks(record: Record) -> str:
    """A row for each case: floors, both blocks in their fastest engine, and the ratio to the compiled dense block."""
    columns = (
        *("channels, size", "group", "batch", "dense, ms", "its floor", "MGIC, ms", "floor by level", "floor, whole"),
        *("over dense", "over compiled dense", "without torchmg"),
    )
    rows = []
    for place, of_case in _by(record["rows"], "channels", "size", "group_size", "batch").items():
        width, side, group, batch = place
        dense, ours = _fastest(of_case, "dense"), _fastest(of_case, "mgic")
        compiled = _fastest([r for r in of_case if r["engine"].startswith("compile")], "dense")
        others = _fastest([r for r in of_case if not r["engine"].startswith("torchmg")], "mgic")
        if dense is None or ours is None:
            continue
        floors = {name: f"{ms:.3g}" for name, ms in of_case[0]["floors_ms"].items()}
        cells = (_time(dense), floors["dense"], _time(ours), floors["level"], floors["whole"])
        ratios = (
            dense["ms"] / ours["ms"],
            compiled["ms"] / ours["ms"] if compiled else None,
            dense["ms"] / others["ms"] if others else None,
        )
        rows.append((f"{width}, {side}x{side}", group, batch, *cells, *map(_two, ratios)))
    return _page(record, columns, rows, "In brackets the fastest engine. " + FLOORS)


FLOORS = (
    "Floors: bytes over copy bandwidth or operations over the rate of matrix products, for a dense block of two "
    "kernels, an MGIC block of one kernel for each level and direction, and one of a single kernel."
)


def networks(record: Record) -> str:
    """A row for each network and batch size; images a second in each engine."""
    engines = list(dict.fromkeys(row["engine"] for row in record["rows"]))
    columns = ("network", "M MACs", "batch", *engines, "ratio", "efficiency")
    rows = []
    for place, of_case in _by(record["rows"], "family", "model", "batch").items():
        _, model, batch = place
        best = min(of_case, key=lambda row: row["ms"])
        speed = {row["engine"]: row["images_per_second"] for row in of_case}
        cells = (f"{speed[name]:,.0f}" + " *" * (name == best["engine"]) if name in speed else None for name in engines)
        rows.append((model, round(best["macs"] / 1e6), batch, *cells, _two(best["ratio"]), _two(best["efficiency"])))
    note = "Images a second, * the fastest engine; ratio is to the dense twin in its fastest, efficiency as above."
    return _page(record, columns, rows, note)


def training(record: Record) -> str:
    """A row for each network: milliseconds of a step in every way, as it is called and as a CUDA graph."""
    columns = ("network", "M MACs", "batch", *(f"{way}, ms" for way in WAYS), "images/s at best")
    rows = []
    for (model, batch), of_case in _by(record["rows"], "model", "batch").items():
        ms = {row["way"]: f"{row['ms']:.3g}" for row in of_case}
        cells = (f"{ms[way]} / {ms.get(way + GRAPH, '-')}" if way in ms else None for way in WAYS)
        speed = max(row["images_per_second"] for row in of_case)
        rows.append((model, round(of_case[0]["macs"] / 1e6), batch, *cells, f"{speed:,.0f}"))
    return _page(record, columns, rows, "As called / as a CUDA graph.")


GPU_PAGES: Mapping[str, Callable[[Record], str]] = {
    "gpu_layers": layers,
    "gpu_blocks": blocks,
    "gpu_networks": networks,
    "gpu_training": training,
}
"""Name of the script in benchmarks/ -> the table of its record."""


def _page(record: Record, columns: Sequence[str], rows: Sequence[Sequence[Cell]], note: str = "") -> str:
    here, peaks = record["environment"], record["peaks"]
    ceilings = (
        f"copies {peaks['gbytes']:,.0f} GB/s, matrix products {peaks['tflops']:,.0f} TFLOP/s ({peaks['dtype']}), "
        f"a small kernel of a graph {peaks['launch_us']:.2g} us"
    )
    made = (
        f"{here['device']}, torch {here['torch'].partition('+')[0]}, {here['date']}; {ceilings}: `{record['command']}`"
    )
    lines = (note, *record["left_out"], made)
    return Table(columns, rows, note="\n".join(part for part in lines if part)).markdown()


def _by(rows: Sequence[Row], *keys: str) -> dict[tuple[Any, ...], list[Row]]:
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row[key] for key in keys), []).append(row)
    return found


def _fastest(rows: Sequence[Row], model: str) -> Row | None:
    return min((row for row in rows if row["model"] == model), key=lambda row: row["ms"], default=None)


def _time(row: Row) -> str:
    return f"{row['ms']:.3g} ({row['engine']})"


def _two(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
