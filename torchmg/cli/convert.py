"""`torchmg convert`: a network's dense layers and blocks become multigrid ones."""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from torchmg.cli.model import NamedModel
from torchmg.cli.output import Output
from torchmg.cli.runs import is_run, trained
from torchmg.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from torchmg.conversion.schemes import Scheme


@dataclass(frozen=True)
class Original(NamedModel):
    """The network to convert."""

    width: float | None = None
    """Multiplier on its widths (models of the catalogue that have it)."""

    def given(self) -> dict[str, Any]:
        """Only the options that were set."""
        return super().given() | ({} if self.width is None else {"width": self.width})


@dataclass(frozen=True)
class Sizes:
    """Of the scheme; what is left out a budget chooses, layer by layer, or is the scheme's default without one."""

    to: Literal["mgic", "lean", "circulant"] = "mgic"
    """What to convert into."""
    group_size: int | None = None
    """Channels of a group (mgic, lean)."""
    coarsest: int | None = None
    """Width at which coupling is full (mgic)."""
    stencil: Literal["9", "5"] | None = None
    """Taps (lean)."""
    block: int | None = None
    """Width of circulant blocks (circulant)."""
    form: Literal["auto", "blocks", "layers"] = "auto"
    """Convert whole residual blocks where they are recognised, or layer by layer; auto: blocks unless the weights are
    only projected (mgic)."""


@dataclass(frozen=True)
class Arguments:
    """Convert a network's dense layers and residual blocks, starting from its weights.

    MODEL may also be a run folder; its last weights are converted. On a terminal the command only says what it would
    do, unless told --yes.
    """

    model: Annotated[Original, tyro.conf.OmitArgPrefixes]
    sizes: Annotated[Sizes, tyro.conf.OmitArgPrefixes] = field(default_factory=Sizes)
    weights: Path | None = None
    """Weights of the network, a safetensors file (default: as its factory makes them, random for names)."""
    max_params: int | None = None
    """Most parameters of the whole network."""
    max_macs: int | None = None
    """Most multiply-accumulates of a sample."""
    ratio: float | None = None
    """So many times fewer parameters: 4 means at most a quarter."""
    only: tuple[str, ...] = ()
    """Convert only what has one of these regular expressions in its name, such as layer[34]."""
    skip: tuple[str, ...] = ()
    """Leave alone what has one of these in its name."""
    stem: bool = False
    """Convert also what reads the network's input."""
    head: bool = False
    """Convert also its classifier."""
    warm_start: Literal["project", "match", "none"] = "project"
    """First weights: the nearest to the dense ones; regressed to the dense outputs on --data; or drawn anew."""
    data: str | None = None
    """A data set whose pictures, without labels, the weights are fitted on (a run: its own)."""
    data_dir: Path | None = None
    """Folder of the data sets (default: ./data)."""
    samples: int = 1024
    """How many of its training samples."""
    input: tuple[int, ...] = ()
    """Shape of one sample, such as 3 224 224 (default: the model's own)."""
    out: Path | None = None
    """Write the converted network into this folder: model.safetensors, conversion.json and a card."""
    dry_run: bool = False
    """Only say what would be done, as without --out."""
    yes: bool = False
    """Write without having shown it first, also on a terminal."""
    seed: int = 0
    """Seed of the random weights of a model that is no run, and of what is drawn anew."""
    output: Annotated[Output, tyro.conf.OmitArgPrefixes] = field(default_factory=Output)


BATCH = 128
"""Samples that are looked at at once."""


