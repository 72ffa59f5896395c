"""`torchmg eval`: what a trained run is worth."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from torchmg.cli.output import Output
from torchmg.cli.place import Place


@dataclass(frozen=True)
class Arguments:
    """Loss and accuracy of a run's last weights on the data that it was trained on, both splits."""

    run: Annotated[Path, tyro.conf.Positional]
    """A run folder."""
    place: Annotated[Place, tyro.conf.OmitArgPrefixes] = field(default_factory=Place)
    batch_size: int = 500
    """Images at once."""
    output: Annotated[Output, tyro.conf.OmitArgPrefixes] = field(default_factory=Output)


def main(arguments: Sequence[str]) -> int:
    """Evaluate a run."""
    args = tyro.cli(Arguments, args=arguments, prog="torchmg eval")
    from torchmg.data.sets import load
    from torchmg.tables import Table
    from torchmg.train.engine import pick_device
    from torchmg.train.evaluate import evaluate
    from torchmg.train.folder import RunFolder
    from torchmg.train.model import model_for

    run = RunFolder.existing(args.run)
    recipe = run.recipe()
    device = pick_device(args.place.device)
    data = load(recipe.data, args.place.data_dir)
    model = model_for(recipe, data)
    run.read_weights(model)
    model.to(device)
    last = recipe.layout != "channels_first"
    how: dict[str, Any] = {"batch_size": args.batch_size, "channels_last": last, "precision": recipe.precision}
    rows = []
    splits: tuple[Literal["train", "test"], ...] = ("train", "test")
    for split in splits:
        metrics = evaluate(model, data, split, **how)
        rows.append((split, len(getattr(data, split)), round(metrics.loss, 6), round(metrics.accuracy, 4)))
    title = f"{recipe.name}, {args.run}"
    args.output.give(Table(["split", "images", "loss (nats)", "accuracy %"], rows, title))
    return 0
