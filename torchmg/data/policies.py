"""Which actions a picture meets: AutoAugment's policy for CIFAR-10 and RandAugment.

AutoAugment (Cubuk et al. 2019, appendix): one of 25 pairs of steps for each picture, each step carried out with its
own chance and strength. RandAugment (Cubuk et al. 2020): two operations drawn freely from fourteen, always carried
out, all of one strength, 9 of 30. Where the papers leave numbers open they are torchvision's, as are the names'
meanings.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from torchmg.data.actions import Action
from torchmg.data.order import POLICY, draws


class Step(NamedTuple):
    """A part of a policy."""

    op: str
    """As in `Action`."""
    tenths: int
    """How often it is carried out, of ten times."""
    level: int = 0
    """Its strength, 0..bins - 1; without meaning for some operations."""


RANGES: dict[str, tuple[float, float]] = {
    "shear_x": (0.0, 0.3),
    "shear_y": (0.0, 0.3),
    "translate_x": (0.0, 150 / 331),
    "translate_y": (0.0, 150 / 331),
    "rotate": (0.0, 30.0),
    "brightness": (0.0, 0.9),
    "color": (0.0, 0.9),
    "contrast": (0.0, 0.9),
    "sharpness": (0.0, 0.9),
    "posterize": (8.0, 4.0),
    "solarize": (255.0, 0.0),
}
"""The magnitude of each operation at the lowest and at the highest level: a slope, a share of the side (150 of
ImageNet's 331 pixels in the paper), degrees, the change of a factor, bits, a level of brightness."""

UNSIGNED = ("posterize", "solarize")
"""The operations of `RANGES` whose magnitude has no sign; that of the others is drawn."""


def magnitude(op: str, level: int, bins: int, sides: tuple[int, int]) -> float:
    """The strength of an operation, without sign; 0 for one that has none.

    Args:
        op: As in `Action`.
        level: 0..bins - 1.
        bins: How many levels there are.
        sides: (height, width) of the pictures.
    """
    if op not in RANGES:
        return 0.0
    lowest, highest = RANGES[op]
    if op == "posterize":
        return round(lowest + (highest - lowest) * level / (bins - 1))
    side = {"translate_x": sides[1], "translate_y": sides[0]}.get(op, 1)
    # float32, as torchvision's: the last bit can decide a pixel, since blends round down.
    return torch.linspace(lowest, highest * side, bins)[level].item()


@dataclass(frozen=True)
class Policy:
    """Pairs of steps, of which each picture draws one."""

    pairs: tuple[tuple[Step, Step], ...]
    bins: int
    """Levels of strength."""

    @cached_property
    def _signed(self) -> list[tuple[str, int, int]]:
        """Every (operation, level, sign) that can happen, once each; first the one that does nothing."""
        every = [(op, level, sign) for pair in self.pairs for op, _, level in pair for sign in _signs(op)]
        return list(dict.fromkeys([("identity", 0, 1), *every]))

    def actions(self, sides: tuple[int, int]) -> list[Action]:
        """What the ids of `table` mean for pictures of (height, width) pixels."""
        return [Action(op, sign * magnitude(op, level, self.bins, sides)) for op, level, sign in self._signed]

    def table(self, seed: int, epoch: int, size: int) -> Tensor:
        """The two actions of each sample in an epoch: int64 (size, 2), places in `actions`; row i is of sample i.

        Raises:
            UsageError: A seed or epoch out of range.
        """
        place = {key: index for index, key in enumerate(self._signed)}
        ids = [[[place[op, level, _signs(op)[s]] for s in (0, -1)] for op, _, level in pair] for pair in self.pairs]
        tenths = torch.tensor([[step.tenths for step in pair] for pair in self.pairs])
        pair, *rest = draws(seed, epoch, size, (len(self.pairs), 10, 10, 2, 2), 5, stream=POLICY).unbind(1)
        coins, signs = torch.stack(rest[:2], 1), torch.stack(rest[2:], 1)
        chosen = torch.tensor(ids)[pair].gather(2, signs[:, :, None])[:, :, 0]
        return torch.where(coins < tenths[pair], chosen, 0)


def _signs(op: str) -> tuple[int, ...]:
    return (1, -1) if op in RANGES and op not in UNSIGNED else (1,)


AUTOAUGMENT = Policy(
    bins=10,
    pairs=(
        (Step("invert", 1), Step("contrast", 2, 6)),
        (Step("rotate", 7, 2), Step("translate_x", 3, 9)),
        (Step("sharpness", 8, 1), Step("sharpness", 9, 3)),
        (Step("shear_y", 5, 8), Step("translate_y", 7, 9)),
        (Step("autocontrast", 5), Step("equalize", 9)),
        (Step("shear_y", 2, 7), Step("posterize", 3, 7)),
        (Step("color", 4, 3), Step("brightness", 6, 7)),
        (Step("sharpness", 3, 9), Step("brightness", 7, 9)),
        (Step("equalize", 6), Step("equalize", 5)),
        (Step("contrast", 6, 7), Step("sharpness", 6, 5)),
        (Step("color", 7, 7), Step("translate_x", 5, 8)),
        (Step("equalize", 3), Step("autocontrast", 4)),
        (Step("translate_y", 4, 3), Step("sharpness", 2, 6)),
        (Step("brightness", 9, 6), Step("color", 2, 8)),
        (Step("solarize", 5, 2), Step("invert", 0)),
        (Step("equalize", 2), Step("autocontrast", 6)),
        (Step("equalize", 2), Step("equalize", 6)),
        (Step("color", 9, 9), Step("equalize", 6)),
        (Step("autocontrast", 8), Step("solarize", 2, 8)),
        (Step("brightness", 1, 3), Step("color", 7, 0)),
        (Step("solarize", 4, 5), Step("autocontrast", 9)),
        (Step("translate_y", 9, 9), Step("translate_y", 7, 9)),
        (Step("autocontrast", 9), Step("solarize", 8, 3)),
        (Step("equalize", 8), Step("invert", 1)),
        (Step("translate_y", 7, 9), Step("autocontrast", 9)),
    ),
)

_CERTAIN = [Step(op, 10, 9) for op in ("identity", *RANGES, "autocontrast", "equalize")]

RANDAUGMENT = Policy(bins=31, pairs=tuple(product(_CERTAIN, _CERTAIN)))

POLICIES: dict[str, Policy] = {"autoaugment": AUTOAUGMENT, "randaugment": RANDAUGMENT}
"""By the names of `AUGMENTATIONS`."""
