"""A checkout as the tool sees it: its pages, its records, and what papers print."""

import json
from functools import cached_property
from pathlib import Path
from typing import Any

from torchmg.paper.measured import Measured, load
from torchmg.study.ablated import Ablation, recorded

NOT_RUN = "not run"
"""What stands in the place of a number whose record is not there."""


class Tree:
    """The files under `root`, each record read once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._read: dict[Path, Any] = {}

    def pages(self) -> list[Path]:
        """Everything in markdown that people read."""
        return [*sorted(self.root.glob("*.md")), *sorted((self.root / "docs").rglob("*.md"))]

    def record(self, name: str) -> Any:
        """What `name`.json holds, from the root on; None where there is none."""
        path = self.root / f"{name}.json"
        if path not in self._read:
            self._read[path] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
        return self._read[path]

    @cached_property
    def results(self) -> list[Measured]:
        """The runs in results/ that belong to no experiment."""
        return self.measured("results")

    def measured(self, folder: str) -> list[Measured]:
        """The runs whose records lie in a folder; none where there is no such folder."""
        return load(self.root / folder) if (self.root / folder).is_dir() else []

    @cached_property
    def ablation(self) -> Ablation | None:
        """What the study of the hierarchy found; None while no run of it is recorded."""
        return recorded(self.root / "results" / "ablation", self.root / "benchmarks" / "study_hierarchy.json")

    def experiments(self) -> list[str]:
        """Folders of experiments, results/PAPER/EXPERIMENT."""
        found = sorted({path.parent for path in (self.root / "results").glob("*/*/*.json")})
        return [path.relative_to(self.root).as_posix() for path in found]
