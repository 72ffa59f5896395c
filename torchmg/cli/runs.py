"""Run folders where a command takes a model."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchmg.cli.model import NamedModel
from torchmg.errors import UsageError

if TYPE_CHECKING:
    from torch import nn


def is_run(model: NamedModel, done: str) -> bool:
    """Whether a folder is meant: models have no slash in their names, and those of the catalogue come first.

    Raises:
        UsageError: options for a run, which is `done` ("exported") as it is.
        UnknownNameError: no folder, and no model of that name.
    """
    from torchmg.models.catalog import MODELS
    from torchmg.models.libraries import is_outside

    name = model.model
    if name in MODELS or is_outside(name) or not (Path(name).is_dir() or len(Path(name).parts) > 1):
        model.check_name()
        return False
    if given := model.given():
        raise UsageError(f"A run is {done} as it is, so leave away {', '.join(given)}.")
    return True


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
