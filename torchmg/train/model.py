"""The model of a recipe, fitted to its data and to where it trains."""

import os
import shutil
from pathlib import Path
from typing import cast

import torch
from torch import nn

from torchmg.conversion.share import check_outputs, network
from torchmg.data.arrays import ArraySet
from torchmg.data.fewer import FewerToTrain
from torchmg.data.folds import folded
from torchmg.data.mix import MixedPreparation
from torchmg.data.samples import DataSet, Preparation
from torchmg.data.segmentation import SegmentationSet
from torchmg.data.sets import load
from torchmg.errors import UsageError
from torchmg.models.libraries import ARCHIVE
from torchmg.nn.norm import zero_last_norms
from torchmg.train.layout import FORMATS
from torchmg.train.recipe import FOLDS, Recipe
from torchmg.train.start import start_from
from torchmg.train.whiten import whiten


def data_for(recipe: Recipe, data_dir: str | Path | None = None) -> DataSet:
    """The recipe's data, or a part or fold of it; raises as `torchmg.load`."""
    data = load(recipe.data, data_dir, side=recipe.crop or 224, damaged=recipe.damaged, holdout=recipe.holdout)
    if recipe.subset:
        return cast(DataSet, FewerToTrain(data, recipe.subset))  # most of it comes from __getattr__
    if recipe.fold is None:
        return data
    assert isinstance(data, ArraySet), "recipes have folds of numbers only"
    return folded(data, recipe.fold, FOLDS)


def preparation_for(recipe: Recipe, data: DataSet) -> Preparation:
    """How the recipe's training samples are prepared."""
    if data.task == "segment":
        return cast(SegmentationSet, data).preparation(recipe.augment, recipe.crop)
    plain = data.preparation(recipe.augment)
    mixing = {"cutmix": recipe.cutmix, "mixup": recipe.mixup, "erase": recipe.erase}
    return MixedPreparation(plain, data.shape, data.num_classes, **mixing) if any(mixing.values()) else plain


def model_for(recipe: Recipe, data: DataSet) -> nn.Module:
    """The recipe's model with a head for the data's classes and a stem for its channels, randomly initialised.

    An archive comes with its weights; that its sizes are the data's is checked.
    """
    sizes = {"num_classes": data.num_classes, "in_channels": data.shape[0]}
    model = network(recipe.model, **sizes, **recipe.options.given())
    if recipe.model.startswith(ARCHIVE):
        check_outputs(model, recipe.model, data.shape, data.num_classes)
    return model


def begin(model: nn.Module, recipe: Recipe, data: DataSet) -> str:
    """First values other than the model's own, where the recipe asks for some; for runs that have not begun yet.

    Returns:
        Digest of the weights that the recipe names to start from; empty where it names none.

    Raises:
        DataError: weights to start from that cannot be read or do not fit.
        UsageError: a network without a convolution to whiten, or without a norm that zero_init is for.
    """
    start = start_from(model, recipe.start_from) if recipe.start_from else ""
    if recipe.whiten:
        whiten(model, data)
    if recipe.zero_init and not zero_last_norms(model):
        raise UsageError(
            f"zero_init is for residuals and corrections that end in a norm; {recipe.model} has none. Leave it out."
        )
    return start


def placed(model: nn.Module, recipe: Recipe, layout: str, device: torch.device, processes: int) -> nn.Module:
    """The model on its device in a memory layout; with `sync_norm`, norms that see all processes' batches."""
    if recipe.sync_norm and processes > 1:
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    return cast(nn.Module, model.to(device=device, memory_format=FORMATS[layout]))  # pyright: ignore[reportCallIssue]


def compile_in_place(model: nn.Module, recipe: Recipe, device: torch.device) -> None:
    """Let the model compile itself when it is first called, if the recipe says so; its parameters keep their names.

    Raises:
        UsageError: inductor on a CPU without a C++ compiler.
    """
    if recipe.compile == "none":
        return
    if recipe.compile == "inductor" and device.type == "cpu":
        names = [os.environ["CXX"]] if "CXX" in os.environ else ["g++", "clang++", "c++"]
        if not any(shutil.which(name) for name in names):
            raise UsageError(f"compile=inductor needs a C++ compiler ({', '.join(names)}). Install one, or set CXX.")
    model.compile(backend=recipe.compile)
