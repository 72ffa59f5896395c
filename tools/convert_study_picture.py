"""The picture in docs/convert.md, docs/images/convert_study.png, from convert_study.json.

    uv run python tools/convert_study_picture.py

tools/results.py writes the page's table from the same record.
"""

import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from pages.zoo import named

ROOT = Path(__file__).resolve().parent.parent
RECORD = ROOT / "benchmarks" / "convert_study.json"
PICTURE = ROOT / "docs" / "images" / "convert_study.png"
STYLES = {"match": "C2", "project": "C0", "none": "C7", "scratch": "k", "taylor": "C1", "magnitude": "C3", "svd": "C4"}


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
    picture(json.loads(RECORD.read_text(encoding="utf-8"))).savefig(PICTURE, dpi=120)


if __name__ == "__main__":
    main()
