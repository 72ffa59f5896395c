"""Converted networks as folders and on the Hugging Face Hub: written with a card, and loaded with their plan."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from torchmg.conversion import hub
from torchmg.conversion.archive import load_converted, save_converted
from torchmg.conversion.card import Costs, model_card
from torchmg.conversion.convert import apply_plan
from torchmg.conversion.report import Report
from torchmg.counting.macs import meta_copy
from torchmg.errors import ShapeError, UsageError
from torchmg.models.libraries import ARCHIVE
from torchmg.models.user import build


def save_pretrained(
    folder: str | Path,
    model: nn.Module,
    report: Report | None = None,
    *,
    base: str | None = None,
    options: Mapping[str, Any] | None = None,
    repo: str | None = None,
    license: str | None = None,  # noqa: A002 (the Hub's name)
    scores: Mapping[str, str | float] | None = None,
) -> Path:
    """Write a network as `model.safetensors`, `conversion.json` and a card, which `from_pretrained` reads.

    Args:
        folder: to make; an older archive in it is replaced.
        model: a converted network, trained since or not; or one of the catalogue.
        report: of the conversion; None for a network that is none.
        base: what was converted, as commands take it: `resnet56`, `timm:NAME`, `torchvision:NAME`; without it whoever
            loads has to build the original.
        options: with which it was built.
        repo: where it will lie on the Hub, for the card.
        license: for the card; that of the original's weights binds.
        scores: what was measured -> value, for the card.

    Returns:
        The folder.

    Raises:
        UsageError: neither a report nor a base; a folder that holds something else.
        DataError: the files cannot be written.
    """
    if report is None and base is None:
        raise UsageError("Without a report, base must say what the network is, such as base='mgic_resnet20'.")
    facts: dict[str, Any] = {}
    if report is not None:
        facts["what"] = f"{report.model}, converted by torchmg. {report.summary()}"
        facts["parameters"] = Costs(report.before.params, report.after.params)
        facts["macs"] = Costs(report.before.macs, report.after.macs) if report.before.macs else None
    name = Path(folder).name
    card = model_card(name, repo=repo or name, license=license, base=base, scores=scores, **facts)
    return save_converted(folder, model, report.plan() if report else {}, base=base, options=options, card=card)


def from_pretrained(source: str | Path, model: nn.Module | None = None, **options: Any) -> nn.Module:
    """A network from a folder that `save_pretrained` wrote, or from a repository `user/name` of the Hugging Face Hub.

    Args:
        source: the folder or the repository; a folder comes first.
        model: the original, where the archive does not name one that can be built; it is converted in place.
        **options: `revision`, `token` and `cache_dir`, as in `torchmg.conversion.hub.from_pretrained`.

    Returns:
        The network in evaluation mode, with the weights that were saved.

    Raises:
        DataError: a file is missing, damaged, of another version, or does not fit; no such folder or repository.
        UsageError: the original has no name that can be built, and none is given.
        MissingExtraError: a repository without `torchmg[hub]`.
    """
    return hub.from_pretrained(source, model, apply=_applied, **options)


def network(spec: str, **options: Any) -> nn.Module:
    """Whatever commands take for a model: what `build` builds, or `archive:FOLDER` with its weights.

    Raises:
        UsageError: options of an archive other than the sizes it has; and as `build`.
        DataError: as `from_pretrained`.
    """
    if not spec.startswith(ARCHIVE):
        return build(spec, **options)
    if other := sorted(set(options) - {"num_classes", "in_channels"}):
        raise UsageError(f"An archive is loaded as it is; leave {', '.join(other)} away.")
    return load_converted(spec.removeprefix(ARCHIVE), apply=_applied)


def check_outputs(model: nn.Module, spec: str, shape: tuple[int, ...], num_classes: int) -> None:
    """Raise `ShapeError` unless a network takes samples of `shape` and gives `num_classes` scores for each.

    Only archives need it: other models are built with these numbers.
    """
    try:
        found = tuple(meta_copy(model)(torch.empty(2, *shape, device="meta")).shape)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ShapeError(f"{spec} does not take samples of {shape}: {error}") from error
    if len(found) < 2 or found[1] != num_classes:
        raise ShapeError(f"{spec} gives {found[1:]} for a sample, the data have {num_classes} classes.")


def _applied(model: nn.Module, plan: Mapping[str, Any]) -> nn.Module:
    return apply_plan(model, dict(plan))
