"""What the search for a recipe chooses from: settings, their values, and a fixed list of candidates."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from torchmg.data.order import draws
from torchmg.train.recipe import Recipe

SPACE: Mapping[str, tuple[Any, ...]] = MappingProxyType(
    {
        "batch_size": (64, 128, 256),
        "lr": (0.02, 0.05, 0.1, 0.2, 0.4),
        "nesterov": (False, True),
        "weight_decay": (1e-4, 5e-4, 1e-3),
        "decay": ("all", "weights"),
        "warmup_epochs": (0.0, 0.5),
        "label_smoothing": (0.0, 0.1),
        "ema": (0.0, 0.99, 0.998),
        "augment": ("none", "crop", "crop_flip", "randaugment"),
        "cutmix": (0.0, 0.0, 0.5, 1.0),
        "mixup": (0.0, 0.0, 0.2, 1.0),
        "erase": (0.0, 0.5),
        "whiten": (False, True),
        "zero_init": (False, True),
    }
)
"""Setting -> values, each as likely as the others; one that stands there twice is twice as likely. The schedule is
the base's cosine, which ends at zero whatever the length. Values are the customary ones: the papers' own rate and decay
with what lies around them; smoothing 0.1, CutMix at a half and always, mixup at 0.2 and 1, erasing at a half as
published."""
MIRRORS = ("crop_flip", "autoaugment", "randaugment")
"""Augmentations that mirror pictures; a mirrored digit is another sign."""


def space_for(data: str, *, zero_init: bool) -> dict[str, tuple[Any, ...]]:
    """`SPACE` for a data set.

    Args:
        data: of labelled pictures.
        zero_init: whether the model has norms that can start with scale 0.
    """
    space = dict(SPACE)
    if data == "digits":
        space["augment"] = tuple(name for name in space["augment"] if name not in MIRRORS)
    if not zero_init:
        del space["zero_init"]
    return space


def candidates(base: Recipe, space: Mapping[str, tuple[Any, ...]], count: int, seed: int) -> list[dict[str, Any]]:
    """What each candidate has otherwise than `base`; the first has nothing, so that the base is searched too.

    The list depends on the space and the seed alone, and a longer one begins with a shorter one.
    """
    rows = draws(seed, 0, count - 1, [len(values) for values in space.values()], len(space)).tolist()
    drawn = [{name: space[name][place] for name, place in zip(space, row, strict=True)} for row in rows]
    return [{}, *({name: value for name, value in one.items() if value != getattr(base, name)} for one in drawn)]
