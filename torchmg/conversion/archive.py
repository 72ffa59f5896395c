"""A network as a folder of three files: its weights, how to rebuild it, and a card for people.

`model.safetensors` holds tensors and nothing that runs; `conversion.json` says which model to build and what to convert
in it; the weights are then read into the result. Reading never unpickles, and never runs a file that an archive names.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

import torchmg
from torchmg.errors import DataError, UsageError
from torchmg.models.outside import without_weights
from torchmg.models.user import build
from torchmg.models.weights import read_weights, write_weights

FORMAT = 1
"""Of `conversion.json`; grows when older versions of torchmg could no longer read it."""
WEIGHTS, ABOUT, CARD = "model.safetensors", "conversion.json", "README.md"
FILES = (WEIGHTS, ABOUT, CARD)
"""All that an archive holds."""

Apply = Callable[[nn.Module, Mapping[str, Any]], nn.Module]
"""Converts a model by a plan, in place or not, and returns it."""


@dataclass(frozen=True)
class About:
    """What `conversion.json` says."""

    plan: dict[str, Any]
    """What is converted in the base model, and to what; empty for none."""
    base: str | None
    """The base model as `build` takes it; None for one that has no name."""
    options: dict[str, Any] = field(default_factory=dict)
    """Of the base model, without any that fetch weights."""
    sha256: str = ""
    """Of the weights' file."""
    torchmg: str = ""
    """Version that wrote the archive."""
    format: int = FORMAT

    @property
    def builds(self) -> bool:
        """Whether the base model can be built from its name: a user's own file is not, as an archive may lie."""
        return self.base is not None and ".py:" not in self.base


def save_converted(
    folder: str | Path,
    model: nn.Module,
    plan: Mapping[str, Any],
    *,
    base: str | None,
    options: Mapping[str, Any] | None = None,
    card: str,
) -> Path:
    """Write a converted network, or with an empty plan any model that has a name, as an archive.

    All three files appear at once or not at all. An archive that lies there already is replaced.

    Args:
        folder: to make; its parents too.
        model: as converted; its parameters and persistent buffers are saved with their types, tied ones once.
        plan: from which `load_converted`'s `apply` makes this model of the base model; plain values of JSON.
        base: what was converted: a name of the catalogue, `timm:NAME` or `torchvision:NAME`. With None, or a user's
            `file.py:factory`, whoever loads the archive has to give the base model.
        options: with which `build` made it; those that fetch weights are left out, as the archive has its own.
        card: text of its README.md, see `model_card`.

    Returns:
        The folder.

    Raises:
        UsageError: the folder holds something else; a plan or option that JSON cannot hold; a model that safetensors
            cannot hold.
        DataError: the files cannot be written; what lay there is as it was.
    """
    folder = Path(folder)
    _check_replaceable(folder)
    about = About(
        plan=_plain(plan, "The plan"),
        base=base,
        options=_plain(without_weights(base, options or {}), "The options of the base model"),
        torchmg=torchmg.__version__,
    )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as beside:
            new = Path(beside) / "new"
            new.mkdir()
            (new / CARD).write_text(card, encoding="utf-8")
            write_weights(model, new / WEIGHTS)
            written = {**asdict(about), "sha256": _sha256(new / WEIGHTS)}
            (new / ABOUT).write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
            (new / WEIGHTS).chmod((new / ABOUT).stat().st_mode)  # safetensors lets only the owner read
            for name in FILES:
                with (new / name).open("rb+") as file:
                    os.fsync(file.fileno())
            _put(new, folder, Path(beside) / "old")
    except OSError as error:
        raise DataError(f"{folder} cannot be written: {error.strerror or error}. Nothing in it was changed.") from error
    return folder


