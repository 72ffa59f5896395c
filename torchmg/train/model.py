"""The model of a recipe, fitted to its data."""

from torch import nn

from torchmg.data.images import ImageSet
from torchmg.models.user import build
from torchmg.train.recipe import Recipe


def model_for(recipe: Recipe, data: ImageSet) -> nn.Module:
    """The recipe's model with a head for the data's classes and a stem for its channels, randomly initialised."""
    sizes = {"num_classes": data.num_classes, "in_channels": data.shape[0]}
    return build(recipe.model, **sizes, **recipe.options.given())