def main(arguments: Sequence[str]) -> int:
    """Convert a model or a run."""
    args = tyro.cli(Arguments, args=arguments, prog="torchmg convert")
    run = is_run(args.model, "converted")
    for pattern in (*args.only, *args.skip):
        try:
            re.compile(pattern)
        except re.error as error:
            raise UsageError(f"'{pattern}' is no regular expression: {error}.") from error
    scheme = _scheme(args.sizes)
    dry = args.dry_run or args.out is None or (sys.stdout.isatty() and not args.yes)

    import torch

    from torchmg.conversion.convert import convert
    from torchmg.conversion.share import save_pretrained

    torch.manual_seed(args.seed)
    model, shape, about = _of_run(args) if run else _built(args)
    shape = args.input or shape
    net, report = convert(
        model,
        scheme,
        where=lambda name, _: _chosen(name, args.only, args.skip),
        max_params=args.max_params,
        max_macs=args.max_macs,
        ratio=args.ratio,
        warm_start=args.warm_start,
        data=_batches(args, about),
        example_input=torch.zeros(2, *shape),
        stem=args.stem,
        head=args.head,
        inplace=True,
        dry_run=dry,
    )
    args.output.give(report.table(), plan=report.plan(), about=about, out=None if dry else str(args.out))
    if dry:
        how = "--out FOLDER" if args.out is None else "leave out --dry-run" if args.dry_run else "--yes"
        return _say(args, f"Nothing was written. To write the converted network: {how}.")
    assert args.out is not None
    save_pretrained(args.out, net, report, base=about["model"], options=about["options"])
    return _say(args, f"Written: {args.out}. Load it with torchmg.from_pretrained({str(args.out)!r}{_given(about)}).")


def _say(args: Arguments, line: str) -> int:
    if not args.output.json:
        print(line)
    return 0


def _given(about: dict[str, Any]) -> str:
    """What else `from_pretrained` needs of a user's own network."""
    return ", model" if ".py:" in about["model"] else ""


def _scheme(sizes: Sizes) -> "Scheme":
    """The scheme that the options name.

    Raises:
        UsageError: an option of another scheme.
    """
    from torchmg.conversion.schemes import MGIC, Circulant, Lean

    own = {"mgic": ("group_size", "coarsest"), "lean": ("stencil", "group_size"), "circulant": ("block",)}[sizes.to]
    given = {
        name: value
        for name in ("group_size", "coarsest", "stencil", "block")
        if (value := getattr(sizes, name)) is not None
    }
    if foreign := sorted(set(given) - set(own)) + (["form"] if sizes.form != "auto" and sizes.to != "mgic" else []):
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in foreign)
        raise UsageError(f"--to {sizes.to} has no {flags}; it has {', '.join(own)}.")
    if sizes.to == "mgic":
        return MGIC(blocks={"auto": None, "blocks": True, "layers": False}[sizes.form], **given)
    return Lean(**given) if sizes.to == "lean" else Circulant(**given)


def _chosen(name: str, only: Sequence[str], skip: Sequence[str]) -> bool:
    wanted = not only or any(re.search(pattern, name) for pattern in only)
    return wanted and not any(re.search(pattern, name) for pattern in skip)


def _of_run(args: Arguments) -> tuple["nn.Module", tuple[int, ...], dict[str, Any]]:
    """A run's model, the shape of its data, and with which options it is built."""
    model, shape, known = trained(Path(args.model.model), args.data_dir)
    options = {"num_classes": len(known["classes"]), "in_channels": shape[0], **known["options"]}
    return model, shape, {**_original(known["model"], options), "data": known["data"]}


def _built(args: Arguments) -> tuple["nn.Module", tuple[int, ...], dict[str, Any]]:
    """A named model, the shape of its samples, and what is known of it."""
    from torchmg.conversion.share import network
    from torchmg.train.start import start_from

    known = _original(args.model.model, args.model.given())
    model = network(args.model.model, **args.model.given())
    if args.weights is not None:
        start_from(model, args.weights)
    return model, args.model.default_input(model), {**known, "data": args.data}


def _original(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """What a new archive has to build: an archive's own model, as an archive names no other.

    Raises:
        UsageError: an archive of a network that is converted already.
    """
    from torchmg.conversion.archive import read_about
    from torchmg.models.libraries import ARCHIVE

    if not name.startswith(ARCHIVE):
        return {"model": name, "options": options}
    about = read_about(name.removeprefix(ARCHIVE))
    if about.plan:
        raise UsageError(f"{name} is converted already. Convert its original: {about.base or 'your own network'}.")
    return {"model": about.base, "options": about.options}


def _batches(args: Arguments, about: dict[str, Any]) -> "list[Tensor] | None":
    """Prepared inputs of the first training samples; None without data."""
    name = args.data or about["data"]
    if name is None or args.samples < 1:
        return None
    import torch

    from torchmg.data.sets import load

    data = load(name, args.data_dir)
    chosen = torch.arange(min(args.samples, len(data.train)))
    ready = data.preparation()
    return [ready(*data.train.take(part, None), None)[0] for part in chosen.split(BATCH)]
