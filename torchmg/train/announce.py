"""What a run says about itself: its header, and the command that continues it."""

import shlex
from pathlib import Path
from typing import Any, NamedTuple

from torchmg.counting.report import Count
from torchmg.train.checkpoint import Progress, read_checkpoint
from torchmg.train.folder import RunFolder
from torchmg.train.recipe import Recipe


class Place(NamedTuple):
    """Where a run's data lies and where it computes: what a recipe does not say."""

    data_dir: str | Path | None
    device: str
    devices: int

    def words(self) -> list[str]:
        """As command-line flags, those that are not the defaults."""
        words = [] if self.data_dir is None else ["--data-dir", str(self.data_dir)]
        words += [] if self.device == "auto" else ["--device", self.device]
        return words + ([] if self.devices == 1 else ["--devices", str(self.devices)])


def continuing(run: RunFolder, place: Place) -> str:
    """The command that continues a run, from the same folder, as a shell takes it."""
    return shlex.join(["torchmg", "train", "--resume", str(run.path), *place.words()])


def after_a_loss(run: RunFolder, place: Place) -> str:
    """What to do when a process was lost."""
    if not run.checkpoint.exists():
        return "Nothing was saved yet."
    step = read_checkpoint(run.checkpoint).progress.step
    return f"The run is saved as it was at step {step}. Continue: {continuing(run, place)}"


def header(run: RunFolder, recipe: Recipe, at: Progress, costs: Count, here: dict[str, Any]) -> str:
    """The lines that a run begins with: recipe, model, start, teacher, engine, folder."""
    options = " ".join(f"{key}={value}" for key, value in recipe.options.given().items())
    processes = f", {here['processes']} processes" if here["processes"] > 1 else ""
    lines = [
        f"recipe  {recipe.name} (our settings: batch {recipe.batch_size}, lr {recipe.lr:g} {recipe.schedule}, "
        f"weight decay {recipe.weight_decay:g}, {recipe.epochs} epochs, augment {recipe.augment}, seed {recipe.seed})",
        f"model   {recipe.model} {options}  parameters {costs.parameters:,}  MACs {costs.macs:,}",
        f"engine  torch {here['torch']}, {here['device']}{processes}, {here['threads']} threads, {recipe.precision}, "
        f"{here['layout']}",
        f"run     {run.path}" + (f", continued at step {at.step}" if at.step else ""),
    ]
    if recipe.start_from:
        lines.insert(2, f"start   {recipe.start_from}")
    if recipe.distill_from:
        how = f"weight {recipe.distill_weight:g}, temperature {recipe.distill_temperature:g}"
        how += f", feature maps {recipe.distill_features:g}" if recipe.distill_features else ""
        lines.insert(-2, f"teacher {recipe.distill_from} ({how})")
    return "\n".join(lines)
