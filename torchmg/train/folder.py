"""The run folder: what a training run leaves behind, and what it is continued from.

`config.json` the whole recipe, `environment.json` where it ran, `log.csv` a row per epoch, `last.ckpt` to continue
from, `previous.ckpt` the one before it while the run lasts, `last.safetensors` the weights, `record.json` the finished
run in one small file.
"""

import csv
import hashlib
import io
import json
import os
import shlex
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_model, save_model
from torch import nn

from torchmg.errors import CheckpointError, CheckpointWarning, ResumeError, UsageError
from torchmg.models.weights import digest
from torchmg.train.checkpoint import PREVIOUS, read_checkpoint
from torchmg.train.files import read_text, set_aside, write_atomic, write_json, write_text, writing
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
    def previous(self) -> Path:
        """The checkpoint before, in case the last one is damaged; a finished run has none."""
        return self.path / PREVIOUS

    @property
    def weights(self) -> Path:
        """Weights after the last finished epoch."""
        return self.path / "last.safetensors"

    @property
    def record_file(self) -> Path:
        """Written when the run is finished."""
        return self.path / "record.json"

    @property
    def saved(self) -> bool:
        """Whether there is a checkpoint, sound or not."""
        return any(os.path.lexists(path) for path in (self.checkpoint, self.previous))

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
            UsageError: its `config.json` is damaged, and there is no checkpoint to make it good from.
        """
        run = cls(path)
        if run._begun():
            then, now = _flat(run.recipe()), _flat(recipe)
            changed = [f"{key} {then[key]!r} (you asked for {now[key]!r})" for key in now if then[key] != now[key]]
            if changed:
                raise ResumeError(
                    f"{path} was made with {', '.join(changed)}, says its config.json. Exact resume is impossible. "
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
        """The run folder at `path`, with a sound `config.json`.

        Raises:
            CheckpointError: it is no run folder.
            UsageError: its `config.json` is damaged, and there is no checkpoint to make it good from.
        """
        run = cls(path)
        if not run._begun():
            near = sorted(p.parent.name for p in path.parent.glob("*/config.json")) if path.parent.is_dir() else []
            hint = f" Run folders beside it: {', '.join(near[-3:])}." if near else ""
            raise CheckpointError(f"{path} is not a run folder: it has no config.json.{hint}")
        run.recipe()
        return run

    def _begun(self) -> bool:
        return self.saved or os.path.lexists(self.config)

    def recipe(self) -> Recipe:
        """The recipe that this run trains; checkpoints hold it too, so a damaged `config.json` is made good.

        Raises:
            UsageError: `config.json` is damaged, and so are the checkpoints.

        Warns:
            CheckpointWarning: `config.json` was damaged or missing and has been written anew.
        """
        try:
            return load_recipe(self.config)
        except UsageError:
            if (recipe := self._checkpointed_recipe()) is None:
                raise
        aside = f" The damaged one is {set_aside(self.config).name}." if os.path.lexists(self.config) else ""
        write_json(self.config, recipe.to_json())
        text = f"{self.config} was damaged or missing and is written anew from the checkpoint.{aside}"
        warnings.warn(text, CheckpointWarning, stacklevel=3)
        return recipe

    def _checkpointed_recipe(self) -> Recipe | None:
        for path in (self.checkpoint, self.previous):
            try:
                return Recipe.from_json(read_checkpoint(path).recipe)
            except (CheckpointError, UsageError):
                continue
        return None

    def record(self) -> dict[str, Any] | None:
        """The record of the finished run, or None while it is not finished.

        Raises:
            CheckpointError: it is damaged, to the last digit.
        """
        path = self.record_file
        if not os.path.lexists(path):
            return None
        try:
            record = json.loads(read_text(path))
            if not isinstance(record, dict) or "recipe" not in record:
                raise ValueError("it is not the record of a run")
            if record.pop("sha256", None) not in (None, _digest(record)):
                raise ValueError("its values are not what its sha256 says")
        except (OSError, ValueError) as error:
            way_out = "Move it away and continue the run to have it measured and written again."
            raise CheckpointError(f"{path} is damaged: {error}. {way_out}") from error
        return record

    def layout(self) -> str | None:
        """The memory layout that this run has used so far; None for a new run."""
        try:
            layout = json.loads(read_text(self.path / "environment.json")).get("layout")
        except (OSError, ValueError, AttributeError):
            layout = None
        # What was lost or damaged is chosen anew, at the price of the last bits.
        return layout if layout in ("channels_last", "channels_first") else None

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
        """Mark the run as finished, which has no use for the checkpoint before the last."""
        with writing(self.previous):
            self.previous.unlink(missing_ok=True)
        write_json(self.record_file, {**record, "sha256": _digest(record)})

    def write_weights(self, model: nn.Module) -> None:
        """Save the weights and, in the file's metadata, their digest; shared tensors stay shared."""

        def write(new: Path) -> None:
            try:
                save_model(model, str(new), {"sha256": digest(model.state_dict())})
            except SafetensorError as error:  # how it reports a full disk
                raise OSError(str(error)) from error

        write_atomic(self.weights, write)

    def read_weights(self, model: nn.Module) -> None:
        """Load the weights into `model`.

        Raises:
            CheckpointError: they are missing, damaged (to the last bit) or do not fit.
        """
        if not os.path.lexists(self.weights):
            raise CheckpointError(f"{self.path} has no weights yet (last.safetensors): finish an epoch first.")
        try:
            if not self.weights.is_file():
                raise ValueError("it is not a regular file")
            load_model(model, str(self.weights))
            with safe_open(str(self.weights), "pt") as file:
                written = (file.metadata() or {}).get("sha256")
            # Without a digest the file is not ours, and is taken as it is.
            if written not in (None, digest(model.state_dict())):
                raise ValueError("its tensors are not what its sha256 says")
        except (SafetensorError, RuntimeError, ValueError, OSError) as error:
            raise CheckpointError(f"{self.weights} is damaged or does not fit its recipe's model: {error}") from error


def _digest(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _flat(recipe: Recipe) -> dict[str, Any]:
    """Every setting of a recipe by the name that it has on the command line."""
    values = recipe.to_json()
    options = values.pop("options")
    return {**values, **options}
