"""The run folder: what a training run leaves behind, and what it is continued from.

`config.json` the whole recipe, `environment.json` where it ran, `log.csv` a row per epoch, `last.ckpt` to continue
from, `last.safetensors` the weights, `record.json` the finished run in one small file.
"""

import csv
import io
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import nn

from torchmg.errors import CheckpointError, ResumeError
from torchmg.train.files import write_atomic, write_json, write_text
from torchmg.train.recipe import Recipe, load_recipe


@dataclass(frozen=True)
class RunFolder:
    """One run's folder; `open` makes or continues it."""

    path: Path

    @property
    def config(self) -> Path:
        """The recipe."""
        return self.path / "config.json"

    @property
    def checkpoint(self) -> Path:
        """What the run continues from."""
        return self.path / "last.ckpt"

    @property
    def weights(self) -> Path:
        """Weights after the last finished epoch."""
        return self.path / "last.safetensors"

    @property
    def record_file(self) -> Path:
        """Written when the run is finished."""
        return self.path / "record.json"

    @staticmethod
    def free(recipe: Recipe, out: Path) -> Path:
        """The name of a folder that does not exist yet, `out/<date>_<time>_<recipe>_s<seed>`."""
        name = f"{datetime.now():%Y-%m-%d_%H%M%S}_{recipe.name}_s{recipe.seed}"
        paths = (out / f"{name}{suffix}" for suffix in ("", *(f"_{n}" for n in range(2, 1000))))
        return next(path for path in paths if not path.exists())

    @classmethod
    def open(cls, recipe: Recipe, path: Path) -> "RunFolder":
        """The folder at `path`, made if it is missing.

        Raises:
            ResumeError: it holds a run of another recipe; the message lists what differs.
            CheckpointError: it cannot be made, or holds something else.
        """
        run = cls(path)
        if run.config.exists():
            then, now = _flat(load_recipe(run.config)), _flat(recipe)
            changed = [f"{key} {then[key]!r} (you asked for {now[key]!r})" for key in now if then[key] != now[key]]
            if changed:
                raise ResumeError(
                    f"{path} was made with {', '.join(changed)}. Exact resume is impossible. "
                    f"Use the recorded values (torchmg train --resume {shlex.quote(str(path))}) or another folder."
                )
            return run
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise CheckpointError(f"{path} exists and is no run folder (no config.json in it). Name another one.")
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CheckpointError(f"The run folder {path} cannot be made: {error.strerror}.") from error
        write_json(run.config, recipe.to_json())
        return run

    @classmethod
    def existing(cls, path: Path) -> "RunFolder":
        """The run folder at `path`; raises `CheckpointError` when it is none."""
        if not (path / "config.json").is_file():
            near = sorted(p.parent.name for p in path.parent.glob("*/config.json")) if path.parent.is_dir() else []
            hint = f" Run folders beside it: {', '.join(near[-3:])}." if near else ""
            raise CheckpointError(f"{path} is not a run folder: it has no config.json.{hint}")
        return cls(path)

    def recipe(self) -> Recipe:
        """The recipe that this run trains."""
        return load_recipe(self.config)

    def record(self) -> dict[str, Any] | None:
        """The record of the finished run, or None while it is not finished."""
        if not self.record_file.exists():
            return None
        try:
            return json.loads(self.record_file.read_text())
        except ValueError as error:
            raise CheckpointError(f"{self.record_file} is damaged: {error}.") from error

    def layout(self) -> str | None:
        """The memory layout that this run has used so far; None for a new run."""
        try:
            return json.loads((self.path / "environment.json").read_text()).get("layout")
        except (OSError, ValueError, AttributeError):
            return None  # then it is chosen anew, at the price of the last bits

    def write_environment(self, environment: Mapping[str, Any]) -> None:
        """Write where the run runs (the last device, if it moved)."""
        write_json(self.path / "environment.json", dict(environment))

    def write_log(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write `log.csv` anew from the rows of all finished epochs, so that a continued run's log has no gaps."""
        out = io.StringIO()
        writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(self.path / "log.csv", out.getvalue())

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Mark the run as finished."""
        write_json(self.record_file, dict(record))

    def write_weights(self, model: nn.Module) -> None:
        """Save the weights; shared tensors stay shared."""
        write_atomic(self.weights, lambda new: save_model(model, str(new)))

    def read_weights(self, model: nn.Module) -> None:
        """Load the weights into `model`; raises `CheckpointError` when they are missing, damaged or do not fit."""
        if not self.weights.is_file():
            raise CheckpointError(f"{self.path} has no weights yet (last.safetensors): finish an epoch first.")
        try:
            load_model(model, str(self.weights))
        except (SafetensorError, RuntimeError) as error:
            raise CheckpointError(f"{self.weights} is damaged or does not fit its recipe's model: {error}") from error


def _flat(recipe: Recipe) -> dict[str, Any]:
    """Every setting of a recipe by the name that it has on the command line."""
    values = recipe.to_json()
    options = values.pop("options")
    return {**values, **options}
