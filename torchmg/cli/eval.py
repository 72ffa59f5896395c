"""`torchmg eval`: what a trained run is worth."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from torchmg.cli.output import Output
from torchmg.cli.place import Place
from torchmg.errors import UsageError


@dataclass(frozen=True)
class Arguments:
    """Loss and scores of a run's last weights on the data that it was trained on, both splits."""

    run: Annotated[Path, tyro.conf.Positional]
    """A run folder."""
    place: Annotated[Place, tyro.conf.OmitArgPrefixes] = field(default_factory=Place)
    batch_size: int | None = None
    """Samples at once (default: as many as suit the task)."""
    fast: bool = False
    """Evaluate the network optimised for inference on the CPU (torchmg.optimize): the same to rounding, in float32."""
    flip: bool = False
    """Also the score by the mean of the outputs for a picture and its mirror image, in a column of its own."""
    output: Annotated[Output, tyro.conf.OmitArgPrefixes] = field(default_factory=Output)


def main(arguments: Sequence[str]) -> int:
    """Evaluate a run."""
    args = tyro.cli(Arguments, args=arguments, prog="torchmg eval")
    from torchmg.data.names import holds_out
    from torchmg.inference.optimized import optimize
    from torchmg.tables import Table
    from torchmg.train.engine import pick_device
    from torchmg.train.evaluate import Mirrored, evaluate
    from torchmg.train.folder import RunFolder
    from torchmg.train.model import data_for, model_for
    from torchmg.train.scores import SCORES, score_of

    run = RunFolder.existing(args.run)
    recipe = run.recipe()
    if args.flip and not holds_out(recipe.data):
        raise UsageError(f"--flip is for labelled pictures in memory, not for {recipe.data}.")
    device = pick_device(args.place.device)
    data = data_for(recipe, args.place.data_dir)
    model = model_for(recipe, data)
    run.read_weights(model)
    model.to(device)
    last = recipe.layout != "channels_first" and not args.fast
    if args.fast:
        if device.type != "cpu":
            raise UsageError(f"--fast is for the CPU, the run is evaluated on {device}. Add --device cpu.")
        model = optimize(model, input=data.shape)
    how: dict[str, Any] = {"batch_size": args.batch_size, "channels_last": last, "precision": recipe.precision}
    splits: tuple[Literal["train", "test"], ...] = ("train", "test")
    found = {split: evaluate(model, data, split, **how) for split in splits}
    mirrored = {split: evaluate(Mirrored(model), data, split, **how) for split in splits} if args.flip else {}
    rows = [
        (
            *(recipe.scored_on if split == "test" else split, len(getattr(data, split)), round(m.loss, 6)),
            *(round(value, 4) for value in m.scores.values()),
            *(round(value, 4) for value in (mirrored[split].scores.values() if mirrored else ())),
        )
        for split, m in found.items()
    ]
    title = f"{recipe.name}, {args.run}"
    labels = {score.key: score.label for score in SCORES.values()}
    names = [labels.get(key, key) for key in found["test"].scores]
    columns = ["split", "samples", score_of(recipe.data).loss, *(f"{name} %" for name in names)]
    table = Table([*columns, *(f"{name} with mirror image %" for name in names if mirrored)], rows, title)
    text, classes = str(table), {split: dict(m.classes) for split, m in found.items() if m.classes}
    if classes:
        each = [(name, *(found[split].classes.get(name) for split in splits)) for name in data.classes]
        text += "\n\n" + str(Table(["class", "train IoU %", "test IoU %"], each, note="-: neither seen nor predicted"))
    args.output.give_text(text, table, **({"classes": classes} if classes else {}))
    return 0
