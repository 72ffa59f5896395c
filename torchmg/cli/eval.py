"""`torchmg eval`: what a trained run is worth."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from torchmg.cli.output import Output


@dataclass(frozen=True)
class Arguments:
    """Loss and accuracy of a run's last weights on the data that it was trained on, both splits."""

    run: Annotated[Path, tyro.conf.Positional]
    """A run folder."""
    data_dir: Path | None = None
    """Where data sets lie (default ./data; the digits need none)."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    batch_size: int = 500
    """Images at once."""
    output: Annotated[Output, tyro.conf.OmitArgPrefixes] = field(default_factory=Output)


def main(arguments: Sequence[str]) -> int:
    """Evaluate a run."""
    args = tyro.cli(Arguments, args=arguments, prog="torchmg eval")
    from torchmg.data.sets import load
    from torchmg.models.user import build
    from torchmg.tables import Table
    from torchmg.train.engine import pick_device
    from torchmg.train.evaluate import evaluate
    from torchmg.train.folder import RunFolder

    run = RunFolder.existing(args.run)
    recipe = run.recipe()
    device = pick_device(args.device)
    data = load(recipe.data, args.data_dir)
    model = build(recipe.model, num_classes=data.num_classes, in_channels=data.shape[0], **recipe.options.given())
    run.read_weights(model)
    model.to(device)
    rows = []
    splits: tuple[Literal["train", "test"], ...] = ("train", "test")
    for split in splits:
        metrics = evaluate(model, data, split, batch_size=args.batch_size, channels_last=recipe.channels_last)
        rows.append((split, len(getattr(data, split)), round(metrics.loss, 6), round(metrics.accuracy, 4)))
    title = f"{recipe.name}, {args.run}"
    args.output.give(Table(["split", "images", "loss (nats)", "accuracy %"], rows, title))
    return 0
