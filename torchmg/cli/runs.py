"""Run folders where a command takes a model."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


def is_run(name: str) -> bool:
    """Whether a folder is meant: models have no slash in their names, and those of the catalogue come first."""
    from torchmg.models.catalog import MODELS
    from torchmg.models.libraries import is_outside

    return name not in MODELS and not is_outside(name) and (Path(name).is_dir() or len(Path(name).parts) > 1)


def trained(path: Path, data_dir: Path | None) -> tuple["nn.Module", tuple[int, ...], dict[str, Any]]:
    """A run's model with its last weights, the shape of its data, and what is known of it."""
    from torchmg.train.folder import RunFolder
    from torchmg.train.model import data_for, model_for

    run = RunFolder.existing(path)
    recipe = run.recipe()
    data = data_for(recipe, data_dir)
    model = model_for(recipe, data)
    run.read_weights(model)
    about = {
        "model": recipe.model,
        "options": recipe.options.given(),
        "weights": f"the last of {path.name}",
        "recipe": recipe.to_json(),
        "data": recipe.data,
        "classes": list(data.classes),
    }
    about |= {name: list(getattr(data, name)) for name in ("mean", "std") if hasattr(data, name)}
    return model, data.shape, about
