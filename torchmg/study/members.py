"""Whom the study of the hierarchy compares: networks that differ from the reference in one thing each. No torch.

All have the skeleton of `mgic_resnet8`: stem, three stages of one residual block at widths b, 2b and 4b, depthwise
shortcuts between them, head; `b` is the *base width*. A block is a hierarchy of 2, 3 and 4 levels in the reference, and
one level in the rivals, whatever couples its channels. Only `resnet` is another network: the ordinary one, whose
shortcuts have no parameters, as people would have it instead.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from torchmg.models.options import ModelOptions

Question = Literal["hierarchy", "levels", "transfers", "cycle", "shortcuts", "training"]
QUESTIONS: Mapping[Question, str] = MappingProxyType(
    {
        "hierarchy": "Is it the hierarchy?",
        "levels": "How many levels, the last one full?",
        "transfers": "Which transfers?",
        "cycle": "Which correction, which norms?",
        "shortcuts": "And if shortcuts couple all channels?",
        "training": "Does longer training close the gap?",
    }
)
"""What each group of members is compared for, in the order of tables and pictures."""

GROUP_SIZE = 8
"""Channels of a group, the MGIC paper's in its CIFAR networks."""
BASE = 32
"""Base width of the reference, twice the paper's in these networks: so that no stage is without a hierarchy."""
UNIT = 16
"""Base width of these networks at width 1."""
DEPTH = 0.5
"""Coarsest width of the reference over the base width: the paper's 16 at a base of 32."""
LENGTHS = (1, 2, 4)
"""Times the epochs of the others that the pair trains (MGIC paper, Fig. 6)."""


@dataclass(frozen=True)
class Member:
    """A kind of network, to be built at any base width."""

    name: str
    question: Question
    says: str
    """What is different about it, for people."""
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """Options besides width, sizes of groups and coarsest width."""
    depth: float = DEPTH
    """Coarsest width over base width; 4 leaves one level in every stage."""
    step: float = 0.0
    """Base widths that it can have are multiples of this; 0: the reference's alone, so that nothing else differs."""
    model: str = "mgic_resnet8"

    def built_at(self, base: float) -> ModelOptions:
        """Its options at a base width."""
        width = base / UNIT
        if self.model == "resnet8":
            return ModelOptions(width=width)
        coarsest = max(1, round(self.depth * base))
        return ModelOptions(width=width, group_size=GROUP_SIZE, coarsest=coarsest, **self.options)


def _levels(name: str, says: str, depth: float, coupling: str, step: float = GROUP_SIZE) -> Member:
    return Member(name, "levels", says, {"coarsest_coupling": coupling}, depth, step)


def _rival(name: str, says: str, coupling: str, step: float) -> Member:
    return Member(name, "hierarchy", says, {"coarsest_coupling": coupling}, 4, step)


def _variant(name: str, question: Question, says: str, **options: Any) -> Member:
    return Member(name, question, says, options)


REFERENCE = Member("mgic", "hierarchy", "MGIC, 2 to 4 levels")
MEMBERS: Mapping[str, Member] = MappingProxyType(
    {
        member.name: member
        for member in (
            REFERENCE,
            Member("resnet", "hierarchy", "narrower dense ResNet", step=0.125, model="resnet8"),
            _rival("grouped", "plain groups", "grouped", GROUP_SIZE),
            _rival("shuffle", "groups with channel shuffle", "shuffle", GROUP_SIZE),
            _rival("separable", "depthwise, then 1x1", "separable", 1),
            _rival("union", "depthwise plus 1x1, summed", "union", 1),
            _levels("full_1", "1 level, full (dense)", 4, "full", 1),
            _levels("full_3", "1 to 3 levels, coarsest full", 1, "full"),
            _levels("full_5", "3 to 5 levels, coarsest full", 0.25, "full"),
            _levels("grouped_3", "1 to 3 levels, all in groups", 1, "grouped"),
            _levels("grouped_4", "2 to 4 levels, all in groups", 0.5, "grouped"),
            _levels("grouped_5", "3 to 5 levels, all in groups", 0.25, "grouped"),
            _variant("uniform", "transfers", "learned, from plain averages", transfer_init="uniform"),
            _variant("gaussian", "transfers", "learned, from any random values", transfer_init="gaussian"),
            _variant("transpose", "transfers", "learned, P = 2 R^T", transfer_weights="transpose"),
            _variant(
                "fixed_uniform", "transfers", "fixed plain averages", transfer_init="uniform", transfer_weights="fixed"
            ),
            _variant("fixed_random", "transfers", "fixed random averages", transfer_weights="fixed"),
            _variant(
                "fixed_gaussian",
                "transfers",
                "fixed, any random values",
                transfer_init="gaussian",
                transfer_weights="fixed",
            ),
            _variant("interleaved", "transfers", "of interleaved channels", transfer_groups="interleaved"),
            _variant("plain", "cycle", "P of the coarse result, not of its change", correction="plain"),
            _variant("no_norm", "cycle", "no norm after P", transfer_norm="none"),
            _variant("both_norms", "cycle", "norms after R and P", transfer_norm="both"),
            Member("mgic_mixed", "shortcuts", "MGIC, 1x1 shortcuts", {"shortcut": "pointwise"}, step=GROUP_SIZE),
            Member(
                "grouped_mixed",
                "shortcuts",
                "plain groups, 1x1 shortcuts",
                {"shortcut": "pointwise", "coarsest_coupling": "grouped"},
                4,
                GROUP_SIZE,
            ),
            Member("mgic_twin", "training", "MGIC"),
            Member("resnet_twin", "training", "dense ResNet of the same widths", model="resnet8"),
        )
    }
)
"""By name: the reference first, in the order of tables."""
