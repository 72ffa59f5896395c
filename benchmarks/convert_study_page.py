"""The table in docs/convert.md and its picture, from convert_study.json.

    uv run python benchmarks/convert_study_page.py

The table stands between markers in the page; the picture is docs/images/convert_study.png.
"""

import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from torchmg.tables import Table

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "convert.md"
PICTURE = HERE.parent / "docs" / "images" / "convert_study.png"
BEGIN, END = "<!-- convert_study: written by benchmarks/convert_study_page.py -->\n", "<!-- end of convert_study -->"
NAMES = {
    "none": "drawn anew",
    "taylor": "Torch-Pruning, Taylor",
    "magnitude": "Torch-Pruning, magnitude",
    "svd": "low rank",
    "svd on data": "low rank, fitted on data",
    "scratch": "from scratch",
}
STYLES = {"match": "C2", "project": "C0", "none": "C7", "scratch": "k", "taylor": "C1", "magnitude": "C3", "svd": "C4"}


def named(method: str) -> str:
    """A method as people call it."""
    start, _, form = method.partition(" ")
    return NAMES.get(method) or f"{NAMES.get(start, start)}, {form}"


def table(record: dict[str, Any]) -> str:
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


def picture(record: dict[str, Any]) -> Figure:
    """Errors over epochs of fine-tuning, a panel for each ratio."""
    ratios = sorted({row["ratio"] for row in record["rows"]})
    figure = Figure(figsize=(5.2 * len(ratios), 4.6), layout="constrained")
    panels = figure.subplots(1, len(ratios), sharey=True, squeeze=False)[0]
    dense = 100 - sum(record["dense"]["accuracy"].values()) / len(record["dense"]["accuracy"])
    for panel, ratio in zip(panels, ratios, strict=True):
        panel.axhline(dense, color="0.6", linewidth=1)
        panel.annotate("dense", (0, dense), color="0.4", va="top", fontsize=9)
        for row in record["rows"]:
            if row["ratio"] != ratio:
                continue
            start, _, form = row["method"].partition(" ")
            steps = [step for step in row["accuracy"] if step != "0" or start != "scratch"]
            panel.plot(
                [int(step) for step in steps], [100 - row["accuracy"][step] for step in steps], color=STYLES[start],
                linestyle="--" if form in ("layers", "on data") else "-", marker="o", markersize=4,
                label=named(row["method"]),
            )  # fmt: skip
        panel.set_yscale("log")
        panel.set_yticks([8, 10, 15, 20, 30, 50, 90], labels=["8", "10", "15", "20", "30", "50", "90"])
        panel.minorticks_off()
        panel.set_title(f"{ratio} times fewer parameters")
        panel.set_xlabel("epochs of fine-tuning")
        panel.set_xticks([0, 1, record["fine_tuning"]["epochs"]])
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("test error (%), logarithmic")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)
    return figure


def main() -> None:
    record = json.loads((HERE / "convert_study.json").read_text())
    page = PAGE.read_text()
    before, rest = page.split(BEGIN)
    after = rest.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n{table(record)}\n{END}{after}")
    picture(record).savefig(PICTURE, dpi=120)


if __name__ == "__main__":
    main()