def load_converted(folder: str | Path, model: nn.Module | None = None, *, apply: Apply | None = None) -> nn.Module:
    """The network that `save_converted` wrote, in evaluation mode, with the types that were saved, on the CPU.

    Args:
        folder: the archive.
        model: the base model; by default it is built from its name. Its weights are replaced; whether it is itself
            converted or a copy is up to `apply`.
        apply: converts the base model by the plan; an archive with an empty plan needs none.

    Returns:
        The converted network. Random numbers drawn on the way leave the generator as it was.

    Raises:
        DataError: a file is missing, damaged, of another version, or does not fit the model.
        UsageError: the base model has no name that can be built and none is given.
        UnknownNameError, MissingExtraError: the base model's name is not known here.
    """
    folder = Path(folder)
    about = check_archive(folder)
    with torch.random.fork_rng(devices=[]):
        if model is None:
            if about.base is None or not about.builds:
                what = "a model without a name" if about.base is None else about.base
                raise UsageError(f"{folder} was made of {what}. Build it and give it: load(..., model=it).")
            try:
                model = build(about.base, **without_weights(about.base, about.options))
            except TypeError as error:
                raise DataError(f"{folder / ABOUT} has options that do not fit {about.base}: {error}.") from error
        if about.plan:
            if apply is None:
                raise UsageError(f"{folder} is converted; give what applies its plan: load(..., apply=apply_plan).")
            model = apply(model, about.plan)
    read_weights(model, folder / WEIGHTS)
    return model.eval()


def read_about(folder: str | Path) -> About:
    """What an archive says about itself, every value checked.

    Raises:
        DataError: it is missing, damaged, or of another version.
    """
    path = Path(folder) / ABOUT
    if not path.is_file():
        there = "it has no" if path.parent.is_dir() else "there is no such folder, so no"
        raise DataError(f"{folder} is no archive of torchmg: {there} {ABOUT}.")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read: {error}. Get the archive again.") from error
    if not isinstance(values, dict) or not isinstance(values.get("format"), int):
        raise DataError(f"{path} is not what torchmg writes: it has no format number.")
    if values["format"] != FORMAT:
        raise DataError(
            f"{path} is of format {values['format']}, written by torchmg {values.get('torchmg', '?')}; torchmg "
            f"{torchmg.__version__} reads format {FORMAT}. Update torchmg: pip install -U torchmg."
        )
    kinds = {"plan": dict, "base": str | None, "options": dict, "sha256": str, "torchmg": str}
    for name, kind in kinds.items():
        if name not in values or not isinstance(values[name], kind):
            raise DataError(f"{path} is damaged: '{name}' is missing or of a wrong kind. Get the archive again.")
    return About(**{name: values[name] for name in (*kinds, "format")})


def check_archive(folder: str | Path) -> About:
    """What an archive says about itself, its weights' file being the one that it describes.

    Raises:
        DataError: as `read_about`; the weights are missing, or of another sha256.
    """
    about = read_about(folder)
    path = Path(folder) / WEIGHTS
    if not path.is_file():
        raise DataError(f"{folder} has no {WEIGHTS}. Get the archive again.")
    if (digest := _sha256(path)) != about.sha256:
        raise DataError(
            f"{path} is not the file that {ABOUT} describes: sha256 {digest[:16]}..., recorded {about.sha256[:16]}... "
            "Get the archive again."
        )
    return about


def _plain(values: Mapping[str, Any], what: str) -> dict[str, Any]:
    """The values as JSON gives them back."""
    try:
        return json.loads(json.dumps(dict(values), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise UsageError(f"{what} cannot be written as JSON: {error}. Use numbers, texts, lists and dicts.") from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_replaceable(folder: Path) -> None:
    """Only nothing, an empty folder, or an archive without other files gives way."""
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise UsageError(f"{folder} is a file; name a folder for the archive.")
    names = {path.name for path in folder.iterdir()}
    others = sorted(names - set(FILES))
    if names and (others or ABOUT not in names):
        what = others[0] if others else sorted(names)[0]
        raise UsageError(f"{folder} holds something else, such as {what}; name a new folder.")
    if names:
        with suppress(DataError):
            read_about(folder)
            return
        raise UsageError(f"{folder} holds a {ABOUT} that is damaged or not of this version; name a new folder.")


def _put(new: Path, folder: Path, old: Path) -> None:
    """Rename `new` to `folder`, whose former content goes to `old`; on failure it comes back."""
    if not folder.exists():
        new.rename(folder)
        return
    folder.rename(old)
    try:
        new.rename(folder)
    except OSError:
        old.rename(folder)
        raise
