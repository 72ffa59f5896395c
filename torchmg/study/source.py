"""Where a study's features come from, and the file that keeps them together with what they are."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from torchmg.data.features import FILE, extract_features, save_features
from torchmg.data.names import SETS
from torchmg.data.order import epoch_order
from torchmg.data.samples import DataSet
from torchmg.errors import DataError, UnknownNameError, UsageError, did_you_mean
from torchmg.models.catalog import find
from torchmg.train.engine import pick_device
from torchmg.train.files import read_text, write_json
from torchmg.train.folder import RunFolder
from torchmg.train.model import data_for, model_for
from torchmg.train.recipe import BASES, Recipe

CHANNELS = 64
"""Width of the features, as in the paper."""
TEST_SHARE = 4
"""Training images for one test image."""
CHUNK = 100
"""Images at a time."""
NOTES = "study.json"
"""What the features are, beside them."""


@dataclass(frozen=True)
class Source:
    """A layer of a network, and the data that it is shown."""

    recipe: Recipe
    run: RunFolder | None
    """None: random weights."""
    layer: str

    @staticmethod
    def of(run: str | Path | None, model: str | None, data: str, layer: str) -> "Source":
        """The layer of a finished run's network, or of a model with random weights on `data`.

        Raises:
            UsageError: both or neither of run and model, or data that are no images.
            UnknownNameError: no such model or data.
            CheckpointError: no run folder, or one without weights.
        """
        if (run is None) == (model is None):
            raise UsageError("Give the folder of a run with --run, or a model with random weights with --model.")
        if run is not None:
            folder = RunFolder.existing(Path(run))
            source = Source(folder.recipe(), folder, layer)
        else:
            assert model is not None
            if data not in BASES:
                raise UnknownNameError(f"Unknown data set '{data}'.{did_you_mean(data, SETS)}")
            find(model)
            source = Source(replace(BASES[data], model=model), None, layer)
        if SETS[source.recipe.data].task not in ("classify", "segment"):
            raise UsageError(f"{source.recipe.data} has no images. Features are taken of images, such as cifar10.")
        return source

    def weights(self) -> str:
        """The sha256 of the weights' file, or `random`.

        Raises:
            CheckpointError: the run has no weights yet.
        """
        if self.run is None:
            return "random"
        if not self.run.weights.is_file():
            self.run.read_weights(nn.Identity())  # which says what is wrong
        return hashlib.sha256(self.run.weights.read_bytes()).hexdigest()

    def network(self, data: DataSet) -> nn.Module:
        """The network with its weights; random ones are always the same."""
        with torch.random.fork_rng([]):
            torch.manual_seed(self.recipe.seed)
            model = model_for(self.recipe, data)
        if self.run is not None:
            self.run.read_weights(model)
        return model


def kept_features(
    source: Source, folder: Path, images: int, *, data_dir: str | Path | None = None, device: str = "auto"
) -> dict[str, Any]:
    """Take features, scale them and keep them in `folder`, unless that has been done; what is known of them.

    Which images are taken depends on nothing but their number, so that sets in the order of classes serve too.

    Args:
        source: the layer, of 64 channels.
        folder: gets `features/features.safetensors` (float16, variance of all training features 1) and `study.json`.
        images: training images, at most all; a quarter as many test images.
        data_dir: where the images lie.
        device: where the network runs.

    Returns:
        `network`, `weights`, `layer`, `images`, and of the features `train`, `test` (how many images) and `scale`,
        their standard deviation before they were divided by it.

    Raises:
        UsageError: `folder` holds features of something else; a layer of other than 64 channels, or constant.
    """
    asked = {"network": source.recipe.name, "weights": source.weights(), "layer": source.layer, "images": images}
    notes, file = folder / NOTES, folder / FILE
    known = _known(notes, folder)
    if known is None and file.exists():
        raise UsageError(f"{file} was not written by a study. Name another --out.")
    if known is not None:
        changed = [
            f"{key} {known.get(key)!r} (you asked for {asked[key]!r})" for key in asked if known.get(key) != asked[key]
        ]
        if changed:
            raise UsageError(f"The features in {folder} were taken with {', '.join(changed)}. Name another --out.")
        if "scale" in known and file.is_file():
            return known
    data = data_for(source.recipe, data_dir)
    model = source.network(data).to(pick_device(device))
    train = torch.cat(list(_taken(model, source.layer, data, data.train, images)))
    test = torch.cat(list(_taken(model, source.layer, data, data.test, max(1, images // TEST_SHARE))))
    if not 0 < (scale := train.std(correction=0).item()) < float("inf"):
        raise UsageError(f"The layer '{source.layer}' gives the same value everywhere: there is nothing to code.")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(notes, asked)  # first, so that after a kill the file is known to be a study's
    save_features(file, (train / scale).half(), (test / scale).half())
    found = {**asked, "train": len(train), "test": len(test), "scale": scale}
    write_json(notes, found)
    return found


def _known(notes: Path, folder: Path) -> dict[str, Any] | None:
    try:
        known = json.loads(read_text(notes))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(f"{notes} is damaged ({error}). Move {folder} away, or name another --out.") from error
    if not isinstance(known, dict):
        raise DataError(f"{notes} is damaged: it is no object. Move {folder} away, or name another --out.")
    return known


def _taken(model: nn.Module, layer: str, data: DataSet, split: Any, count: int) -> Iterator[Tensor]:
    """Features of `count` images of a split, in chunks."""
    preparation = data.preparation()
    chosen = epoch_order(0, 0, len(split))[:count].sort().values
    for part in chosen.split(CHUNK):
        inputs, targets = split.take(part, None)
        inputs, _ = preparation(inputs, targets, None)
        features = extract_features(model, inputs, layer)
        if features.shape[1] != CHANNELS:
            raise UsageError(
                f"The layer '{layer}' has {features.shape[1]} channels; transfers code {CHANNELS}, as in the paper. "
                "Take a network with a layer of as many, such as resnet18_cifar and its stem."
            )
        yield features
