"""What `torchmg compare` printed on the digits, from results/compare_digits and the records of its runs."""

import csv
from pathlib import Path

from pages.tree import Tree
from torchmg.bench.latency import Latency
from torchmg.comparison import Compared, Comparison
from torchmg.train.recipe import BASES

CSV = "results/compare_digits/tradeoff.csv"


def compared(tree: Tree) -> str:
    """The table in its own words; nothing where the times or the runs are not there."""
    file = tree.root / CSV
    runs = {one.recipe.model: one for one in tree.results if one.recipe.data == "digits"}
    if not file.is_file():
        return ""
    with file.open(newline="") as opened:
        times = list(csv.DictReader(opened))
    if any(row["model"] not in runs for row in times):
        return ""
    rows = tuple(
        Compared(
            *(row["model"], row["family"], runs[row["model"]].parameters or 0, runs[row["model"]].macs or 0),
            *(runs[row["model"]].train, runs[row["model"]].test),
            Latency(*(float(row[f"ms_{name}"]) for name in ("median", "low", "high"))),
            float(row["ms_over_dense"]),
        )
        for row in times
    )
    device = runs[times[0]["model"]].runs[0].device.partition(",")
    threads = int(device[2].split()[0])
    shown = Comparison(rows, BASES["digits"], int(times[0]["seeds"]), Path(), device[0], threads)
    return f"```\n{shown.table()}\n```"
