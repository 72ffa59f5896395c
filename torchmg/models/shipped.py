"""Trained weights that ship with torchmg: which there are, and what is known of each. No torch.

`torchmg/weights/MODEL/` holds NAME.safetensors, NAME.json and NAME.md, its card; `tools/ship.py` writes them. A name is
DATA_rN, the N-th revision of weights for this data: `digits_r1`. Before the revision may stand words that tell networks
apart that differ in options, as in `fashion_mnist_g4_r1`, and after these `sE` where the run had only E epochs of its
recipe's, as in `fashion_mnist_s12_r1`. What a name stands for never changes; better weights are another revision.
"""

import base64
import hashlib
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchmg.errors import CheckpointError, UnknownNameError, UsageError, did_you_mean
from torchmg.models.catalog import MODELS

FOLDER = Path(__file__).resolve().parent.parent / "weights"
FORMAT = 1
"""Of NAME.json."""
ENDING = ".safetensors"
NAME = re.compile(r"(?P<data>[a-z][a-z0-9_]*?)(_s(?P<epochs>[1-9][0-9]*))?_r[1-9][0-9]*")
KINDS: Mapping[str, Any] = {"sha256": str, "classes": list, "test": dict, "slice": dict, "record": dict}


@dataclass(frozen=True)
class Shipped:
    """One file of trained weights with what its NAME.json says."""

    model: str
    """Of the catalogue."""
    name: str
    """Of the weights."""
    values: Mapping[str, Any]
    """All of NAME.json: `sha256` of the weights' file, names of the `classes`, `mean` and `std` of the training data
    where inputs are normalised by them, `test` and `slice` (all test samples and the first 1,000: how many there are
    and how many are right; of all the predictions too), and the run's `record`."""

    @property
    def file(self) -> Path:
        """The weights."""
        return FOLDER / self.model / f"{self.name}{ENDING}"

    @property
    def record(self) -> dict[str, Any]:
        """That of the run that trained them."""
        return self.values["record"]

    @property
    def input(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return tuple(self.record["input"])

    @property
    def options(self) -> dict[str, Any]:
        """With which `create` builds the network: sizes, and the options that the recipe sets."""
        given = {key: value for key, value in self.record["recipe"]["options"].items() if value is not None}
        return {"num_classes": len(self.values["classes"]), "in_channels": self.input[0], **given}

    @property
    def predictions(self) -> bytes:
        """The class of each test sample, as predicted when the weights were shipped, a byte each."""
        return zlib.decompress(base64.b64decode(self.values["test"]["predictions"]))

    def options_with(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """The network's options, when a user asked for some too.

        Raises:
            UsageError: for others than the network was trained with. An option that the run left at its default is one
                of them, whatever the default is.
        """
        own = self.options
        wrong = [
            f"{name}={value!r} (theirs: {own[name]!r})" if name in own else f"{name}={value!r} (theirs: the default)"
            for name, value in asked.items()
            if name not in own or own[name] != value
        ]
        if wrong:
            raise UsageError(
                f"The weights {self.name} of {self.model} come with their network, so its options cannot be others: "
                f"leave out {', '.join(wrong)}."
            )
        return own

    def check(self) -> Path:
        """The weights' file, which is the one that was shipped.

        Raises:
            CheckpointError: it is missing or damaged.
        """
        try:
            with self.file.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise CheckpointError(f"{self.file} cannot be read: {error.strerror}. Install torchmg again.") from error
        if found != self.values["sha256"]:
            raise CheckpointError(
                f"{self.file} is damaged: its sha256 is {found[:16]}..., it was shipped with "
                f"{self.values['sha256'][:16]}... Install torchmg again."
            )
        return self.file


def names(model: str) -> list[str]:
    """The names of a model's weights, sorted; none where none ship."""
    return sorted(path.stem for path in (FOLDER / model).glob(f"*{ENDING}"))


def find(model: str, name: str) -> Shipped:
    """The weights of a model of the catalogue that are called `name`.

    Raises:
        UnknownNameError: there are none; the message has the nearest, or the models that have some.
        CheckpointError: what is known of them is missing or damaged.
    """
    known = names(model)
    if name not in known:
        with_some = [other for other in MODELS if names(other)]
        theirs = f"It has: {', '.join(known)}." if known else f"Models with weights: {', '.join(with_some) or 'none'}."
        near = did_you_mean(name, known).partition(" Known:")[0]
        raise UnknownNameError(
            f"torchmg has no weights '{name}' of {model}.{near} {theirs} For others name the file, such as net{ENDING}."
        )
    return Shipped(model, name, read(FOLDER / model / f"{name}.json"))


def read(path: Path) -> dict[str, Any]:
    """What a NAME.json says.

    Raises:
        CheckpointError: it is missing, damaged, or of another version.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}. Install torchmg again.") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise CheckpointError(f"{path} does not describe weights of format {FORMAT}. Install torchmg again.")
    if wrong := [key for key, kind in KINDS.items() if not isinstance(values.get(key), kind)]:
        raise CheckpointError(f"{path} is damaged: no {', '.join(wrong)}. Install torchmg again.")
    return values


def packed(predictions: Sequence[int]) -> str:
    """Classes from 0 to 255 as text, which `Shipped.predictions` reads."""
    return base64.b64encode(zlib.compress(bytes(predictions), 9)).decode()
