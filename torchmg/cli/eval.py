"""`torchmg eval`: what a trained run is worth, and whether weights that ship reach what their record says."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from torchmg.cli.output import Output
from torchmg.cli.place import Place
from torchmg.errors import UsageError

if TYPE_CHECKING:
    import torch
    from torch import nn

    from torchmg.data.samples import DataSet
    from torchmg.train.recipe import Recipe


@dataclass(frozen=True)
class Arguments:
    """Loss and scores of a run's last weights on the data that it was trained on, both splits.

    With --weights: of a model with weights that ship with torchmg, on the test part, beside their record. At most 2 of
    10,000 predictions may differ from those recorded, as rounding does on another processor; with more the exit code
    is 1.
    """

    run: Annotated[Path, tyro.conf.Positional]
    """A run folder; with --weights a model."""
    weights: str | None = None
    """The name of weights of the model that ship with torchmg (torchmg list)."""
    place: Annotated[Place, tyro.conf.OmitArgPrefixes] = field(default_factory=Place)
    batch_size: int | None = None
    """Samples at once (default: as many as suit the task)."""
    fast: bool = False
    """Evaluate the network optimised for inference on the CPU (torchmg.optimize): the same to rounding, in float32."""
    flip: bool = False
    """Also the score by the mean of the outputs for a picture and its mirror image, in a column of its own."""
    output: Annotated[Output, tyro.conf.OmitArgPrefixes] = field(default_factory=Output)


def main(arguments: Sequence[str]) -> int:
    """Evaluate a run, or weights that ship."""
    args = tyro.cli(Arguments, args=arguments, prog="torchmg eval")
    return _run(args) if args.weights is None else _shipped(args, args.weights)


def _run(args: Arguments) -> int:
    from torchmg.data.names import check_pictures
    from torchmg.models.shipped import names
    from torchmg.tables import Table
    from torchmg.train.engine import pick_device
    from torchmg.train.evaluate import Mirrored, evaluate
    from torchmg.train.folder import RunFolder
    from torchmg.train.model import data_for, model_for
    from torchmg.train.scores import SCORES, score_of

    if not args.run.exists() and (known := names(str(args.run))):
        raise UsageError(
            f"{args.run} is a model. Evaluate it with --weights {' or '.join(known)}, or name a run folder."
        )
    run = RunFolder.existing(args.run)
    recipe = run.recipe()
    if args.flip:
        check_pictures("--flip", recipe.data)
    data = data_for(recipe, args.place.data_dir)
    model = model_for(recipe, data)
    run.read_weights(model)
    model, how = _placed(args, model, pick_device(args.place.device), recipe, data)
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
    shown = [labels.get(key, key) for key in found["test"].scores]
    columns = ["split", "samples", score_of(recipe.data).loss, *(f"{name} %" for name in shown)]
    table = Table([*columns, *(f"{name} with mirror image %" for name in shown if mirrored)], rows, title)
    text, classes = str(table), {split: dict(m.classes) for split, m in found.items() if m.classes}
    if classes:
        each = [(name, *(found[split].classes.get(name) for split in splits)) for name in data.classes]
        text += "\n\n" + str(Table(["class", "train IoU %", "test IoU %"], each, note="-: neither seen nor predicted"))
    args.output.give_text(text, table, **({"classes": classes} if classes else {}))
    return 0


def _shipped(args: Arguments, name: str) -> int:
    from torchmg.models.catalog import find as find_model
    from torchmg.models.shipped import find

    if args.flip:
        raise UsageError(
            "--flip is for runs; weights that ship are compared with their record, which has no such score."
        )
    weights = find(find_model(str(args.run)).name, name)
    from torchmg.models.registry import create
    from torchmg.tables import Table
    from torchmg.train.engine import pick_device
    from torchmg.train.model import data_for
    from torchmg.train.recipe import Recipe
    from torchmg.train.reproduce import allowed, reproduce
    from torchmg.train.scores import score_of

    recipe = Recipe.from_json(weights.record["recipe"], f"the record of {name}")
    data = data_for(recipe, args.place.data_dir)
    model, how = _placed(args, create(weights.model, weights=name), pick_device(args.place.device), recipe, data)
    found = reproduce(model, weights, data, **how)
    score = score_of(recipe.data)
    rows = [
        (f"{score.label} %", round(found.recorded, 4), round(found.reached.score, 4)),
        (score.loss, round(found.loss, 6), round(found.reached.loss, 6)),
    ]
    note = (
        f"{found.different:,} of {found.samples:,} predictions differ from those recorded; "
        f"rounding explains up to {allowed(found.samples)}."
    )
    if found.other_data:
        note += f"\nThe data are not those of the record: {', '.join(found.other_data)} differ."
    if not found.good:
        note += f"\n{weights.model} with {name} does not reproduce its record here."
    title = f"{weights.model}, {name}, test samples of {recipe.data}"
    counts: dict[str, Any] = {"samples": found.samples, "different": found.different, "allowed": allowed(found.samples)}
    table = Table(["test", "recorded", "reached"], rows, title, note)
    args.output.give(table, **counts, other_data=list(found.other_data), reproduced=found.good)
    return 0 if found.good else 1


def _placed(
    args: Arguments, model: "nn.Module", device: "torch.device", recipe: "Recipe", data: "DataSet"
) -> tuple["nn.Module", dict[str, Any]]:
    """The network where it is evaluated, optimised if that was asked for, and how to evaluate it."""
    from torchmg.inference.optimized import optimize

    model.to(device)
    if args.fast:
        if device.type != "cpu":
            raise UsageError(f"--fast is for the CPU, the run is evaluated on {device}. Add --device cpu.")
        model = optimize(model, input=data.shape)
    last = recipe.layout != "channels_first" and not args.fast
    return model, {"batch_size": args.batch_size, "channels_last": last, "precision": recipe.precision}
