"""`torchmg export`: a model or a trained run as a file for other programs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from torchmg.cli.model import ModelArguments
from torchmg.cli.output import Output
from torchmg.cli.runs import is_run, trained

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Arguments:
    """A model as an ONNX file or torch.export archive, for any batch size, verified against the model itself.

    MODEL may also be a run folder; its last weights are exported, and what its pictures have to be normalised with is
    in the file's metadata.
    """

    model: Annotated[ModelArguments, tyro.conf.OmitArgPrefixes]
    out: Path
    """The file to write: net.onnx or net.pt2."""
    input: tuple[int, ...] = ()
    """Shape of one sample, such as 3 32 32 (default: the model's own, or that of the run's data)."""
    seed: int = 0
    """Seed of the random weights of a model that is no run."""
    data_dir: Path | None = None
    """Folder of the data sets, for a run (default: ./data)."""
    output: Annotated[Output, tyro.conf.OmitArgPrefixes] = field(default_factory=Output)


def main(arguments: Sequence[str]) -> int:
    """Export a model or a run."""
    args = tyro.cli(Arguments, args=arguments, prog="torchmg export")
    run = is_run(args.model, "exported")
    from torchmg.exporting.export import export

    model, shape, about = trained(Path(args.model.model), args.data_dir) if run else _named(args)
    exported = export(model, args.out, args.input or shape, about)
    more = {"file": str(exported.path), "format": exported.format, "opset": exported.opset, "bytes": exported.bytes}
    more |= {"input": exported.input, "dtype": exported.dtype, "versions": exported.versions, "about": about}
    args.output.give(exported.table(), **more)
    if not args.output.json:
        print(f"Weights: {about['weights']}.")
    return 0


def _named(args: Arguments) -> tuple["nn.Module", tuple[int, ...], dict[str, Any]]:
    """A model that is no run, the shape of its samples, and what its file says about it."""
    import torch

    from torchmg.conversion.share import network

    torch.manual_seed(args.seed)
    name, given = args.model.model, args.model.given()
    who = "as the factory made them" if ".py:" in name else f"random, seed {args.seed}: the model is not trained"
    model, weights = network(name, **given), args.model.shipped()
    options = weights.options if weights else {key: value for key, value in given.items() if key != "weights"}
    about = {"model": name, "options": options, "weights": args.model.weights or who}
    if weights:
        about |= {"recipe": weights.record["recipe"], "data": weights.record["recipe"]["data"]}
        about |= {key: weights.values[key] for key in ("classes", "mean", "std") if key in weights.values}
    return model, args.model.default_input(model), about
