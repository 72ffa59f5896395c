"""Distillation: the network that a run imitates, and the loss that says so.

The teacher is no part of the run's state. It is built and read anew by every process, and a digest of its weights in
checkpoints and in the record says that it is still the same.
"""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from torchmg.counting.macs import meta_copy
from torchmg.data.samples import DataSet
from torchmg.errors import UsageError
from torchmg.models.libraries import is_outside
from torchmg.models.options import ModelOptions
from torchmg.models.weights import digest
from torchmg.train.distill import Maps, map_loss
from torchmg.train.evaluate import autocast
from torchmg.train.folder import RunFolder
from torchmg.train.model import model_for
from torchmg.train.recipe import Recipe
from torchmg.train.tasks import Task


class Teacher(NamedTuple):
    """A trained network that is imitated."""

    network: nn.Module
    """In evaluation mode, without gradients."""
    digest: str
    """Sha256 (hex) of its weights and buffers."""


def teacher_for(recipe: Recipe, data: DataSet) -> Teacher | None:
    """The network that a recipe distils from, on the CPU; None if it names none.

    A user's factory draws its random numbers, if any, from the recipe's seed, so that it makes the same network again.

    Raises:
        UsageError: the run is not finished or on other data, or the user's file does not work.
        CheckpointError: there is no such run, or its weights are damaged.
    """
    source = recipe.distill_from
    if not source:
        return None
    if is_outside(source):
        torch.manual_seed(recipe.seed)
        network = model_for(replace(recipe, model=source, options=ModelOptions()), data)
    else:
        network = _finished(Path(source), recipe, data)
    return Teacher(network.eval().requires_grad_(False), digest(network.state_dict()))


def _finished(path: Path, recipe: Recipe, data: DataSet) -> nn.Module:
    """The network of a finished run."""
    if not path.is_dir():
        named = "Name a finished run's, archive:FOLDER, or path/to/file.py:factory."
        raise UsageError(f"distill_from: there is no folder {path}. {named}")
    run = RunFolder.existing(path)
    theirs = run.recipe()
    if theirs.data != recipe.data:
        raise UsageError(
            f"{path} was trained on {theirs.data}, this recipe is on {recipe.data}: their outputs do not mean the "
            f"same. Distil from a run on {recipe.data}."
        )
    if run.record() is None:
        raise UsageError(
            f"The run in {path} is not finished, so its weights will still change. "
            f"Finish it first: torchmg train --resume {path}"
        )
    network = model_for(theirs, data)
    run.read_weights(network)
    return network


def check_pair(model: nn.Module, teacher: Teacher, recipe: Recipe, shape: tuple[int, ...]) -> None:
    """Raise unless both networks give what is compared in the same shapes; computes shapes only.

    Args:
        model: the one that learns.
        teacher: the one that is imitated.
        recipe: whether feature maps are compared.
        shape: of one input.

    Raises:
        UsageError: they do not; the message says where.
    """
    names = f"The network ({recipe.model})", f"The teacher ({recipe.distill_from})"
    ours, theirs = (
        _shapes(network, shape, name, features=recipe.distill_features > 0)
        for network, name in zip((model, teacher.network), names, strict=True)
    )
    if ours[0] != theirs[0]:
        raise UsageError(
            f"{names[0]} gives outputs of shape {ours[0]} for a sample, {names[1][0].lower()}{names[1][1:]} "
            f"{theirs[0]}: one cannot imitate the other."
        )
    if ours[1:] != theirs[1:]:
        raise UsageError(
            f"distill_features compares feature maps of one shape. {names[0]} has {_listed(ours[1:])}; "
            f"{names[1][0].lower()}{names[1][1:]} {_listed(theirs[1:])}. Use distill_features 0."
        )


def _shapes(network: nn.Module, shape: tuple[int, ...], name: str, *, features: bool) -> list[tuple[int, ...]]:
    """Shapes of the outputs for one sample, then of the feature maps."""
    meta = meta_copy(network)
    maps = Maps(meta, name) if features else None
    try:
        with torch.no_grad():
            outputs = meta(torch.empty(1, *shape, device="meta"))
    except Exception as error:
        raise UsageError(f"{name} does not run on one sample of shape {shape}: {error}") from error
    if not isinstance(outputs, Tensor):
        raise UsageError(f"{name} returns a {type(outputs).__name__} where a tensor is imitated.")
    return [tuple(tensor.shape[1:]) for tensor in (outputs, *(maps.take() if maps else ()))]


def _listed(shapes: list[tuple[int, ...]]) -> str:
    return " ".join("x".join(map(str, shape)) for shape in shapes)


class Imitation:
    """The loss of a network that learns from targets and from a teacher at once.

    (1 - w) task + w imitation + f maps: the task's loss; what the task takes for imitation, of classes the divergence
    from the teacher's softened ones; the relative error of feature maps. A term of weight 0 is not computed.

    Args:
        model: the network that learns, with what wraps it later inside; with f above 0 its `forward_features` is
            wrapped, so a copy of it must be made before.
        teacher: where the network is: device and layout.
        task: what imitation is.
        recipe: weights, temperature, precision.
    """

    def __init__(self, model: nn.Module, teacher: nn.Module, task: Task, recipe: Recipe) -> None:
        self._teacher, self._task, self._recipe = teacher, task, recipe
        both = (model, teacher) if recipe.distill_features else ()
        self._maps = [Maps(network, type(network).__name__) for network in both]

    def __call__(self, samples: Tensor, outputs: Tensor, loss: Tensor) -> Tensor:
        """The whole loss.

        Args:
            samples: what the network was just given, (batch, ...); the teacher gets the same.
            outputs: what it gave.
            loss: the task's.
        """
        weight, features = self._recipe.distill_weight, self._recipe.distill_features
        if not (weight or features):
            return loss
        with torch.no_grad(), autocast(self._recipe.precision, samples.device):
            taught = self._teacher(samples)
        if weight:
            imitation = self._task.imitation(outputs, taught.float(), self._recipe.distill_temperature)
            loss = (1 - weight) * loss + weight * imitation
        if features:
            ours, theirs = ([one.float() for one in maps.take()] for maps in self._maps)
            loss = loss + features * map_loss(ours, theirs)
        return loss
