"""What trained runs make of test samples: masks beside pictures and labels, or clouds with their classes."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from torchmg.data.samples import DataSet
from torchmg.errors import UsageError
from torchmg.plot.clouds import draw_clouds
from torchmg.plot.picture import Picture
from torchmg.plot.segmentation import draw_segmentation
from torchmg.train.engine import pick_device
from torchmg.train.folder import RunFolder
from torchmg.train.model import data_for, model_for
from torchmg.train.recipe import Recipe


def predictions(
    runs: Sequence[str | Path],
    stem: str | Path = "predictions",
    *,
    samples: int = 4,
    data_dir: str | Path | None = None,
    device: str = "auto",
) -> Picture:
    """Draw some test samples, evenly spaced, with what the last weights of every run make of them.

    Args:
        runs: run folders on the same data: segmentation, or point clouds.
        stem: file name without ending; `.png`, `.svg` and `.csv` are written.
        samples: how many.
        data_dir: as in `fit`.
        device: as in `fit`.

    Raises:
        UsageError: no runs, runs on different data or on data of another kind, fewer than one sample.
        CheckpointError: not a run folder, or one without weights.
        DataError: the data cannot be read.
        MissingExtraError: matplotlib is not installed.
    """
    folders = [RunFolder.existing(Path(run)) for run in runs]
    recipes = [folder.recipe() for folder in folders]
    if not recipes:
        raise UsageError("Name at least one run folder.")
    if len(names := list(dict.fromkeys(recipe.data for recipe in recipes))) > 1:
        raise UsageError(f"These runs are on different data ({', '.join(names)}) and cannot share a picture.")
    data = data_for(recipes[0], data_dir)
    if data.task not in ("segment", "points"):
        raise UsageError(f"{data.name} has no pictures of predictions; segmentation and point clouds have.")
    if samples < 1:
        raise UsageError(f"samples must be at least 1; got {samples}.")
    size = len(data.test)
    count = min(samples, size)
    inputs, targets = data.test.take(torch.arange(count) * size // count, None)
    outputs = {
        name: _outputs(folder, recipe, data, inputs, targets, device)
        for name, folder, recipe in zip(_names(recipes), folders, recipes, strict=True)
    }
    if data.task == "points":
        return draw_clouds(inputs, targets, outputs, data.classes, stem)
    masks = {name: logits.argmax(1) for name, logits in outputs.items()}
    return draw_segmentation(inputs, targets, masks, data.classes, stem)


def _names(recipes: Sequence[Recipe]) -> list[str]:
    """The models' names, with seeds where these tell runs apart, and numbers where nothing does."""
    names = [recipe.model.rpartition("/")[2] for recipe in recipes]
    if len(set(names)) < len(names):
        names = [f"{name} seed {recipe.seed}" for name, recipe in zip(names, recipes, strict=True)]
    seen: dict[str, int] = {}
    for index, name in enumerate(names):
        seen[name] = seen.get(name, 0) + 1
        names[index] = name if seen[name] == 1 else f"{name} ({seen[name]})"
    return names


@torch.inference_mode()
def _outputs(folder: RunFolder, recipe: Recipe, data: DataSet, inputs: Tensor, targets: Tensor, device: str) -> Tensor:
    model = model_for(recipe, data)
    folder.read_weights(model)
    where = pick_device(device)
    prepared, _ = data.preparation().to(where)(inputs.to(where), targets.to(where), None)
    return model.to(where).eval()(prepared).float().cpu()
